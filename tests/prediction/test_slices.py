import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ct_lesion.prediction.slices import SlicePrediction, detections_of


def instances(scores, boxes, masks, classes=None):
    result = Instances(masks.shape[1:])
    result.scores = torch.tensor(scores)
    result.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
    result.pred_classes = torch.tensor(classes or [0] * len(scores))
    result.pred_masks = torch.from_numpy(masks)
    return result


def squares():
    """Three masks of 8 x 8 pixels: 4 px, 9 px that share a pixel with the first, and 0 px."""
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 1:3, 1:3] = True
    masks[1, 2:5, 2:5] = True
    return masks


def test_detections_are_sorted_by_score_and_empty_masks_dropped():
    boxes = [[1, 1, 3, 3], [2, 2, 5, 5], [6, 6, 6.2, 6.2]]
    found = detections_of(instances([0.5, 0.75, 0.9], boxes, squares(), [0, 1, 0]))
    assert [(d.score, d.class_index, d.area_px) for d in found] == [(0.75, 1, 9), (0.5, 0, 4)]
    assert found[1].box == (1, 1, 3, 3)
    assert np.array_equal(found[0].mask, squares()[1])


def test_the_highest_score_determines_the_label():
    found = detections_of(instances([0.5, 0.75, 0.9], [[0, 0, 8, 8]] * 3, squares(), [0, 1, 0]))
    labels = SlicePrediction(0, found).label_mask(8, 8)
    assert labels[2, 2] == 2
    assert np.bincount(labels.ravel()).tolist() == [64 - 12, 3, 9]


def test_a_slice_without_detections():
    found = detections_of(instances([], np.zeros((0, 4)), np.zeros((0, 8, 8), bool)))
    assert found == ()
    assert not SlicePrediction(3, found).label_mask(8, 8).any()
