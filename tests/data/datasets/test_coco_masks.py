import numpy as np
import pytest
from audit_toys import SQUARE
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.coco_masks import MaskFault, checked_rle
from ct_lesion.data.datasets.rle_checks import decode_counts


def test_all_forms_of_a_mask_are_read_alike():
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:30] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    text = {"size": [48, 64], "counts": packed["counts"].decode()}
    plain = {"size": [48, 64], "counts": decode_counts(text["counts"]).tolist()}
    for segmentation in (packed, text, plain, SQUARE):
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
        ([], "no polygon"),
        ([[1, 2, 3, 4]], "three or more pairs"),
        ([[1, 2, 3, 4, 5, "6"]], "not a finite number"),
        ([[1, 2, 3, 4, 5, float("nan")]], "not a finite number"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "a polygon far outside the image"),
        ("mask.png", "neither polygons nor run-length encoded"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused_before_it_is_decoded(segmentation, message):
    with pytest.raises(MaskFault, match=message):
        checked_rle(segmentation, 48, 64)
