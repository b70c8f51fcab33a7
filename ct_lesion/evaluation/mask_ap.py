"""COCO mask AP of any selection of images, which may repeat, after one matching by pycocotools.

Shapes: I images, sorted by id.
"""

import contextlib
import copy
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .patient_bootstrap import (
    RESAMPLES,
    Interval,
    Statistic,
    bootstrap_intervals,
    paired_difference,
)

EVERY_AREA = (0.0, 1e10)
AP_METRICS = ("AP", "AP50", "AP75")
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class SizeGroup:
    """The small, medium or large third of the lesions.

    Attributes:
        name: "small", "medium" or "large".
        low, high: smallest and largest area in pixels; NaN without lesions.
        lesions: number of lesions.
        ap, ap50: mask AP in [0, 1]; NaN without lesions.
    """

    name: str
    low: float
    high: float
    lesions: int
    ap: float
    ap50: float


class MaskAP:
    """Mask AP, AP50 and AP75 over all classes, in [0, 1], by pycocotools.

    Detections and ground truth are matched once; the AP of a selection of images then takes
    milliseconds, fast enough for a bootstrap over patients.
    """

    def __init__(
        self,
        truth: COCO,
        detections: Sequence[dict],
        image_ids: Iterable[int] | None = None,
        area_range: tuple[float, float] = EVERY_AREA,
    ) -> None:
        """
        Args:
            truth: ground truth.
            detections: COCO results (``image_id``, ``category_id``, ``score``, ``segmentation``);
                all of them count, see
                :func:`ct_lesion.evaluation.segmentation_metrics.best_of_each_image`.
            image_ids: images to evaluate; default: all.
            area_range: smallest and largest area of the lesions in pixels. As in COCO, lesions of
                other sizes are ignored, and so are unmatched detections of other sizes.
        """
        self.image_ids = sorted(truth.getImgIds() if image_ids is None else image_ids)
        wanted = set(self.image_ids)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each step
            chosen = [d for d in detections if d["image_id"] in wanted]
            self._evaluation = COCOeval(truth, _load(truth, chosen), "segm")
            params = self._evaluation.params
            params.imgIds = self.image_ids
            most = max(Counter(d["image_id"] for d in chosen).values(), default=1)
            params.maxDets = [most]
            params.areaRng, params.areaRngLbl = [list(area_range)], ["wanted"]
            self._evaluation.evaluate()
        self._by_class = [
            self._evaluation.evalImgs[start : start + len(self.image_ids)]
            for start in range(0, len(self._evaluation.evalImgs), max(len(self.image_ids), 1))
        ]

    def of(self, indices: Sequence[int] | np.ndarray | None = None) -> dict[str, float]:
        """``AP``, ``AP50`` and ``AP75``; 0 without detections, NaN without ground truth.

        Args:
            indices: into ``image_ids``, may repeat; default: each image once.
        """
        precision = self.precision(indices)
        thresholds = self._evaluation.params.iouThrs
        return {
            "AP": _mean_precision(precision),
            "AP50": _mean_precision(precision[np.isclose(thresholds, 0.5)]),
            "AP75": _mean_precision(precision[np.isclose(thresholds, 0.75)]),
        }

    def precision(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """COCO's interpolated precision, (IoU thresholds, recalls, classes); -1 where undefined.

        Args:
            indices: see :meth:`of`.
        """
        indices = range(len(self.image_ids)) if indices is None else indices
        drawn = copy.copy(self._evaluation)
        drawn.evalImgs = [images[i] for images in self._by_class for i in indices]
        drawn.params = copy.copy(self._evaluation.params)
        drawn.params.imgIds = list(range(len(indices)))  # a repeated image counts as a new image
        drawn._paramsEval = drawn.params
        with contextlib.redirect_stdout(io.StringIO()):
            drawn.accumulate()
        return drawn.eval["precision"][:, :, :, 0, -1]

    @property
    def recalls(self) -> np.ndarray:
        """The recalls of :meth:`precision`, 101 values in 0..1."""
        return self._evaluation.params.recThrs

    def precision_at(self, iou: float) -> np.ndarray:
        """Precision at each of :attr:`recalls` for an IoU threshold, mean over classes, or NaN."""
        chosen = np.isclose(self._evaluation.params.iouThrs, iou)
        precision = np.where((p := self.precision()[chosen][0]) > -1, p, np.nan)
        known = ~np.isnan(precision).all(axis=0)
        return precision[:, known].mean(axis=1) if known.any() else np.full(len(p), np.nan)


def _load(truth: COCO, detections: Sequence[dict]) -> COCO:
    return truth.loadRes([dict(d) for d in detections]) if detections else no_results(truth)


def no_results(truth: COCO) -> COCO:
    """Results without detections; pycocotools cannot load an empty list."""
    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean_precision(precision: np.ndarray) -> float:
    known = precision[precision > -1]  # -1 marks classes without ground truth
    return float(known.mean()) if known.size else float("nan")


def patients_of(truth: COCO) -> np.ndarray:
    """The patient of each image, (I,); an image without a patient counts as a separate patient."""
    return np.array(
        [str(truth.imgs[i].get("patient", f"image {i}")) for i in sorted(truth.getImgIds())]
    )


def ap_intervals(
    truth: COCO, detections: Sequence[dict], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Mask AP, AP50 and AP75 with 95 % intervals, by bootstrap over patients."""
    statistic: Statistic = MaskAP(truth, detections).of
    return bootstrap_intervals(statistic, patients_of(truth), resamples=resamples, seed=seed)


def ap_difference(
    truth: COCO,
    detections_a: Sequence[dict],
    detections_b: Sequence[dict],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Mask AP of A minus mask AP of B, with intervals; both use the same resamples of patients."""
    first, second = MaskAP(truth, detections_a), MaskAP(truth, detections_b)
    return paired_difference(
        first.of, second.of, patients_of(truth), resamples=resamples, seed=seed
    )


def ap_by_size(truth: COCO, detections: Sequence[dict]) -> list[SizeGroup]:
    """Mask AP of the small, medium and large lesions, each a third of all as far as ties allow.

    Returns:
        Three groups, some of them empty if there are few lesions or equal areas; an empty list
        without lesions.
    """
    areas = np.array([a["area"] for a in truth.dataset["annotations"]], dtype=float)
    if not len(areas):
        return []
    first, second = np.quantile(areas, [1 / 3, 2 / 3], method="inverted_cdf")
    ranges = (
        (EVERY_AREA[0], first),
        (np.nextafter(first, np.inf), second),
        (np.nextafter(second, np.inf), EVERY_AREA[1]),
    )
    groups = []
    for name, (low, high) in zip(SIZES, ranges, strict=True):
        members = areas[(areas >= low) & (areas <= high)]
        if not len(members):
            groups.append(SizeGroup(name, np.nan, np.nan, 0, np.nan, np.nan))
            continue
        scores = MaskAP(truth, detections, area_range=(low, high)).of()
        groups.append(
            SizeGroup(
                name, members.min(), members.max(), len(members), scores["AP"], scores["AP50"]
            )
        )
    return groups
