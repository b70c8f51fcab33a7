import numpy as np
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.lesion_masks import MASK_TYPES, find_instances


def labels_with(*regions: tuple[slice, slice, int]) -> np.ndarray:
    labels = np.ones((40, 40), np.uint8)
    for rows, columns, value in regions:
        labels[rows, columns] = value
    return labels


def test_diagonal_neighbours_are_one_instance():
    labels = labels_with((slice(2, 5), slice(2, 5), 2), (slice(5, 8), slice(5, 8), 2))
    [instance] = find_instances(labels, MASK_TYPES["merge"], min_area=1)
    assert instance.area == 18
    assert instance.box == (2, 2, 6, 6)


def test_components_below_the_minimum_area_are_background():
    labels = labels_with((slice(2, 12), slice(2, 12), 2), (slice(20, 29), slice(20, 31), 3))
    kept = find_instances(labels, MASK_TYPES["merge"], min_area=100)
    assert [i.area for i in kept] == [100]
    assert len(find_instances(labels, MASK_TYPES["merge"], min_area=99)) == 2


def test_merge_joins_touching_ggo_and_consolidation_and_both_does_not():
    labels = labels_with((slice(2, 6), slice(2, 6), 2), (slice(6, 9), slice(2, 6), 3))
    assert [i.area for i in find_instances(labels, MASK_TYPES["merge"], 1)] == [28]
    both = find_instances(labels, MASK_TYPES["both"], 1)
    assert [(i.class_index, i.area) for i in both] == [(0, 16), (1, 12)]
    assert [(i.class_index, i.area) for i in find_instances(labels, MASK_TYPES["ggo"], 1)] == [
        (0, 16)
    ]


def test_rle_decodes_to_the_component():
    labels = labels_with((slice(3, 9), slice(10, 14), 3))
    [instance] = find_instances(labels, MASK_TYPES["merge"], 1)
    np.testing.assert_array_equal(coco_mask.decode(instance.rle), labels == 3)


def test_lung_and_background_are_not_lesions():
    labels = np.ones((30, 30), np.uint8)
    labels[:10] = 0
    for mask_type in MASK_TYPES.values():
        assert find_instances(labels, mask_type, 1) == []
