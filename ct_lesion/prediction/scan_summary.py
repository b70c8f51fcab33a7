"""The summary of a scan: what ``summary.json`` holds and the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.scans.scan import Scan

from .scan_class import ScanClass, classify_scan
from .scan_measures import SliceMeasures, summarise_lesions
from .slices import SlicePrediction

if TYPE_CHECKING:
    from .predictor import LesionPredictor


def summarise_scan(
    scan: Scan,
    slices: Sequence[SlicePrediction],
    measures: Sequence[SliceMeasures],
    predictor: LesionPredictor,
) -> dict:
    """All that is said of a scan as a whole, in plain values.

    Args:
        scan: what was read.
        slices: its predictions, in order.
        measures: of each slice.
        predictor: which predicted.

    Returns:
        Of the scan: ``scan``, ``source``, ``patient``, ``slices``, ``size`` ([H, W]),
        ``spacing_mm`` ([z, y, x]), ``window`` ([level, width] in HU), ``notes`` and ``qc``; of its
        class: ``class``, ``probabilities``, ``rule`` and ``deciding_slices``; of its lesions: see
        :func:`ct_lesion.prediction.scan_measures.summarise_lesions`; and how the lesions were
        found: ``score_thresh``, ``lesion_class_names``, ``class_names``.
    """
    classifier = predictor.classifier
    summary = {
        "disclaimer": DISCLAIMER,
        "scan": scan.name,
        "source": _source(scan),
        "patient": scan.patient,
        "slices": scan.shape[0],
        "size": list(scan.shape[1:]),
        "spacing_mm": None if scan.spacing_mm is None else [float(s) for s in scan.spacing_mm],
        "window": None if scan.window is None else [scan.window.level, scan.window.width],
        "class": None,
        "probabilities": None,
        "rule": None,
        "deciding_slices": None,
        **summarise_lesions(slices, measures, scan.spacing_mm),
        "score_thresh": predictor.score_thresh,
        "lesion_class_names": list(predictor.segmenter.classes),
        "class_names": list(classifier.classes) if classifier else None,
        "notes": list(scan.notes),
        "qc": [{"code": f.code, "message": f.message} for f in scan.qc],
    }
    if classifier is not None:
        summary |= _class(scan_class(slices, predictor), classifier.classes)
    return summary


def scan_class(slices: Sequence[SlicePrediction], predictor: LesionPredictor) -> ScanClass:
    """The class of a scan by the predictor's rule."""
    return classify_scan(
        np.array([s.logits for s in slices]),
        [s.region_score for s in slices],
        top_slices=predictor.top_slices,
        temperature=predictor.classifier.temperature,
    )


def _source(scan: Scan) -> str | None:
    """The file, or the folder of several; nothing of an array."""
    if not scan.files:
        return None
    path = scan.files[0] if len(scan.files) == 1 else scan.files[0].parent
    return str(path.resolve())


def _class(found: ScanClass, names: Sequence[str]) -> dict:
    return {
        "class": names[found.index],
        "probabilities": dict(zip(names, found.probabilities, strict=True)),
        "rule": found.rule,
        "deciding_slices": list(found.slices),
    }
