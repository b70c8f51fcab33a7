"""The readers through which untrusted files enter, by name.

Each takes a file and an output folder, reads the file completely, and raises what a user would see.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import torch

from ct_lesion import load_config
from ct_lesion.audit.findings import Severity
from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.run import AuditOptions, run_audit
from ct_lesion.checkpoint import LesionCheckpointer, read_checkpoint, read_description
from ct_lesion.command_line import run_tool
from ct_lesion.data.datasets.cncb import load_cncb_lesion
from ct_lesion.data.datasets.covidx_ct import load_covidx_ct
from ct_lesion.data.datasets.splits import read_split_list
from ct_lesion.data.loading.augmentation import build_lesion_mapper
from ct_lesion.data.loading.mapper import ClassificationMapper
from ct_lesion.data.loading.roi_batches import RoIBatches, StaleCacheError
from ct_lesion.data.prepare.volume_pairs import read_pair_list
from ct_lesion.engine.setup import read_config
from ct_lesion.errors import UserError
from ct_lesion.evaluation.subgroups import read_metadata
from ct_lesion.lesions.lung_files import LungMasks
from ct_lesion.prediction.manifest import read_manifest
from ct_lesion.prediction.models import load_segmenter
from ct_lesion.prediction.page import finished_scans
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import open_scan

TOOLS = Path(__file__).parents[2] / "tools"
_CLASSIFICATION = load_config("classification/resnet18_t2.yaml")
_SEGMENTATION = load_config("segmentation/resnet18_t2.yaml")


def small_model() -> torch.nn.Module:
    """The model whose weights the corpus's checkpoints hold."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))


def weights(path: Path, _: Path) -> None:
    """``MODEL.WEIGHTS``."""
    LesionCheckpointer(small_model()).load(str(path))


def description(path: Path, _: Path) -> None:
    read_checkpoint(path)
    read_description(path)


def resume(path: Path, _: Path) -> None:
    """``--resume``; the path is the run's folder."""
    model = small_model()
    optimizer = torch.optim.Adam(model.parameters())
    LesionCheckpointer(model, str(path), optimizer=optimizer).resume_or_load("", resume=True)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()


def convert(path: Path, out: Path) -> None:
    _tool("convert_checkpoint", path, out / "converted.safetensors")


def segmenter(path: Path, _: Path) -> None:
    load_segmenter(path, device="cpu")


def config(path: Path, _: Path) -> None:
    read_config(str(path), [])


def scan(path: Path, _: Path) -> None:
    _read_scan(path, ReadOptions())


def deep_pictures(path: Path, _: Path) -> None:
    """Pictures of more than 8 bits, which hold HU + 1024."""
    _read_scan(path, ReadOptions(hu_offset=1024))


def _read_scan(path: Path, options: ReadOptions) -> None:
    opened = open_scan(path, options)
    for index in range(len(opened)):
        opened.grey(index)


def lung_mask(path: Path, _: Path) -> None:
    """A mask of the scan beside it."""
    opened = open_scan(path.parent / "scan.nii")
    LungMasks(path, (opened.name,)).read(opened)


def classification_image(path: Path, _: Path) -> None:
    record = {"file_name": str(path), "label": 0}
    ClassificationMapper(_CLASSIFICATION, is_train=True)(record)


def segmentation_image(path: Path, _: Path) -> None:
    build_lesion_mapper(_SEGMENTATION, is_train=True)({"file_name": str(path), "annotations": []})


def lesion_archive(path: Path, out: Path) -> None:
    options = ("--test-patients", "1", "--output", out / "cncb", "--min-area", "1")
    _tool("prepare_cncb", path, *options)


def covidx_images(path: Path, out: Path) -> None:
    """The path is the image root; every picture is decoded."""
    options = ("--output", out / "covidx", "--per-class", "1", "--decode")
    _tool("prepare_covidx_ct", "--image-root", path, *options)


def volume_list(path: Path, out: Path) -> None:
    options = ("--labels", "1=lesion", "--test-patients", "b", "--output", out / "volumes")
    _tool("prepare_volumes", "--pairs", path, *options)


def lesion_dataset(path: Path, _: Path) -> None:
    """COCO json, read and drawn as in training, with the pictures beside it."""
    records = load_cncb_lesion("hostile", path, path.parent)
    mapper = build_lesion_mapper(_SEGMENTATION, is_train=True)
    for record in records:
        mapper(record)


def covidx_dataset(path: Path, _: Path) -> None:
    load_covidx_ct(path, path.parent)


def run_folder(path: Path, _: Path) -> None:
    load_runs([path])


def roi_batches(path: Path, _: Path) -> None:
    try:
        RoIBatches.load(path).inputs()
    except StaleCacheError as error:  # training recomputes such a cache, a report refuses it
        raise UserError(str(error)) from error


def audit(path: Path, _: Path) -> None:
    """An error among the findings counts as a refusal."""
    result = run_audit(read_inputs([str(path)]), AuditOptions(), progress=lambda _: None)
    errors = [f for f in result.findings if f.severity is Severity.ERROR]
    if errors:
        raise UserError(str(errors))


def predicted(path: Path, _: Path) -> None:
    """The output folder of a prediction, with a scan named ``a``."""
    read_manifest(path / "a")
    _, left_out = finished_scans(path)
    if left_out:
        raise UserError(left_out[0])


def split_list(path: Path, _: Path) -> None:
    read_split_list(path)


def pair_list(path: Path, _: Path) -> None:
    _, problems = read_pair_list(path)
    if problems:
        raise UserError(problems[0])


def metadata(path: Path, _: Path) -> None:
    read_metadata(path, "sex")


def _tool(name: str, *arguments: object) -> None:
    sys.argv = [name, *map(str, arguments)]
    run_tool(runpy.run_path(str(TOOLS / f"{name}.py"))["main"])


ENTRIES = {
    function.__name__: function
    for function in (
        *(weights, description, resume, convert, segmenter, config),
        *(scan, deep_pictures, lung_mask),
        *(classification_image, segmentation_image, lesion_archive, covidx_images, volume_list),
        *(lesion_dataset, covidx_dataset, run_folder, roi_batches, audit, predicted),
        *(split_list, pair_list, metadata),
    )
}
