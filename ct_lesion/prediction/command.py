"""The command line of ``tools/predict.py`` and ``ct-lesion-predict``."""

import argparse
import logging
import sys
import warnings
from pathlib import Path

from detectron2.utils import comm

from ct_lesion.engine.across_processes import from_main
from ct_lesion.engine.launch import launch
from ct_lesion.errors import UserError, run_tool
from ct_lesion.scans.sources import ReadOptions, ScanSource, find_scans
from ct_lesion.scans.windows import WINDOWS, Window, choose_window

from .lung_mask import LungMasks
from .models import load_classifier, load_segmenter
from .predictor import LesionPredictor
from .run import RunOptions, RunResult, predict_scans
from .scan_class import DEFAULT_TOP_SLICES
from .scan_files import MASK_FILE, SUMMARY_FILE

FAILED_EXIT = 10  # and one more for each scan that failed, up to MAX_EXIT
MAX_EXIT = 100
ADVICE = "Given again, the command goes on with the scans that are not finished."
DESCRIPTION = "Find lesions in chest CT scans, and the class of each slice and scan."
EPILOG = """
examples:
  %(prog)s scan.nii.gz --segmentation model_best.safetensors --output predictions
  %(prog)s dicom_folder 'more/*.nrrd' png_slices/ --segmentation model_best.safetensors \\
      --classifier classifier.safetensors --output predictions

An INPUT is a volume (NIfTI, NRRD, MHA), a folder of DICOM series, a folder of pictures (PNG, JPG,
TIFF: one scan), pictures of one scan, a pattern, or a folder that holds any of these. Each scan
gets a folder in DIR: summary.json, slices.csv, instances.json (COCO), lesions.nii.gz in the input's
geometry, lesions.dcm (DICOM segmentation, for DICOM), overlays/ and manifest.json. DIR/index.html
is a page to look at them, without network.

Given again, an interrupted command goes on with the scans that are not finished. exit code: 0 all
scans are done, 2 a mistake in the arguments, 130 interrupted, 10 + the number of scans that failed.
Not for clinical use.
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="see below")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    _add_models(parser.add_argument_group("models"))
    _add_reading(parser.add_argument_group("reading"))
    _add_results(parser.add_argument_group("results"))
    return parser.parse_args(arguments)


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--segmentation", required=True, metavar="WEIGHTS", help="checkpoint of a segmenter"
    )
    group.add_argument("--classifier", metavar="WEIGHTS", help="checkpoint of a classifier")
    group.add_argument(
        "--config-file", metavar="YAML", help="of the segmenter (default: that in its checkpoint)"
    )
    group.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of its config"
    )
    group.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    group.add_argument(
        "--batch-size",
        type=int,
        help="slices at once, on a CPU one a core; changes speed and memory only (default: 4, or "
        "as many as there are cores)",
    )
    group.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="that share the scans: a GPU each, or the cores (default: %(default)s)",
    )


def _add_reading(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--series-uid", metavar="UID", help="of DICOM series, only this one")
    group.add_argument(
        "--window", choices=list(WINDOWS), help="what the models see of HU (default: lung)"
    )
    group.add_argument("--window-level", type=float, metavar="HU", help="centre of another window")
    group.add_argument("--window-width", type=float, metavar="HU", help="full width of it")
    group.add_argument(
        "--hu",
        type=float,
        nargs="?",
        const=0.0,
        metavar="OFFSET",
        help="16-bit or float pictures, or a shifted volume, hold HU + OFFSET (default: 0)",
    )
    group.add_argument(
        "--lung-mask",
        type=Path,
        metavar="VOLUME",
        help="lung mask of the scan, or a folder with one named like each scan",
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--score-thresh",
        type=float,
        help="lesions scored above it count (default: TEST.PAPER_SCORE_THRESH, 0.75)",
    )
    group.add_argument(
        "--top-slices",
        type=int,
        default=DEFAULT_TOP_SLICES,
        metavar="K",
        help="a scan's class is that of the mean logits of the K slices whose best region scores "
        "highest; 0: of all (default: %(default)s)",
    )
    group.add_argument(
        "--save-score-maps", action="store_true", help="mask logits of each slice, as npz"
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace predictions made from something else"
    )


def main() -> None:
    """Entry point."""
    _quiet_libraries()
    run_tool(lambda: sys.exit(run_command(sys.argv[1:])))


def run_command(arguments: list[str]) -> int:
    """Predict as the arguments say, in as many processes; returns the exit code.

    Raises:
        UserError: a mistake in the arguments; nothing was predicted.
        SystemExit: several processes were started; with the exit code.
    """
    args = parse_arguments(arguments)
    if (args.batch_size is not None and args.batch_size < 1) or args.top_slices < 0:
        raise UserError("--batch-size must be 1 or more, and --top-slices 0 or more.")
    if args.processes < 1:
        raise UserError("--processes must be 1 or more.")
    run = _predict if args.processes == 1 else _predict_in_child
    on_gpu = args.device is None or args.device.startswith("cuda")
    code = launch(run, args.processes, args=(arguments,), on_gpu=on_gpu, advice=ADVICE)
    return code or 0


def _predict_in_child(arguments: list[str]) -> None:
    _quiet_libraries()
    sys.exit(_predict(arguments))


def _predict(arguments: list[str]) -> int:
    """The exit code, in the main process; 0 in others."""
    args = parse_arguments(arguments)
    window = choose_window(args.window, args.window_level, args.window_width)
    sources = from_main(lambda: _find(args, window))
    masks = args.lung_mask and LungMasks(args.lung_mask, tuple(s.name for s in sources))
    predictor = _load(args)
    options = RunOptions(
        save_score_maps=args.save_score_maps,
        lung_masks=masks,
        overwrite=args.overwrite,
        reading={"window": window, "hu_offset": args.hu, "series_uid": args.series_uid},
        arguments=arguments,
    )
    result = predict_scans(sources, predictor, args.output, options)
    if not comm.is_main_process():
        return 0
    _report(result, sources, args.output)
    return min(FAILED_EXIT + len(result.failed), MAX_EXIT) if result.failed else 0


def _find(args: argparse.Namespace, window: Window | None) -> list[ScanSource]:
    reading = ReadOptions(series_uid=args.series_uid, hu_offset=args.hu, window=window)
    skipped: list[str] = []
    sources = find_scans(args.inputs, options=reading, notes=skipped)
    sources = _without_own(sources, args.output)
    print(f"{len(sources)} scan{'s' if len(sources) > 1 else ''} found", *skipped, sep="\n")
    return sources


def _without_own(sources: list[ScanSource], output: Path) -> list[ScanSource]:
    """Without the pictures and masks of an earlier command, where DIR lies in an input folder."""
    own = output.resolve()
    others = [s for s in sources if not all(f.resolve().is_relative_to(own) for f in s.files)]
    if not others:
        raise UserError(f"{output}: all scans found are predictions in it. Name other inputs.")
    return others


def _quiet_libraries() -> None:
    """What torch and Detectron2 warn of each other is nothing that a user of this can mend."""
    warnings.simplefilter("ignore")
    for name in ("torch.fx._symbolic_trace", "detectron2", "fvcore"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _load(args: argparse.Namespace) -> LesionPredictor:
    segmenter = load_segmenter(
        args.segmentation,
        device=args.device,
        score_thresh=args.score_thresh,
        config_file=args.config_file,
        overrides=args.opts,
    )
    classifier = None
    if args.classifier:
        classifier = load_classifier(args.classifier, device=args.device)
    return LesionPredictor(
        segmenter, classifier, batch_size=args.batch_size, top_slices=args.top_slices
    )


def _report(result: RunResult, sources: list[ScanSource], output: Path) -> None:
    counts = [f"{len(result.done)} of {len(sources)} scans predicted"]
    if result.skipped:
        counts.append(f"{len(result.skipped)} were finished already")
    if result.failed:
        counts.append(f"{len(result.failed)} failed")
    print(f"\n{', '.join(counts)}. For research only. Not for clinical use.")
    for name, reason in result.failed.items():
        print(f"  failed: {name}: {reason}")
    if result.done or result.skipped:
        print(f"Page:    {result.page}")
        print(f"Results: {output}/<scan>/{SUMMARY_FILE}, {MASK_FILE}, ...")
