"""Flips and quarter turns."""

import numpy as np

from ct_lesion.audit.copies.orientations import INVERSE, ORIENTATIONS, orient, orientation_orders

IMAGE = np.array([[1, 2], [3, 4]])
BY_HAND = {
    "as it is": [[1, 2], [3, 4]],
    "flipped left-right": [[2, 1], [4, 3]],
    "flipped up-down": [[3, 4], [1, 2]],
    "turned by 180 degrees": [[4, 3], [2, 1]],
    "transposed": [[1, 3], [2, 4]],
    "turned by 90 degrees": [[2, 4], [1, 3]],
    "turned by 270 degrees": [[3, 1], [4, 2]],
    "transposed and turned": [[4, 2], [3, 1]],
}


def test_each_orientation_matches_its_definition_by_hand() -> None:
    assert tuple(BY_HAND) == ORIENTATIONS
    for number, expected in enumerate(BY_HAND.values()):
        assert orient(IMAGE, number).tolist() == expected


def test_inverses_undo_orientations_and_orders_apply_them() -> None:
    image = np.arange(25).reshape(5, 5)
    for number, order in enumerate(orientation_orders(5)):
        turned = orient(image, number)
        assert np.array_equal(orient(turned, INVERSE[number]), image)
        assert np.array_equal(image.ravel()[order], turned.ravel())
