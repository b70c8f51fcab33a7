import numpy as np
import pytest
from audit_toys import SQUARE
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.coco_masks import check_segmentation, checked_rle, decode_counts


def test_all_forms_of_a_mask_are_read_alike():
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:30] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    text = {"size": [48, 64], "counts": packed["counts"].decode()}
    plain = {"size": [48, 64], "counts": decode_counts(text["counts"]).tolist()}
    for segmentation in (text, plain, SQUARE):
        rle = checked_rle(segmentation, 48, 64)
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (
            {"size": [48, 64], "counts": [3072, 5]},
            "runs add up to 3077, not 48 x 64",
        ),
        (
            {"size": [64, 48], "counts": [3072]},
            r"a mask of size \[64, 48\] in an image of \[48, 64\]",
        ),
        ({"size": [48, 64], "counts": [-4, 3076]}, "negative length"),
        ({"size": [48, 64], "counts": [1.5, 3070.5]}, "whole numbers"),
        ({"size": [48, 64], "counts": "~~~"}, "counts are damaged"),
        ({"size": [48, 64], "counts": "PP"}, "counts are damaged"),
        ({"size": [48, 64], "counts": "é"}, "not ASCII"),
        ({"size": [48, 64], "counts": None}, "neither text nor whole numbers"),
        ({"counts": "0"}, "a mask of size None"),
        ([], "without polygons"),
        ([[1, 2, 3, 4]], "three or more pairs"),
        ([[1, 2, 3, 4, 5, "6"]], "not a finite number"),
        ([[1, 2, 3, 4, 5, float("nan")]], "not a finite number"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "a polygon far outside the image"),
        ("mask.png", "neither polygons nor run-length encoded"),
    ],
)
def test_an_invalid_mask_is_refused_before_it_is_decoded(segmentation, message):
    with pytest.raises(ValueError, match=message):
        checked_rle(segmentation, 48, 64)


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_decoded_as_pycocotools_packs_them(seed):
    rng = np.random.default_rng(seed)
    mask = np.asfortranarray(rng.random((37, 53)) < rng.choice([0.01, 0.5]), np.uint8)
    counts = coco_mask.encode(mask)["counts"].decode()
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    assert decode_counts(counts).tolist() == ([0] if flat[0] else []) + runs
    check_segmentation({"size": [37, 53], "counts": counts}, 37, 53)
    with pytest.raises(ValueError, match="not 37 x 54"):
        check_segmentation({"size": [37, 54], "counts": counts}, 37, 54)
