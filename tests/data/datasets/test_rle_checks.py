"""Run lengths as pycocotools packs them; damaged ones are among the hostile files."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.rle_checks import check_segmentation, decode_counts


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_decoded_as_pycocotools_packs_them(seed: int) -> None:
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
