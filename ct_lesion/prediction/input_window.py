"""The window that makes a scan's slices for a model, and remarks about it for the user."""

from collections.abc import Sequence
from dataclasses import replace

from ct_lesion.scans.quality import CONSTANT, SATURATED, check_saturation
from ct_lesion.scans.scan import QCFinding, Scan
from ct_lesion.scans.windows import DEFAULT_WINDOW, Window

from .models import TrainedModel

UNRECORDED = "window_unknown"
"""Code of the finding for a model that does not record how its training images were made."""


def input_window(scan: Scan, model: TrainedModel) -> Window | None:
    """The window that makes a scan's slices for a model.

    Returns:
        The user's window if given, else the model's if known, else the lung window. ``None`` for
        8-bit input, which is used unchanged: it may be equalised or shrunk already.
    """
    if scan.window is not None or not scan.is_hu:
        return scan.window
    return model.window if model.window.is_known else DEFAULT_WINDOW


def with_window_remarks(scan: Scan, models: Sequence[TrainedModel]) -> Scan:
    """A copy of a scan with notes and warnings about the slices that the models get.

    Args:
        scan: an opened scan.
        models: the segmenter and, if there is one, the classifier. A remark that applies to both is
            given once.
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
    """A remark about a model's slices, and whether it is a warning.

    The remark is ``None`` if the slices are made as the model's training images were.
    """
    trained = f"the model's training images were made with the window {model.window.label}"
    unrecorded = "the model does not record how its training images were made from HU"
    if scan.window is not None:
        text = f"slices were made with the given window {scan.window.label}"
        differs = model.window.is_known and model.window != scan.window
        return (f"{text}, but {trained}" if differs else text), False
    if not scan.is_hu:
        known = trained if model.window.is_known else unrecorded
        return f"{known}; these 8-bit images must be made in the same way", False
    if model.window.is_known:
        return None, False
    return (
        f"{unrecorded}: the window {DEFAULT_WINDOW.label} is a guess, and results are wrong if the "
        "training images were made differently. Give their window with --window"
    ), True


def _findings(scan: Scan, models: Sequence[TrainedModel]) -> list[QCFinding]:
    """The scan's quality findings, with saturation checked in the models' windows."""
    windows = {input_window(scan, model) for model in models}
    checked = {scan.window or DEFAULT_WINDOW}  # by the checks when the scan was opened
    if not scan.is_hu or windows == checked or any(f.code == CONSTANT for f in scan.qc):
        return scan.qc
    saturated = [f for window in windows for f in check_saturation(scan, window)]
    return [*(f for f in scan.qc if f.code != SATURATED), *saturated]
