"""Joining of the detections in a scan's slices to lesions.

Detections are linked in pairs; a lesion is a connected component of these links. Two detections are
linked if

- they lie in neighbouring slices, share at least :data:`LEAST_OVERLAP` of the smaller one's pixels,
  and for at least one of them this is the largest overlap with any detection in the other's slice.
  So a lesion may branch and merge, while touching lesions stay apart where their detections do: a
  strip that reaches under the other lesion is not the largest overlap;
- they lie in slices with one slice in between, overlap in the same way, and the lower one has no
  link upwards nor the upper one a link downwards: the network missed the lesion in between;
- they lie in the same slice and share at least :data:`SAME_PLACE` of the smaller one's pixels: the
  network found the lesion twice.

Slices are not linked if their distance exceeds :data:`LONGEST_GAP` times the usual step around
them. Only overlaps and ratios of steps matter, so the result does not depend on the spacing,
mirroring or order of the detections.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pycocotools import mask as coco_mask
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ct_lesion.scans.dicom.steps import usual_steps

LEAST_OVERLAP = 0.25  # of the smaller detection's pixels, in neighbouring slices
SAME_PLACE = 0.5  # of the smaller detection's pixels, in one slice
LONGEST_GAP = 2.5  # usual steps: one missing slice, plus a tolerance


def link_detections(
    slices: Sequence[Sequence[dict]], z_mm: Sequence[float] | None = None
) -> list[list[int]]:
    """The lesion that each detection belongs to.

    Args:
        slices: for each slice, in spatial order, the masks of its detections in COCO run-length
            encoding, of equal size and not empty.
        z_mm: increasing positions of the slices; by default equally spaced.

    Returns:
        For each slice, the lesion index of each detection. Indices count from 0, in no particular
        order.
    """
    starts = np.cumsum([0, *map(len, slices)])
    z = np.arange(len(slices), dtype=float) if z_mm is None else np.asarray(z_mm, dtype=float)
    reachable = _Reach(z)
    links = [starts[i] + _same_place(masks) for i, masks in enumerate(slices)]
    up = np.zeros(starts[-1], bool)  # linked to the next slice
    down = np.zeros(starts[-1], bool)  # linked to the slice before
    for i in range(len(slices) - 1):
        if reachable(i, i + 1):
            low, high = starts[[i, i + 1], None] + _best_overlaps(slices[i], slices[i + 1]).T
            up[low], down[high] = True, True
            links.append(np.stack([low, high], axis=1))
    for i in range(len(slices) - 2):
        if reachable(i, i + 2):
            ended = starts[i] + np.flatnonzero(~up[starts[i] : starts[i + 1]])
            begun = starts[i + 2] + np.flatnonzero(~down[starts[i + 2] : starts[i + 3]])
            pairs = _best_overlaps(
                [slices[i][k - starts[i]] for k in ended],
                [slices[i + 2][k - starts[i + 2]] for k in begun],
            )
            links.append(np.stack([ended[pairs[:, 0]], begun[pairs[:, 1]]], axis=1))
    return _groups(np.concatenate([np.empty((0, 2), int), *links]), starts)


class _Reach:
    """Whether two slices are close enough for a link."""

    def __init__(self, z: np.ndarray) -> None:
        self._steps = np.diff(z)
        self._usual = usual_steps(self._steps)

    def __call__(self, first: int, last: int) -> bool:
        gap = self._steps[first:last].sum()
        return bool(gap <= LONGEST_GAP * self._usual[first:last].max())


def _best_overlaps(first: Sequence[dict], second: Sequence[dict]) -> np.ndarray:
    """Indices of the pairs to link, (P, 2); ties between equally large overlaps are all linked."""
    shared, share = _overlaps(first, second)
    if not shared.size:
        return np.empty((0, 2), int)
    best = (shared == shared.max(0, keepdims=True)) | (shared == shared.max(1, keepdims=True))
    return np.argwhere(best & (share >= LEAST_OVERLAP))


def _same_place(masks: Sequence[dict]) -> np.ndarray:
    """Indices of pairs of detections at the same place in a slice, (P, 2)."""
    return np.argwhere(np.triu(_overlaps(masks, masks)[1], 1) >= SAME_PLACE)


def _overlaps(first: Sequence[dict], second: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Shared pixels of each pair, and their share of the smaller mask; (first, second)."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)), int), np.zeros((len(first), len(second)))
    areas, others = coco_mask.area(list(first)), coco_mask.area(list(second))
    # with iscrowd 1, "iou" is the intersection as a share of the first mask
    of_first = coco_mask.iou(list(first), list(second), [1] * len(second))
    shared = np.rint(of_first * areas[:, None]).astype(int)
    return shared, shared / np.minimum(areas[:, None], others)


def _groups(links: np.ndarray, starts: np.ndarray) -> list[list[int]]:
    count = int(starts[-1])
    graph = coo_array((np.ones(len(links), bool), tuple(links.T)), shape=(count, count))
    groups = connected_components(graph, directed=False)[1] if count else np.empty(0, int)
    return [groups[a:b].tolist() for a, b in pairwise(starts)]
