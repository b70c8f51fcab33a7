"""A model card of the runs, and the CLAIM checklist, answered as far as the runs allow.

``claim_checklist.json`` holds the items of the checklist and their source.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from ct_lesion.config import is_classifier
from ct_lesion.engine.patient_overlap import describe_overlap
from ct_lesion.pages.blocks import Caution
from ct_lesion.pages.tables import Table
from ct_lesion.scans.windows import Window

from ..options import ReportOptions
from ..paper.model_names import model_name
from ..runs.results import ClassificationResult, SegmentationResult, choose_test
from ..runs.runs import Run

CHECKLIST = Path(__file__).with_name("claim_checklist.json")
FOR_AUTHORS = "to be completed by the authors"
INTENDED = (
    "Intended for research on lesions in axial chest CT slices: detecting and segmenting "
    "ground-glass opacity and consolidation, and studying how regions relate to COVID-19, other "
    "pneumonia and healthy lungs. Not intended for diagnosis, triage or any decision about a "
    "patient, nor for other organs, other modalities or slices that are not axial."
)
LIMITS = (
    "Limitations: the slices are 8-bit images whose display window is not always known; labels of "
    "slices come from their scan or from a few readers; data from few hospitals and scanners say "
    "little about others; slices of a patient are not independent; class frequencies in the test "
    "set differ from those of any clinic, so PPV does not carry over; diseases that are not among "
    "the classes are assigned to one of them."
)


def model_card_table(runs: list[Run], options: ReportOptions) -> Table:
    """One row per known fact about the runs, one column per run."""
    by_run = [_facts(run, options) for run in runs]
    names = dict.fromkeys(name for facts in by_run for name in facts)
    rows = [[name, *(facts.get(name, "") for facts in by_run)] for name in names]
    columns = ["", *(run.name for run in runs)]
    return Table("model_card", "Model card", columns, [row for row in rows if any(row[1:])])


def shared_patient_cautions(runs: list[Run]) -> list[Caution]:
    """Warnings about runs that share patients between training and test."""
    return [
        Caution(
            f"{run.name}: {describe_overlap(run.training['patients'])}. Results on these patients "
            "are too optimistic."
        )
        for run in runs
        if run.training.get("patients", {}).get("shared")
    ]


def claim_table(runs: list[Run], options: ReportOptions) -> Table:
    """The CLAIM checklist; items that the runs cannot answer are left to the authors."""
    checklist = json.loads(CHECKLIST.read_text(encoding="utf-8"))
    answers = [(run.name, _answers(run, options)) for run in runs]
    rows = []
    for item in checklist["items"]:
        known = [
            (name, answer[item["fill"]])
            for name, answer in answers
            if "fill" in item and answer.get(item["fill"])
        ]
        rows.append([str(item["item"]), item["part"], item["asks"], _join(known, len(runs))])
    return Table(
        "claim",
        "Checklist for Artificial Intelligence in Medical Imaging (CLAIM)",
        ["item", "part", "asks for", "answer of the runs"],
        rows,
        notes=[checklist["citation"]],
    )


def _join(known: list[tuple[str, str]], runs: int) -> str:
    if not known:
        return FOR_AUTHORS
    texts = [text for _, text in known]
    if len(set(texts)) == 1 and len(texts) == runs:
        return texts[0]
    return " ".join(f"[{name}] {text}" for name, text in known)


def _result(run: Run, options: ReportOptions) -> SegmentationResult | ClassificationResult | None:
    results = run.classification if is_classifier(run.cfg) else run.segmentation
    return choose_test(results, options.dataset)


def _facts(run: Run, options: ReportOptions) -> dict[str, str]:
    answers, result = _answers(run, options), _result(run, options)
    record = result.record if result else {}
    training = run.training
    facts = {
        "model": answers["model"],
        "classes": answers["classes"],
        "trained on": answers["datasets"],
        "evaluated on": answers.get("partitions", ""),
        "result": answers.get("headline", ""),
        "patients in training and test": answers["disjoint"],
        "window of the slices": Window.from_config(run.training_cfg or run.cfg).label,
        "training": answers["training"],
        "changed on resume": _changes(training.get("changed_on_resume") or ()),
        "stopped early": _text(training.get("stopped_early")),
        "start": answers["initialisation"],
        "training time": "" if run.minutes is None else f"{run.minutes:.1f} min",
        "seed": _text(training.get("seed", record.get("seed"))),
        "hardware": _hardware(training or record),
        "software": answers["software"],
        "weights, SHA-256": _text(record.get("weights_sha256")),
        "config, SHA-256": _text(record.get("config_sha256")),
    }
    hashes = {**training.get("dataset_sha256", {}), **record.get("dataset_sha256", {})}
    return facts | {f"{name}, SHA-256": value for name, value in hashes.items()}


def _changes(changes: Sequence[Mapping]) -> str:
    """The config keys that changed when the run was resumed, with old and new values."""
    return "; ".join(
        f"from iteration {change['iteration']:,} on: "
        + ", ".join(f"{key} {' -> '.join(map(str, pair))}" for key, pair in change["keys"].items())
        for change in changes
    )


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f} %"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _hardware(record: Mapping) -> str:
    machine = record.get("hardware", {})
    if not machine:
        return ""
    if record.get("device") != "cpu" and machine.get("gpus"):
        return ", ".join(machine["gpus"])
    return f"{machine['processor']}, {machine['torch_threads']} threads"


def _answers(run: Run, options: ReportOptions) -> dict[str, str]:
    cfg, trained, result = run.cfg, run.training_cfg, _result(run, options)
    record = result.record if result else {}
    versions = run.training.get("versions") or record.get("versions", {})
    answers = {
        "datasets": ", ".join((trained or cfg).DATASETS.TRAIN),
        "preprocessing": _preprocessing(cfg),
        "disjoint": describe_overlap(run.training.get("patients", {})),
        "model": _model(cfg),
        "software": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "initialisation": (trained.MODEL.WEIGHTS or "random") if trained else "",
        "training": _training(trained or cfg),
        "selection": _selection(trained, result.dataset if result else "") if trained else "",
        "ensemble": "none",
        "classes": "",
    }
    if result:
        answers |= _result_answers(result, options)
    return answers


def _preprocessing(cfg: CfgNode) -> str:
    return (
        f"window {Window.from_config(cfg).label}, shorter side {cfg.INPUT.MIN_SIZE_TEST} px, "
        f"channel means {cfg.MODEL.PIXEL_MEAN}, standard deviations {cfg.MODEL.PIXEL_STD}"
    )


def _model(cfg: CfgNode) -> str:
    name = model_name(cfg)
    if not is_classifier(cfg):
        return f"Mask R-CNN, {name}"
    batch = cfg.MODEL.ROI_BATCH
    return f"COVID-CT-Mask-Net, {name}; S reads {batch.SIZE} regions ({batch.CONTENT})"


def _training(cfg: CfgNode) -> str:
    solver, data = cfg.SOLVER, cfg.INPUT
    augmentations = {
        "horizontal flips": data.RANDOM_FLIP == "horizontal",
        "vertical flips": data.VERTICAL_FLIP,
        f"rotation by {data.ROTATION:g} degrees": data.ROTATION > 0,
        f"brightness and contrast by {100 * data.INTENSITY:g} %": data.INTENSITY > 0,
    }
    used = ", ".join(name for name, used in augmentations.items() if used) or "none"
    return (
        f"{solver.OPTIMIZER}, rate {solver.BASE_LR:g}, {solver.LR_SCHEDULER_NAME}, "
        f"weight decay {solver.WEIGHT_DECAY:g}, {solver.MAX_ITER:,} iterations of "
        f"{solver.IMS_PER_BATCH}; augmentation: {used}"
    )


def _selection(cfg: CfgNode, reported: str) -> str:
    if not cfg.DATASETS.TEST:
        return "the last weights are kept; nothing is evaluated during training"
    dataset = cfg.DATASETS.TEST[0]
    text = f"the weights with the best {cfg.TEST.BEST_METRIC} on {dataset} and the last are kept"
    if dataset == reported and 0 < cfg.TEST.EVAL_PERIOD < cfg.SOLVER.MAX_ITER:
        text += "; the best were chosen on the reported slices, so their results are too optimistic"
    return text


def _result_answers(
    result: SegmentationResult | ClassificationResult, options: ReportOptions
) -> dict[str, str]:
    uncertainty = (
        f"95 % intervals by bootstrap over patients ({options.resamples:,} resamples), see the "
        "tables above"
    )
    common = {"uncertainty": uncertainty, "failures": "the worst slices are shown above"}
    if isinstance(result, ClassificationResult):
        patients = len(np.unique(result.patients))
        return common | {
            "classes": ", ".join(result.class_names),
            "partitions": f"{result.dataset}: {len(result.labels):,} slices of {patients} patients",
            "metrics": "sensitivity, specificity, PPV, F1 and AUC of each class, accuracy, "
            "calibration; by slice, scan and patient",
            "explanation": "occlusion of regions, with a deletion test",
            "headline": f"accuracy by slice {result.metrics['metrics']['accuracy']:.1f} %",
        }
    images = result.truth.loadImgs(result.truth.getImgIds())
    patients = len({image.get("patient", "") for image in images})
    names = [c["name"] for c in result.truth.loadCats(result.truth.getCatIds())]
    scores = result.metrics["segm"]
    return common | {
        "classes": ", ".join(names),
        "partitions": f"{result.dataset}: {len(images):,} slices of {patients} patients",
        "metrics": "COCO AP of masks and boxes, per-image AP as published, FROC, Dice",
        "headline": ", ".join(f"mask {k} {_percent(scores[k])}" for k in ("AP", "AP50")),
    }
