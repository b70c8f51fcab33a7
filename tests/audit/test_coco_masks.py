import numpy as np
import pytest
from audit_toys import SQUARE
from pycocotools import mask as coco_mask

from ct_lesion.audit.coco_masks import MaskFault, checked_rle, unpack_counts


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_unpacked_as_pycocotools_packs_them(seed):
    rng = np.random.default_rng(seed)
    mask = np.asfortranarray(rng.random((37, 53)) < rng.choice([0.01, 0.5]), np.uint8)
    counts = coco_mask.encode(mask)["counts"]
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    assert unpack_counts(counts) == ([0] if flat[0] else []) + runs
    assert unpack_counts(counts.decode()) == unpack_counts(counts)


def test_all_forms_of_a_mask_are_read_alike():
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:30] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    text = {"size": [48, 64], "counts": packed["counts"].decode()}
    plain = {"size": [48, 64], "counts": unpack_counts(packed["counts"])}
    for segmentation in (text, plain, SQUARE):
        rle = checked_rle(segmentation, 48, 64)
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (
            {"size": [48, 64], "counts": [3072, 5]},
            "runs of 3077 pixels in all, in an image of 3072",
        ),
        (
            {"size": [64, 48], "counts": [3072]},
            r"a mask of size \[64, 48\] in an image of \[48, 64\]",
        ),
        ({"size": [48, 64], "counts": [-4, 3076]}, "whole numbers from 0 up"),
        ({"size": [48, 64], "counts": [1.5, 3070.5]}, "whole numbers"),
        ({"size": [48, 64], "counts": "~~~"}, "character '~'"),
        ({"size": [48, 64], "counts": "PP"}, "end within a number"),
        ({"size": [48, 64], "counts": "é"}, "none of RLE's"),
        ({"size": [48, 64], "counts": None}, "counts that are a NoneType"),
        ({"counts": "0"}, "a mask of size None"),
        ([], "no polygon"),
        ([[1, 2, 3, 4]], "at least three points"),
        ([[1, 2, 3, 4, 5, "6"]], "no finite numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "no finite numbers"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], r"a polygon from 0 to 1e\+09 in an image of 64 pixels"),
        ("mask.png", "a str in place of RLE or polygons"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused_before_it_is_decoded(segmentation, message):
    with pytest.raises(MaskFault, match=message):
        checked_rle(segmentation, 48, 64)
