"""Linking of detections across slices, on stacks of rectangles."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ct_lesion.lesions.linking import link_detections

SIZE = 24
WIDE, LEFT, RIGHT = (4, 4, 12, 20), (4, 4, 12, 11), (4, 13, 12, 20)


def rle(box: tuple[int, int, int, int]) -> dict:
    """The mask of a rectangle y0, x0, y1, x1."""
    mask = np.zeros((SIZE, SIZE), np.uint8, order="F")
    mask[box[0] : box[2], box[1] : box[3]] = 1
    return coco_mask.encode(mask)


def lesions(stack: list[list[tuple]], z: list[float] | None = None) -> list[list[int]]:
    """Lesion indices in order of occurrence, after checks that mirroring does not change them."""

    def linked(boxes: list[list[tuple]], positions: list[float] | None) -> list[list[int]]:
        return link_detections([[rle(box) for box in here] for here in boxes], positions)

    def renamed(found: list[list[int]]) -> list[list[int]]:
        names: dict[int, int] = {}
        return [[names.setdefault(group, len(names)) for group in here] for here in found]

    result = renamed(linked(stack, z))
    upside_down = linked(stack[::-1], None if z is None else [-at for at in z[::-1]])
    assert renamed(upside_down[::-1]) == result
    last_first = linked([here[::-1] for here in stack], z)
    assert renamed([here[::-1] for here in last_first]) == result
    turned = [[(x0, SIZE - y1, x1, SIZE - y0) for y0, x0, y1, x1 in here] for here in stack]
    assert renamed(linked(turned, z)) == result
    if z is not None:
        assert renamed(linked(stack, [7.3 * at for at in z])) == result
    return result


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([[], []], [[], []]),
        ([[WIDE]], [[0]]),
        ([[LEFT, RIGHT]], [[0, 1]]),
        # five slices are one lesion
        ([[WIDE]] * 5, [[0]] * 5),
        # branching, merging, and a ring
        ([[WIDE], [LEFT, RIGHT], [LEFT, RIGHT]], [[0], [0, 0], [0, 0]]),
        ([[LEFT, RIGHT], [LEFT, RIGHT], [WIDE]], [[0, 0], [0, 0], [0]]),
        ([[WIDE], [LEFT, RIGHT], [WIDE]], [[0], [0, 0], [0]]),
        # across one slice without a detection, not across two
        ([[WIDE], [], [WIDE]], [[0], [], [0]]),
        ([[WIDE], [], [], [WIDE]], [[0], [], [], [1]]),
        # the same, with another lesion in that slice
        ([[LEFT, RIGHT], [RIGHT], [LEFT, RIGHT]], [[0, 1], [1], [0, 1]]),
        # apart in space
        ([[LEFT], [RIGHT]], [[0], [1]]),
        # too little overlap: a quarter of the smaller one is needed
        ([[(0, 0, 8, 8)], [(7, 0, 15, 8)]], [[0], [1]]),
        ([[(0, 0, 8, 8)], [(6, 0, 14, 8)]], [[0], [0]]),
        # a small tip on a large lesion
        ([[(0, 0, 20, 20)], [(9, 9, 11, 11)]], [[0], [0]]),
        # found twice in one slice; touching or slightly overlapping ones are two lesions
        ([[WIDE, (4, 4, 12, 13)]], [[0, 0]]),
        ([[(4, 4, 12, 12), (4, 12, 12, 20)]], [[0, 1]]),
        ([[(4, 4, 12, 13), (4, 10, 12, 20)]], [[0, 1]]),
    ],
)
def test_lesions_of_a_stack(stack: list, expected: list) -> None:
    assert lesions(stack) == expected


def test_touching_lesions_stay_apart_although_their_border_moves() -> None:
    stack = [[(4, 2, 12, border), (4, border, 12, 22)] for border in (10, 14, 10, 12)]
    assert lesions(stack) == [[0, 1]] * 4


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        ([0, 5, 10, 15, 20], [0, 0, 0, 0, 0]),
        ([0, 1, 2, 4, 5], [0, 0, 0, 0, 0]),  # one missing slice
        ([0, 1, 2, 6, 7], [0, 0, 0, 1, 1]),  # three
        ([0, 1, 2, 3, 8, 13, 18], [0] * 7),  # a scan in two parts, of 1 and of 5 mm
        ([0, 0.7, 1.6, 2.2, 3.1], [0, 0, 0, 0, 0]),
    ],
)
def test_the_steps_between_slices_limit_links(z: list[float], expected: list[int]) -> None:
    assert lesions([[WIDE]] * len(z), z) == [[group] for group in expected]


def test_a_missing_slice_beside_a_missed_detection_is_too_far() -> None:
    assert lesions([[WIDE], [WIDE], [], [WIDE], [WIDE]], [0, 1, 2, 3, 4]) == [
        [0],
        [0],
        [],
        [0],
        [0],
    ]
    assert lesions([[WIDE], [WIDE], [], [WIDE], [WIDE]], [0, 1, 2, 4, 5]) == [
        [0],
        [0],
        [],
        [1],
        [1],
    ]
