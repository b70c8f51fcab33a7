"""Areas, volumes and the class of a scan: the content of ``summary.json``.

Lengths are in mm, areas in pixels or mm2, volumes in ml. Physical sizes are ``None`` for scans
without spacing, e.g. pictures.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ct_lesion.lesions.measures import ScanLesion
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.scans.scan import Scan

from .input_window import input_window
from .models import TrainedModel
from .scan_class import classify_scan
from .slices import SlicePrediction


@dataclass(frozen=True)
class SliceMeasures:
    """Pixel counts of one slice.

    Attributes:
        lesion_px: pixels of lesion.
        lung_px: pixels of the lung mask; ``None`` without a mask.
        lesion_in_lung_px: pixels of lesion inside the lung mask; ``None`` without a mask.
    """

    lesion_px: int
    lung_px: int | None = None
    lesion_in_lung_px: int | None = None

    @property
    def share_of_lung(self) -> float | None:
        """Lesion as a share of the lung, 0..1; ``None`` without a lung mask or if it is empty."""
        return self.lesion_in_lung_px / self.lung_px if self.lung_px else None


def measure_slice(labels: np.ndarray, lung: np.ndarray | None = None) -> SliceMeasures:
    """Count the pixels of lesion and lung in a slice.

    Args:
        labels: (H, W) of the lesions, 0 is background.
        lung: (H, W), 0 is background.
    """
    lesion = labels > 0
    if lung is None:
        return SliceMeasures(int(lesion.sum()))
    inside = np.asarray(lung) > 0
    return SliceMeasures(int(lesion.sum()), int(inside.sum()), int((lesion & inside).sum()))


def in_mm2(pixels: int | None, spacing_mm: Sequence[float] | None) -> float | None:
    """An area in mm2; ``None`` if the area or the spacing (z, y, x) is unknown."""
    if pixels is None or spacing_mm is None:
        return None
    return pixels * (spacing_mm[1] * spacing_mm[2])


def summarise_lesions(
    slices: Sequence[SlicePrediction],
    measures: Sequence[SliceMeasures],
    spacing_mm: Sequence[float | None] | None,
    thickness_mm: Sequence[float] | None = None,
) -> dict:
    """Count the detections, and measure the lesions of a scan together.

    Args:
        slices: predictions of all slices, in order.
        measures: the pixel counts of each slice.
        spacing_mm: z, y, x; ``None`` if unknown; z alone may be ``None``.
        thickness_mm: thickness of each slice, for volumes and shares; default: z.

    Returns:
        ``detections`` (counted by slice: a lesion in five slices has at least five),
        ``slices_with_lesion``, ``lesion_slice_range`` ([first, last], from 0),
        ``most_lesion_slice`` (with the largest lesion area), ``lesion_volume_ml``,
        ``lesion_share_of_lung`` (lesion inside the lung mask, of all slices together) and
        ``lesion_outside_lung_ml``.
    """
    pixels = np.array([m.lesion_px for m in measures], dtype=np.int64)
    affected = np.flatnonzero(pixels)
    lung = np.array([m.lung_px or 0 for m in measures], dtype=np.int64)
    inside = np.array([m.lesion_in_lung_px or 0 for m in measures], dtype=np.int64)
    has_lung_mask = any(m.lung_px is not None for m in measures)
    known = spacing_mm is not None and spacing_mm[0] is not None
    # without sizes, all slices have the same weight in the share of lung
    thickness = np.array(thickness_mm or [spacing_mm[0] if known else 1.0] * len(measures))
    pixel_ml = spacing_mm[1] * spacing_mm[2] / 1000 if known else None
    return {
        "detections": sum(len(s.detections) for s in slices),
        "slices_with_lesion": len(affected),
        "lesion_slice_range": [int(affected[0]), int(affected[-1])] if len(affected) else None,
        "most_lesion_slice": int(pixels.argmax()) if len(affected) else None,
        "lesion_volume_ml": float(pixels @ thickness) * pixel_ml if known else None,
        "lesion_share_of_lung": (
            float(inside @ thickness) / float(lung @ thickness) if lung.any() else None
        ),
        "lesion_outside_lung_ml": (
            float((pixels - inside) @ thickness) * pixel_ml if known and has_lung_mask else None
        ),
    }


def lesion_records(lesions: Sequence[ScanLesion], class_names: Sequence[str]) -> list[dict]:
    """The lesions, JSON-ready: the fields of :class:`ScanLesion`, with the class by name."""
    records = []
    for lesion in lesions:
        record = asdict(lesion)
        record["class"] = class_names[record.pop("class_index")]
        records.append(record)
    return records


def summarise_scan(
    scan: Scan,
    slices: Sequence[SlicePrediction],
    measures: Sequence[SliceMeasures],
    lesions: Sequence[ScanLesion],
    segmenter: TrainedModel,
    classifier: TrainedModel | None,
    top_slices: int,
) -> dict:
    """The summary of a scan, JSON-ready.

    Args:
        scan: the predicted scan.
        slices: predictions of its slices, in order.
        measures: the pixel counts of each slice.
        lesions: the scan's lesions, by number.
        segmenter, classifier: the models that predicted it.
        top_slices: see :func:`ct_lesion.prediction.scan_class.classify_scan`.

    Returns:
        About the scan: ``disclaimer``, ``scan``, ``source``, ``patient``, ``slices``,
        ``dropped_slices`` (copies at the position of another slice), ``incomplete`` (slices are
        missing, see ``qc``), ``size`` ([H, W]), ``spacing_mm`` ([z, y, x]; z is ``None`` if
        unknown), ``windows`` (how the slices of each model were made from HU, see
        :class:`ct_lesion.scans.windows.Window`; ``None`` for 8-bit input), ``models``
        (name, training data and licence of each; ``None`` if its checkpoint does not record them),
        ``notes`` and ``qc``. About its class, ``None`` without a classifier: ``class``,
        ``probabilities``, ``rule``, ``deciding_slices`` and ``class_names``. About its lesions:
        ``lesions`` (their number), ``lesion_list`` (see
        :class:`~ct_lesion.lesions.measures.ScanLesion`), the items of :func:`summarise_lesions`,
        ``score_thresh`` and ``lesion_class_names``.
    """
    models = {"segmentation": segmenter} | ({"classification": classifier} if classifier else {})
    summary = {
        "disclaimer": DISCLAIMER,
        "scan": scan.name,
        "source": _source(scan),
        "patient": scan.patient,
        "slices": scan.shape[0],
        "size": list(scan.shape[1:]),
        "dropped_slices": scan.dropped_slices,
        "incomplete": scan.incomplete,
        "spacing_mm": scan.spacing_mm
        and [None if mm is None else float(mm) for mm in scan.spacing_mm],
        "windows": {kind: _window(scan, model) for kind, model in models.items()},
        "models": {kind: m.about and asdict(m.about) for kind, m in models.items()},
        "class": None,
        "probabilities": None,
        "rule": None,
        "deciding_slices": None,
        "lesions": len(lesions),
        **summarise_lesions(slices, measures, scan.spacing_mm, scan.thickness_mm),
        "lesion_list": lesion_records(lesions, segmenter.classes),
        "score_thresh": segmenter.score_thresh,
        "lesion_class_names": list(segmenter.classes),
        "class_names": list(classifier.classes) if classifier else None,
        "notes": list(scan.notes),
        "qc": [{"code": f.code, "message": f.message} for f in scan.qc],
    }
    if classifier is not None:
        summary |= _scan_class(slices, classifier, top_slices)
    return summary


def _window(scan: Scan, model: TrainedModel) -> dict | None:
    window = input_window(scan, model)
    return None if window is None else window.as_dict()


def _source(scan: Scan) -> str | None:
    """The scan's file, or the folder of its files; ``None`` for an array."""
    if not scan.files:
        return None
    path = scan.files[0] if len(scan.files) == 1 else scan.files[0].parent
    return str(path.resolve())


def _scan_class(
    slices: Sequence[SlicePrediction], classifier: TrainedModel, top_slices: int
) -> dict:
    result = classify_scan(
        np.array([s.logits for s in slices]),
        [s.region_score for s in slices],
        top_slices=top_slices,
        temperature=classifier.temperature,
    )
    return {
        "class": classifier.classes[result.index],
        "probabilities": dict(zip(classifier.classes, result.probabilities, strict=True)),
        "rule": result.rule,
        "deciding_slices": list(result.slices),
    }
