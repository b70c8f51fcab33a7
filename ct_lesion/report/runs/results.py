"""Reads the evaluations in a run's folder. Shapes: M slices, C classes."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from pycocotools.coco import COCO

from ct_lesion.csv_cells import csv_original
from ct_lesion.data.datasets.coco_checks import check_coco_dataset, check_detections
from ct_lesion.data.datasets.coco_files import number_from_1, read_coco
from ct_lesion.data.loading.roi_batches import RoIBatches, StaleCacheError
from ct_lesion.engine.run_record import EVALUATION_RECORD
from ct_lesion.evaluation.classification import (
    CLASSIFICATION_METRICS_FILE,
    PREDICTIONS_FILE,
    ROI_BATCHES_FILE,
)
from ct_lesion.evaluation.classification_metrics import PER_CLASS
from ct_lesion.evaluation.lesion_evaluator import (
    GROUND_TRUTH_FILE,
    RESULTS_FILE,
    SEGMENTATION_METRICS_FILE,
)
from ct_lesion.evaluation.mask_ap import patients_of
from ct_lesion.evaluation.segmentation_metrics import best_of_each_image
from ct_lesion.folders import check_regular, is_given
from ct_lesion.json_files import read_json

from .run_checks import ADVICE, CLASSIFICATION, EVALUATION, SEGMENTATION, RunError, read_object

LOGIT_PREFIX = "logit_"
TEXT_COLUMNS = ("image_id", "file", "patient", "scan")


@dataclass(frozen=True)
class SegmentationResult:
    """An evaluation of a segmentation model.

    Attributes:
        dataset: name of the dataset.
        truth: ground truth, with patients in the image records.
        detections: COCO results, at most ``TEST.DETECTIONS_PER_IMAGE`` per image.
        metrics: content of ``segmentation_metrics.json``.
        record: content of ``evaluation.json``; empty without the file.
    """

    dataset: str
    truth: COCO
    detections: list[dict]
    metrics: dict
    record: dict

    def image_file(self, image_id: int) -> Path:
        """Path of a slice's image at the time of the evaluation."""
        return Path(self.record.get("image_root") or "") / self.truth.imgs[image_id]["file_name"]


@dataclass(frozen=True)
class ClassificationResult:
    """An evaluation of a classifier; all arrays have the same order.

    Attributes:
        dataset: name of the dataset.
        class_names: names of the C classes.
        image_ids, files, patients, scans: (M,) strings.
        labels: (M,) true classes.
        logits: (M, C).
        metrics: content of ``classification_metrics.json``.
        record: content of ``evaluation.json``; empty without the file.
        roi_batches: RoI batches of the M slices; ``None`` if the evaluation did not write them.
    """

    dataset: str
    class_names: tuple[str, ...]
    image_ids: np.ndarray
    files: np.ndarray
    patients: np.ndarray
    scans: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    metrics: dict
    record: dict
    roi_batches: RoIBatches | None


Result = TypeVar("Result", SegmentationResult, ClassificationResult)


def read_segmentation(folder: Path) -> SegmentationResult:
    """Read the evaluation of a segmentation model.

    Args:
        folder: ``inference/<dataset>`` of a run.

    Raises:
        DatasetError: the ground truth or the detections are damaged.
        RunError: another file is missing or damaged, or the files do not fit each other.
    """
    content = read_coco(folder / GROUND_TRUTH_FILE)
    check_coco_dataset(folder / GROUND_TRUTH_FILE, content)
    number_from_1(content)
    detections = read_json(folder / RESULTS_FILE, list, RunError, ADVICE)
    check_detections(folder / RESULTS_FILE, detections, content)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its steps
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
    unknown = {d["image_id"] for d in detections} - set(truth.imgs)
    if unknown:
        raise RunError(
            f"{folder / RESULTS_FILE} holds detections in {len(unknown)} images that are not in "
            f"{GROUND_TRUTH_FILE}, e.g. image {min(unknown)}. Evaluate the run again."
        )
    path = folder / SEGMENTATION_METRICS_FILE
    metrics = read_object(path, SEGMENTATION)
    absent = sorted(metrics["patients"].keys() - set(patients_of(truth).tolist()))
    if absent:
        raise RunError(
            f"{path} holds {len(absent)} patients who are not in {GROUND_TRUTH_FILE}, e.g. "
            f"{absent[0][:80]}. Evaluate the run again."
        )
    record = read_object(folder / EVALUATION_RECORD, EVALUATION, optional=True)
    if (limit := metrics.get("max_detections")) is not None:  # earlier versions did not write it
        if limit < 1:
            raise RunError(f"{path} is damaged (max_detections is {limit}). {ADVICE}")
        detections = best_of_each_image(detections, limit)
    return SegmentationResult(folder.name, truth, detections, metrics, record)


def read_classification(folder: Path) -> ClassificationResult:
    """Read the evaluation of a classifier.

    Args:
        folder: ``inference/<dataset>`` of a run.

    Raises:
        RunError: a file is missing or damaged, or the files do not fit each other.
    """
    path = folder / PREDICTIONS_FILE
    try:
        check_regular(path)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} is damaged ({error}). {ADVICE}") from None
    columns = [c for c in (rows[0] if rows else {}) if c and c.startswith(LOGIT_PREFIX)]
    class_names = tuple(column.partition(" ")[2] for column in columns)
    try:
        texts = [np.array([csv_original(row[key]) for row in rows]) for key in TEXT_COLUMNS]
        labels = np.array([class_names.index(csv_original(row["true_class"])) for row in rows])
        logits = np.array([[float(row[column]) for column in columns] for row in rows])
        if not rows or not np.isfinite(logits).all():
            raise ValueError("no slices, or logits that are not finite")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is incomplete ({type(error).__name__}: {error}). Evaluate the run again."
        ) from None
    metrics = read_object(folder / CLASSIFICATION_METRICS_FILE, CLASSIFICATION)
    expected = {f"{metric}/{name}" for metric in PER_CLASS for name in class_names}
    if tuple(metrics["classes"]) != class_names or expected - metrics["metrics"].keys():
        raise RunError(
            f"{folder / CLASSIFICATION_METRICS_FILE} lacks metrics of the classes in "
            f"{PREDICTIONS_FILE}, {', '.join(class_names)[:200]}. {ADVICE}"
        )
    return ClassificationResult(
        folder.name,
        class_names,
        *texts,
        labels,
        logits,
        metrics,
        read_object(folder / EVALUATION_RECORD, EVALUATION, optional=True),
        _roi_batches(folder / ROI_BATCHES_FILE, texts[0].tolist()),
    )


def _roi_batches(path: Path, image_ids: Sequence[str]) -> RoIBatches | None:
    if not is_given(path):
        return None
    try:
        batches = RoIBatches.load(path)
    except StaleCacheError as error:
        raise RunError(f"{error} Evaluate the run again.") from None
    if batches.image_id.tolist() != list(image_ids):
        raise RunError(
            f"{path} holds other slices than {PREDICTIONS_FILE}. Evaluate the run again."
        )
    return batches


def choose_test(results: Mapping[str, Result], wanted: str | None = None) -> Result | None:
    """The evaluation to report.

    Args:
        results: evaluations by dataset.
        wanted: name of the dataset; default: the dataset whose name ends in "_test", or the only
            dataset.

    Returns:
        ``None`` if there is no such evaluation.

    Raises:
        RunError: the default is ambiguous.
    """
    if wanted:
        return results.get(wanted)
    tests = [r for name, r in results.items() if name.endswith("_test")]
    candidates = tests or list(results.values())
    if len(candidates) > 1:
        raise RunError(
            f"Several datasets were evaluated: {', '.join(r.dataset for r in candidates)}. "
            "Choose one with --dataset."
        )
    return candidates[0] if candidates else None


def choose_validation(
    results: Mapping[str, ClassificationResult], wanted: str | None = None
) -> ClassificationResult | None:
    """The evaluation on the wanted dataset; default: the dataset whose name ends in "_val"."""
    if wanted:
        return results.get(wanted)
    return next((r for name, r in results.items() if name.endswith("_val")), None)
