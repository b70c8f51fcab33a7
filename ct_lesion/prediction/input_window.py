"""How a scan's slices are made for a model, and what the user must know about it."""

from collections.abc import Sequence
from dataclasses import replace

from ct_lesion.scans.quality import CONSTANT, SATURATED, check_saturation
from ct_lesion.scans.scan import QCFinding, Scan
from ct_lesion.scans.windows import DEFAULT_WINDOW, Window

from .models import TrainedModel

UNRECORDED = "window_unknown"
"""Code of the finding that a model does not record how its training images were made."""


def input_window(scan: Scan, model: TrainedModel) -> Window | None:
    """How the slices of a scan are made for a model.

    The user's window comes first, then the model's, then the lung window.

    Returns:
        None for 8-bit input, which is taken as it is: neither equalised nor shrunk, because nothing
        says which of these steps it has behind it.
    """
    if scan.window is not None or not scan.is_hu:
        return scan.window
    return model.window if model.window.is_known else DEFAULT_WINDOW


def with_window_remarks(scan: Scan, models: Sequence[TrainedModel]) -> Scan:
    """A copy of a scan with notes and findings about the slices that the models get.

    Args:
        models: segmenter and classifier; a remark that holds for both is made once.
    """
    remarks = [_remark(scan, model) for model in models]
    if len(set(remarks)) == 1:
        remarks = remarks[:1]
    else:
        kinds = ("segmenter", "classifier")
        remarks = [
            (text and f"{kind}: {text}", is_warning)
            for kind, (text, is_warning) in zip(kinds, remarks, strict=True)
        ]
    notes = [text for text, is_warning in remarks if text and not is_warning]
    warnings = [QCFinding(UNRECORDED, text) for text, is_warning in remarks if is_warning]
    return replace(scan, notes=[*scan.notes, *notes], qc=[*warnings, *_findings(scan, models)])


def _remark(scan: Scan, model: TrainedModel) -> tuple[str | None, bool]:
    """What the user must know about the slices of a model, and whether it is a warning.

    ``None`` if they are made as the training images were.
    """
    trained = f"the model's training images were made with the window {model.window.label}"
    unrecorded = "the model does not record how its training images were made of HU"
    if scan.window is not None:
        text = f"slices were made with the given window {scan.window.label}"
        differs = model.window.is_known and model.window != scan.window
        return (f"{text}, but {trained}" if differs else text), False
    if not scan.is_hu:
        return (
            f"{trained if model.window.is_known else unrecorded}; these images must be alike",
            False,
        )
    if model.window.is_known:
        return None, False
    return (
        f"{unrecorded}: the window {DEFAULT_WINDOW.label} is a guess, and results are wrong if the "
        "training images were made otherwise. Say with --window how they were made"
    ), True


def _findings(scan: Scan, models: Sequence[TrainedModel]) -> list[QCFinding]:
    """The scan's quality findings, of which saturation depends on the window."""
    windows = {input_window(scan, model) for model in models}
    checked = {scan.window or DEFAULT_WINDOW}  # when the scan was opened
    if not scan.is_hu or windows == checked or any(f.code == CONSTANT for f in scan.qc):
        return scan.qc
    saturated = [f for window in windows for f in check_saturation(scan, window)]
    return [*(f for f in scan.qc if f.code != SATURATED), *saturated]
