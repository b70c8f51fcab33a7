"""Measures of lesions: hand-computed values, and independence of the orientation."""

from dataclasses import asdict

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ct_lesion.lesions.detections import diameters, measure_detections, owner_of_pixels
from ct_lesion.lesions.linking import link_detections
from ct_lesion.lesions.measures import SliceStack, lung_ranges, measure_lesions

SHAPE = (24, 32)


def box(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def rle(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def measured(stack: list[list[tuple]], places: SliceStack, hu=None, lungs=None) -> tuple:
    """Lesions of slices with (mask, score, class) for each detection."""
    slices = []
    for z, here in enumerate(stack):
        masks, scores, classes = zip(*here, strict=True) if here else ((), (), ())
        slices.append(
            measure_detections(
                [rle(mask) for mask in masks],
                scores,
                classes,
                spacing_yx=places.spacing_yx,
                hu=None if hu is None else hu[z],
                lungs=None if lungs is None else lungs[z],
            )
        )
    masks = [[rle(mask) for mask, _, _ in here] for here in stack]
    return measure_lesions(slices, link_detections(masks, places.z_mm), places)


def test_a_lesion_in_numbers() -> None:
    """Boxes of 4 x 10 and 4 x 6 pixels of 2 x 0.5 mm, in slices of 5 and 3 mm."""
    hu = np.full((4, *SHAPE), -800.0)
    hu[1, 4:8, 10:20], hu[2, 4:8, 10:16] = -600, 0
    lungs = np.zeros((4, *SHAPE), int)
    lungs[:, 2:22, 7:25] = 2
    lungs[:, 5:7, 12:14] = 0  # a vessel, whose border is not pleura
    places = SliceStack((2.0, 0.5), [5, 5, 3, 3], [0, 5, 9, 12], {2: (0, 3)})
    stack = [[], [(box(4, 10, 8, 20), 0.7, 0)], [(box(4, 10, 8, 16), 0.9, 1)], []]
    (lesion,), numbers = measured(stack, places, hu, lungs)
    assert numbers == [[], [1], [1], []]
    assert asdict(lesion) == {
        "number": 1,
        "class_index": 0,  # 200 of 272 mm3
        "score": 0.9,
        "detections": 2,
        "pixels": 64,
        "volume_ml": pytest.approx((40 * 5 + 24 * 3) / 1000),
        # between the midpoints of pixels' sides at the corners of a box of 5 x 8 mm
        "diameter_mm": pytest.approx(np.hypot(8, 4.5)),
        "perpendicular_mm": pytest.approx(72 / np.hypot(8, 4.5)),
        "diameter_slice": 1,
        "z_extent_mm": pytest.approx(9 + 1.5 - (5 - 2.5)),
        "first_slice": 1,
        "last_slice": 2,
        "largest_slice": 1,
        "mean_hu": pytest.approx(-600 * 200 / 272),
        "dense_share": pytest.approx(72 / 272),
        "lung": "left",
        "third": "middle",  # at 6.06 mm of a lung from -2.5 to 13.5
        "pleura_mm": pytest.approx(1.5),  # three columns of 0.5 mm; two rows of 2 mm
    }


def test_sizes_without_spacing_are_unknown() -> None:
    hu = np.zeros((2, *SHAPE))
    stack = [[(box(4, 10, 8, 20), 0.7, 0)]] * 2
    (lesion,), _ = measured(stack, SliceStack(), hu, np.ones((2, *SHAPE), int))
    for name in ("volume_ml", "diameter_mm", "perpendicular_mm", "z_extent_mm", "pleura_mm"):
        assert getattr(lesion, name) is None
    assert (lesion.pixels, lesion.mean_hu, lesion.dense_share) == (80, 0, 1)


def test_pixels_of_overlapping_detections_count_once() -> None:
    """The second detection lies half in the first; the third is hidden and has no lesion."""
    stack = [[(box(0, 0, 8, 8), 0.9, 0), (box(0, 5, 8, 13), 0.8, 1), (box(2, 0, 6, 13), 0.5, 0)]]
    owner = owner_of_pixels([rle(mask) for mask, _, _ in stack[0]], *SHAPE)
    assert np.bincount(owner.ravel())[1:].tolist() == [64, 40]
    lesions, numbers = measured([[stack[0][0], stack[0][1]]], SliceStack((1, 1), [1], [0]))
    assert [(le.pixels, le.class_index) for le in lesions] == [(64, 0), (40, 1)]
    assert numbers == [[1, 2]]
    hidden = measure_lesions(
        [measure_detections([rle(m) for m, _, _ in stack[0]], [0.9, 0.8, 0.5], [0, 1, 0])],
        [[0, 1, 2]],
        SliceStack(),
    )
    assert [le.pixels for le in hidden[0]] == [64, 40]
    assert hidden[1] == [[1, 2, 0]]


def test_numbers_follow_the_volume() -> None:
    small, large = box(0, 0, 4, 4), box(10, 10, 20, 20)
    stack = [[(small, 0.9, 0)], [(small, 0.9, 0), (large, 0.5, 0)]]
    lesions, numbers = measured(stack, SliceStack((1, 1), [1, 1], [0, 1]))
    assert [le.pixels for le in lesions] == [100, 32]
    assert numbers == [[2], [2, 1]]


def test_equal_volumes_are_numbered_by_diameter_in_every_orientation() -> None:
    square, bar = box(0, 0, 4, 4), box(10, 10, 12, 18)
    for order in ((1, 1), (-1, 1), (1, -1)):
        here = [(mask[:: order[0], :: order[1]], 0.9, 0) for mask in (square, bar)]
        for stack in ([here], [here[::-1]]):
            lesions, _ = measured(stack, SliceStack((1, 1), [1], [0]))
            assert [round(le.diameter_mm) for le in lesions] == [8, 5]


@pytest.mark.parametrize(
    ("mask", "spacing", "expected"),
    [
        (box(3, 3, 4, 4), (1, 1), (1, 1)),
        (box(3, 3, 4, 13), (1, 1), (10, 1)),
        (box(3, 3, 13, 4), (0.5, 2), (5, 2)),
    ],
)
def test_diameters(mask: np.ndarray, spacing: tuple, expected: tuple) -> None:
    assert diameters(mask, spacing) == pytest.approx(expected)


def test_of_equal_diameters_the_largest_extent_counts() -> None:
    """An L whose two long diagonals are equal, mirrored about the diagonal and left to right."""
    mask = box(3, 3, 13, 7) | box(9, 3, 13, 13)
    wanted = diameters(mask)
    for mirrored in (mask[::-1], mask[:, ::-1], mask[:24, :24].T):
        assert diameters(mirrored) == pytest.approx(wanted, rel=1e-5)


def test_diameters_of_an_ellipse() -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    u, v = (x - 90) * 0.8 + (y - 95) * 0.6, (y - 95) * 0.8 - (x - 90) * 0.6
    ellipse = (u / 60) ** 2 + (v / 30) ** 2 <= 1
    assert diameters(ellipse, (0.7, 0.7)) == pytest.approx((84, 42), abs=0.7)


def test_lung_and_third() -> None:
    """Nine slices; the right lung spans the lower six of them, the left one all."""
    lungs = np.zeros((9, *SHAPE), int)
    lungs[:6, 2:22, 1:15], lungs[:, 2:22, 17:31] = 1, 2
    places = SliceStack(
        (1, 1), [1] * 9, list(range(9)), lung_ranges([{*np.unique(s)} - {0} for s in lungs])
    )
    assert places.lungs == {1: (0, 5), 2: (0, 8)}
    right, left, outside = box(5, 4, 8, 8), box(5, 17, 8, 21), box(0, 0, 1, 32)
    stack = [[] for _ in range(9)]
    stack[5] = [(right, 0.9, 0), (left, 0.8, 0), (outside, 0.7, 0)]
    found, numbers = measured(stack, places, lungs=lungs)
    by_mask = [found[number - 1] for number in numbers[5]]
    assert [(le.lung, le.third, le.pleura_mm) for le in by_mask] == [
        ("right", "upper", 3),
        ("left", "middle", 0),
        (None, None, None),
    ]
    assert measured(stack, SliceStack((1, 1), [1] * 9))[0][0].lung is None


def test_mirrored_scans_give_the_same_numbers() -> None:
    rng = np.random.default_rng(1)
    hu = rng.normal(-500, 300, (5, *SHAPE))
    lungs = np.ones((5, *SHAPE), int)
    lungs[:, :2] = lungs[:, :, :3] = 0
    masks = [[box(6, 6, 14, 14 + z), box(15, 6, 22, 12)] for z in range(5)]
    z, thickness = [0, 2, 4, 7, 10], [2, 2, 2.5, 3, 3]

    def numbers(order: tuple) -> list[dict]:
        up, *axes = order
        flip = lambda a: a[:: axes[0], :: axes[1]]  # noqa: E731
        stack = [[(flip(m), 0.5, 0) for m in here] for here in masks][::up]
        places = SliceStack(
            (0.8, 0.8), thickness[::up], z if up > 0 else [-at for at in z[::-1]], {1: (0, 4)}
        )
        lesions, _ = measured(
            stack, places, [flip(s) for s in hu][::up], [flip(s) for s in lungs][::up]
        )
        slices = {"first_slice", "last_slice", "largest_slice", "diameter_slice", "third"}
        return [{k: v for k, v in asdict(le).items() if k not in slices} for le in lesions]

    expected = numbers((1, 1, 1))
    for order in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)):
        for lesion, wanted in zip(numbers(order), expected, strict=True):
            assert lesion == pytest.approx(wanted)
