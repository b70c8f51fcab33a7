"""Detectron2's COCO evaluator with the paper's table; AP is 0, not NaN, without detections."""

import contextlib
import io
import json
import logging
from pathlib import Path

import detectron2.utils.comm as comm
from detectron2.config import CfgNode
from detectron2.evaluation import COCOEvaluator
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

from ct_lesion.data.datasets.coco_files import number_from_1, read_coco
from ct_lesion.files import write_together
from ct_lesion.json_files import without_nan

from .mask_ap import MaskAP, no_results
from .segmentation_metrics import (
    above_score,
    ap_by_patient,
    best_of_each_image,
    lesion_counts,
    release_ap,
)

SEGMENTATION_METRICS_FILE = "segmentation_metrics.json"
RESULTS_FILE = "coco_instances_results.json"
GROUND_TRUTH_FILE = "ground_truth.json"


class LesionEvaluator(COCOEvaluator):
    """COCO AP of boxes and masks, and the paper's metrics from the same detections.

    AP is 0, not NaN, without detections, and NaN without lesions of a class or size. In addition to
    Detectron2's files, the evaluator writes ``segmentation_metrics.json``:

    - ``bbox``, ``segm``: COCO metrics in percent, of all detections.
    - ``paper_table_2``: mask AP in [0, 1] of the detections above ``score_threshold``, by COCO's
      rules (``coco``) and averaged over images as in the published implementation (``release``).
    - ``lesions``: lesions found and false detections above that score, IoU > 0.5.
    - ``patients``: mask AP in [0, 1] of each patient.
    - ``max_detections``: largest number of detections per image and class that count.

    It also writes ``ground_truth.json``, the ground truth as completed by :func:`read_coco`, so
    that reports do not need the dataset.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        *,
        max_dets_per_image: int = 128,
        score_threshold: float = 0.75,
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset in COCO json.
            output_dir: folder for predictions and metrics.
            max_dets_per_image: largest number of detections per image and class that count.
            score_threshold: detections above it count in the paper's metrics.

        Raises:
            DatasetError: see :func:`read_coco`.
        """
        super().__init__(
            dataset_name,
            tasks=("bbox", "segm"),
            output_dir=output_dir,
            max_dets_per_image=max_dets_per_image,
            use_fast_impl=False,
        )
        truth = number_from_1(read_coco(self._metadata.json_file))
        self._ground_truth = json.dumps(truth)  # before pycocotools changes its masks in place
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each step
            self._coco_api.dataset = truth
            self._coco_api.createIndex()
        self._name = dataset_name
        self._folder = Path(output_dir)
        self._max_detections = max_dets_per_image
        self._score_threshold = score_threshold
        self._log = logging.getLogger(__name__)

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str, output_dir: str) -> "LesionEvaluator":
        """Create the evaluator with the limits and the threshold of ``cfg.TEST``."""
        return cls(
            dataset_name,
            output_dir,
            max_dets_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
            score_threshold=cfg.TEST.PAPER_SCORE_THRESH,
        )

    def evaluate(self, img_ids: list[int] | None = None) -> dict:
        """COCO metrics in percent under ``bbox`` and ``segm``; writes the files of the class."""
        results = super().evaluate(img_ids)
        if not comm.is_main_process() or not results:
            return results
        detections = json.loads((self._folder / RESULTS_FILE).read_text(encoding="utf-8"))
        if not detections:
            self._log.warning(
                f"The model has no detections in {self._name}, so AP is 0. Train it longer, or "
                "lower MODEL.ROI_HEADS.SCORE_THRESH_TEST."
            )
            results = {task: self._without_detections(task, img_ids) for task in results}
        if not self._coco_api.anns:
            self._log.warning(
                f"{self._name} has no lesions, so AP is undefined (NaN). Evaluate on slices with "
                "lesions."
            )
        detections = best_of_each_image(detections, self._max_detections)
        metrics = {**results, **self._paper_metrics(detections)}
        path = self._folder / SEGMENTATION_METRICS_FILE
        write_together(
            {
                path: json.dumps(without_nan(metrics), indent=2),
                self._folder / GROUND_TRUTH_FILE: self._ground_truth,
            }
        )
        self._log_tables(metrics)
        self._log.info(f"Written: {path}")
        return results

    def _without_detections(self, task: str, img_ids: list[int] | None) -> dict[str, float]:
        """Metrics without detections: 0, or NaN for classes and sizes without lesions.

        Detectron2 reports NaN for all of them.
        """
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each step
            evaluation = COCOeval(self._coco_api, no_results(self._coco_api), task)
            if img_ids is not None:
                evaluation.params.imgIds = img_ids
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        names = self._metadata.get("thing_classes")
        return self._derive_coco_results(evaluation, task, class_names=names)

    def _paper_metrics(self, detections: list[dict]) -> dict:
        truth, threshold = self._coco_api, self._score_threshold
        counts = lesion_counts(truth, detections, threshold).values()
        return {
            "paper_table_2": {
                "score_threshold": threshold,
                "coco": MaskAP(truth, above_score(detections, threshold)).of(),
                "release": release_ap(truth, detections, threshold),
            },
            "lesions": {
                key: sum(count[key] for count in counts) for key in ("lesions", "found", "false")
            },
            "patients": ap_by_patient(truth, detections),
            "max_detections": self._max_detections,
        }

    def _log_tables(self, metrics: dict) -> None:
        table = metrics["paper_table_2"]
        rows = [
            [name, table[key]["AP50"], table[key]["AP75"], table[key]["AP"]]
            for name, key in (("COCO", "coco"), ("per image, as released", "release"))
        ]
        headers = ["mask AP", "AP@0.5IoU", "AP@0.75IoU", "AP@[0.5:0.95]"]
        lesions = metrics["lesions"]
        self._log.info(
            f"As in the paper's Table 2, detections with score > {table['score_threshold']}:\n"
            + tabulate(rows, headers=headers, floatfmt=".4f", tablefmt="pipe")
            + f"\n{lesions['found']} of {lesions['lesions']} lesions found (IoU > 0.5), "
            f"{lesions['false']} false detections."
        )
        patients = [[p, *values.values()] for p, values in metrics["patients"].items()]
        if patients:
            headers = ["patient", "slices", "AP", "AP50", "AP75"]
            self._log.info(
                "COCO mask AP by patient:\n"
                + tabulate(patients, headers=headers, floatfmt=".4f", tablefmt="pipe")
            )
