"""Compares an ONNX model in ONNX Runtime with the network that it was exported from.

Shapes: S slices, H x W pixels, R regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ct_lesion.config import is_classifier
from ct_lesion.errors import UserError
from ct_lesion.phantom.patient import make_patient
from ct_lesion.prediction.models import TrainedModel
from ct_lesion.scans.windows import DEFAULT_WINDOW

BOX_TOLERANCE = 1e-2  # pixels
SCORE_TOLERANCE = 1e-4
LOGIT_TOLERANCE = 1e-3  # also for mask probabilities and for the rows of an RoI batch
TIE = 1e-5  # regions whose scores differ by less may be in another order
SLICES = 2
LARGEST_SIDE = 512
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class CheckResult:
    """The comparison of a file with the network.

    Attributes:
        sizes: height and width of each slice.
        regions: number of regions that were compared, over all slices.
        boxes: largest difference of a coordinate, in pixels; 0 for a classifier.
        values: largest difference of a mask's probabilities, or of a classifier's logits.
    """

    sizes: tuple[tuple[int, int], ...]
    regions: int
    boxes: float
    values: float


def open_session(content: bytes, threads: int = 0):
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        content: the ONNX model.
        threads: number of threads; 0 for one per core.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def check_onnx(content: bytes, model: TrainedModel) -> CheckResult:
    """Check an ONNX model's structure, and compare it with the network on :func:`check_slices`.

    Args:
        content: the ONNX model.
        model: the network that it was exported from, on the CPU.

    Raises:
        UserError: the outputs differ by more than rounding.
    """
    import onnx

    onnx.checker.check_model(content, full_check=True)
    session = open_session(content)
    compare = _compare_classes if is_classifier(model.cfg) else _compare_regions
    slices = check_slices(model)
    rows = [compare(model, grey, session.run(None, {"slice": grey})) for grey in slices]
    regions, boxes, values = zip(*rows, strict=True)
    sizes = tuple(grey.shape for grey in slices)
    return CheckResult(sizes, sum(regions), max(boxes), max(values))


def check_slices(model: TrainedModel) -> list[np.ndarray]:
    """Slices of a synthetic patient in three sizes, and an empty one; each ``(H, W)`` uint8."""
    side = min(max(model.cfg.INPUT.MIN_SIZE_TEST, SMALLEST_SIDE), LARGEST_SIDE)
    window = model.window if model.window.is_known else DEFAULT_WINDOW
    hu = make_patient(0, "NCP", side, SLICES, around_lesions=True).hu
    first, second = (window.grey(slice_) for slice_ in hu)
    narrow, low = first[:, : side * 3 // 4 - 3], second[side // 4 + 1 :]
    return [first, np.ascontiguousarray(narrow), np.ascontiguousarray(low), np.zeros_like(low)]


def match_regions(expected: np.ndarray, found: np.ndarray, tolerance: float) -> np.ndarray:
    """Pair regions that are equal up to rounding and up to the order of equal scores.

    Args:
        expected, found: ``(R, 1 + n)``, the score and n other numbers of each region.
        tolerance: largest difference of the n numbers.

    Returns:
        ``(R,)``: the index in ``found`` of each region of ``expected``.

    Raises:
        UserError: a region has no partner.
    """
    if expected.shape != found.shape:
        raise _difference(f"it finds {len(found)} regions, not {len(expected)}")
    free = np.ones(len(found), bool)
    partner = np.empty(len(found), np.int64)
    for index, row in enumerate(expected):
        gap = np.abs(found - row)
        rank = np.abs(expected[:, 0] - row[0]) < TIE  # the ranks that it may have
        fits = free & rank & (gap[:, 0] < SCORE_TOLERANCE) & (gap[:, 1:] < tolerance).all(axis=1)
        if not fits.any():
            raise _difference(f"the region of rank {index + 1}, with a score of {row[0]:.6f}")
        partner[index] = index if fits[index] else fits.argmax()
        free[partner[index]] = False
    return partner


def _difference(text: str) -> UserError:
    return UserError(
        f"The ONNX model differs from the network: {text}. Nothing was written. Try other versions "
        "of torch, onnx and onnxruntime."
    )


@torch.no_grad()
def _compare_regions(
    model: TrainedModel, grey: np.ndarray, outputs: Sequence[np.ndarray]
) -> tuple[int, float, float]:
    boxes, scores, classes, logits = outputs
    (wanted,) = model.model.inference([_as_input(grey)], do_postprocess=False)
    wanted = wanted[wanted.pred_boxes.nonempty()]
    expected = [wanted.scores, wanted.pred_classes, *wanted.pred_boxes.tensor.unbind(dim=1)]
    expected = torch.stack([column.float() for column in expected], dim=1).numpy()
    found = np.column_stack([scores, classes, boxes]).astype(np.float32)
    partner = match_regions(expected, found, BOX_TOLERANCE)
    box_gap = np.abs(found[partner] - expected)[:, 2:].max(initial=0.0)
    masks = torch.from_numpy(logits[partner]).sigmoid() - wanted.pred_masks[:, 0]
    return len(found), float(box_gap), _largest(masks.numpy(), "mask probabilities")


@torch.no_grad()
def _compare_classes(
    model: TrainedModel, grey: np.ndarray, outputs: Sequence[np.ndarray]
) -> tuple[int, float, float]:
    logits, rows = outputs
    (wanted,) = model.model([_as_input(grey)])
    match_regions(wanted["roi_batch"].numpy(), rows, LOGIT_TOLERANCE)
    # S depends on the order of the rows, so the network's S gets the rows of the ONNX model
    expected = model.model.classifier(torch.from_numpy(rows)[None])[0].numpy()
    distinct = int((~wanted["instances"].is_copy).sum())
    return distinct, 0.0, _largest(logits - expected, "logits")


def _as_input(grey: np.ndarray) -> dict[str, torch.Tensor]:
    return {"image": torch.from_numpy(grey).expand(3, -1, -1)}


def _largest(difference: np.ndarray, what: str) -> float:
    largest = float(np.abs(difference).max(initial=0.0))
    if not largest <= LOGIT_TOLERANCE:  # also true for NaN
        raise _difference(f"its {what} by up to {largest:.2g}, more than {LOGIT_TOLERANCE:g}")
    return largest
