"""A Detectron2 evaluator for the classification of slices."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ct_lesion.csv_cells import csv_text
from ct_lesion.data.loading.roi_batches import RoIBatches, roi_batch_row
from ct_lesion.errors import DatasetError
from ct_lesion.files import write_together
from ct_lesion.json_files import without_nan

from .classification_metrics import PER_CLASS, ClassificationMetrics, classification_metrics

# column headings of the paper's Table 3, in its order
PAPER_COLUMNS = {"COVID-19": "COVID-19", "Common Pneumonia": "Pneumonia", "Control": "Normal"}
PREDICTIONS_FILE = "predictions.csv"
CLASSIFICATION_METRICS_FILE = "classification_metrics.json"
ROI_BATCHES_FILE = "roi_batches.npz"
logger = logging.getLogger(__name__)


class ClassifiedSlice(NamedTuple):
    """A slice with its true class and the model's logits, as plain values for pickling."""

    file_name: str
    image_id: str
    patient: str
    scan: str
    label: int
    logits: tuple[float, ...]

    @property
    def predicted(self) -> int:
        """Index of the largest logit; the first of tied logits."""
        return max(range(len(self.logits)), key=self.logits.__getitem__)


class ClassificationEvaluator(DatasetEvaluator):
    """Sensitivity, specificity, PPV, F1 and AUC of each class, accuracy and confusion matrix.

    The model's output for an image is a dict with ``logits``, a tensor (C,). The predictions of
    several processes are gathered; a slice evaluated by several of them counts once.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        config: str = "",
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset with ``image_classes`` in its metadata.
            output_dir: folder for ``predictions.csv``, ``classification_metrics.json`` and, if the
                outputs have ``instances``, ``roi_batches.npz``, with slices in the same order.
            config: the model's config as yaml, stored in ``roi_batches.npz``.

        Raises:
            DatasetError: the dataset has no ``image_classes``.
        """
        self._dataset_name = dataset_name
        self._class_names = MetadataCatalog.get(dataset_name).get("image_classes")
        if not self._class_names:
            raise DatasetError(
                f"Dataset {dataset_name} has no image_classes in its metadata, so a classifier "
                "cannot be evaluated on it. Register it with ct_lesion.register_covidx_ct."
            )
        self._output_dir = Path(output_dir) if output_dir else None
        self._config = config
        self._predictions: list[ClassifiedSlice] = []
        self._regions: dict[str, dict[str, np.ndarray]] = {}  # by image id

    def reset(self) -> None:
        """Discard all predictions."""
        self._predictions = []
        self._regions = {}

    def process(self, inputs: Sequence[dict], outputs: Sequence[Mapping]) -> None:
        """Store the predictions for a batch.

        Args:
            inputs: records of :class:`ct_lesion.data.loading.mapper.ClassificationMapper`.
            outputs: dicts with ``logits`` (C,).

        Raises:
            DatasetError: an input has no label, or its label is not a class index.
            ValueError: model and dataset have different numbers of classes.
            FloatingPointError: a logit is not finite.
        """
        for record, output in zip(inputs, outputs, strict=True):
            prediction = self._predict(record, output["logits"])
            self._predictions.append(prediction)
            if self._output_dir and "instances" in output:
                self._regions[prediction.image_id] = roi_batch_row(record, output)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Metrics of all predictions, in percent; NaN where undefined.

        Returns:
            ``{"classification": {"accuracy": ..., "sensitivity/COVID-19": ..., ...}}``; empty
            without predictions, and in all processes except the main one.
        """
        comm.synchronize()
        predictions = list(chain.from_iterable(comm.gather(self._predictions, dst=0)))
        regions = dict(ChainMap(*comm.gather(self._regions, dst=0)))
        if not comm.is_main_process():
            return {}
        # sorted by id, because the gathered order depends on the number of processes
        distinct = {p.image_id: p for p in reversed(predictions)}
        predictions = [distinct[key] for key in sorted(distinct, key=str)]
        if not predictions:
            logger.warning(
                "%s: there are no predictions to evaluate. Is the dataset empty?",
                self._dataset_name,
            )
            return {}
        metrics = classification_metrics(
            np.array([p.label for p in predictions]),
            np.array([p.logits for p in predictions]),
            self._class_names,
        )
        percent = {name: 100 * value for name, value in metrics.as_dict().items()}
        patients = len({p.patient for p in predictions})
        heading = f"{self._dataset_name}: {len(predictions)} slices of {patients} patients"
        logger.info("%s\n%s", heading, format_metrics(metrics))
        if self._output_dir:
            self._write(predictions, metrics, percent, patients)
            if regions:
                self._write_regions([regions[p.image_id] for p in predictions])
        return {"classification": percent}

    def _predict(self, record: Mapping, logits: torch.Tensor) -> ClassifiedSlice:
        name, count = record["file_name"], len(self._class_names)
        if not 0 <= record.get("label", -1) < count:
            raise DatasetError(
                f"{name}: the label is {record.get('label')}, expected 0 to {count - 1}. Register "
                "the dataset with the true class of each slice."
            )
        if logits.shape != (count,):
            raise ValueError(
                f"{name}: the model's logits have shape {tuple(logits.shape)}, but "
                f"{self._dataset_name} has {count} classes. Set MODEL.CLASSIFIER.NUM_CLASSES."
            )
        values = tuple(logits.detach().float().cpu().tolist())
        if not all(map(math.isfinite, values)):
            raise FloatingPointError(
                f"{name}: the model's logits are not finite: {values}. Evaluate an earlier "
                "checkpoint."
            )
        ids = (str(record.get(key, "")) for key in ("patient", "scan"))
        image_id = str(record.get("image_id", name))
        return ClassifiedSlice(name, image_id, *ids, int(record["label"]), values)

    def _write(
        self,
        predictions: Sequence[ClassifiedSlice],
        metrics: ClassificationMetrics,
        percent: Mapping[str, float],
        patients: int,
    ) -> None:
        content = {
            "dataset": self._dataset_name,
            "slices": len(predictions),
            "patients": patients,
            "classes": list(self._class_names),
            "unit": "percent",
            "metrics": without_nan(percent),
            "undefined": metrics.undefined,
            "confusion_matrix": {
                "rows": "true class",
                "columns": "predicted class",
                "counts": metrics.confusion.tolist(),
            },
        }
        files = {
            self._output_dir / PREDICTIONS_FILE: predictions_csv(predictions, self._class_names),
            self._output_dir / CLASSIFICATION_METRICS_FILE: json.dumps(content, indent=2) + "\n",
        }
        write_together(files)
        logger.info("Written: %s", ", ".join(map(str, files)))

    def _write_regions(self, rows: Sequence[dict[str, np.ndarray]]) -> None:
        path = self._output_dir / ROI_BATCHES_FILE
        RoIBatches.from_rows(rows, self._config).save(path)
        logger.info("Written: %s", path)


def predictions_csv(predictions: Sequence[ClassifiedSlice], class_names: Sequence[str]) -> str:
    """Predictions as CSV, a row per slice; nine significant digits preserve the float32 logits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    logit_names = [f"logit_{index} {name}" for index, name in enumerate(class_names)]
    writer.writerow(
        ["file", "image_id", "patient", "scan", "true_class", "predicted_class", *logit_names]
    )
    for p in predictions:
        classes = (class_names[p.label], class_names[p.predicted])
        texts = map(csv_text, (*p[:4], *classes))
        writer.writerow([*texts, *(f"{value:.9g}" for value in p.logits)])
    return text.getvalue()


def format_metrics(metrics: ClassificationMetrics) -> str:
    """Tables for the log: the paper's Table 3, all metrics of each class, the confusion matrix."""
    values = {name: f"{100 * value:.2f}" for name, value in metrics.as_dict().items()}
    names = metrics.class_names
    # the paper lists its classes in reverse order, so other classes are reversed too
    columns = list(PAPER_COLUMNS) if set(names) == set(PAPER_COLUMNS) else list(reversed(names))
    headings = [*(PAPER_COLUMNS.get(name, name) for name in columns), "Overall"]
    table_3 = [[*(values[f"sensitivity/{name}"] for name in columns), values["accuracy"]]]
    by_class = [[name, *(values[f"{metric}/{name}"] for metric in PER_CLASS)] for name in names]
    counts = [[name, *row] for name, row in zip(names, metrics.confusion.tolist(), strict=True)]
    parts = [
        "Class sensitivity and overall accuracy in %, as in the paper's Table 3 (Normal is the "
        'sensitivity of Control, which the paper also calls "true negative rate"):',
        tabulate(table_3, headers=headings, disable_numparse=True),
        "Each class against the others, in %:",
        tabulate(by_class, headers=["class", *PER_CLASS], disable_numparse=True),
        "Confusion matrix in slices (rows: true class, columns: predicted class):",
        tabulate(counts, headers=["", *names]),
        *(f"{name} is undefined: {reason}." for name, reason in metrics.undefined.items()),
    ]
    return "\n".join(parts)
