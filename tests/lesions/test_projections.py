"""Projections: orientation, positions of lesions, and which lesion covers others."""

import numpy as np

from ct_lesion.lesions.projections import Projections


def test_lesions_are_at_their_positions_and_the_head_at_the_top() -> None:
    hu = np.full((4, 6, 8), -1000.0)
    hu[3, 1:3] = 400  # near the head, in front
    numbers = np.zeros((4, 6, 8), np.uint8)
    numbers[0, 5, 1] = 2  # at the feet, at the back, on the patient's right
    numbers[3, 0, 7] = numbers[3, 5, 6] = 3
    numbers[3, 4, 7] = 1
    projections = Projections(hu.shape)
    for z in range(4):
        projections.add_slice(z, hu[z], True)
        projections.add_lesions(z, numbers[z])
    found = projections.finish()
    assert {name: p.mean.shape for name, p in found.items()} == {
        "coronal": (4, 8),
        "sagittal": (4, 6),
        "axial": (6, 8),
    }
    assert {(y, x): n for (y, x), n in np.ndenumerate(found["coronal"].numbers) if n} == {
        (3, 1): 2,
        (0, 6): 3,
        (0, 7): 1,  # the larger lesion hides the other one
    }
    assert {(y, x): n for (y, x), n in np.ndenumerate(found["sagittal"].numbers) if n} == {
        (3, 5): 2,
        (0, 0): 3,
        (0, 4): 1,
        (0, 5): 3,
    }
    assert np.array_equal(found["axial"].numbers > 0, (numbers > 0).any(0))
    assert (found["coronal"].mean[0] == 255).all() and not found["coronal"].mean[1:].any()
    assert (found["axial"].mean[1:3] == 255).all() and not found["axial"].mean[3:].any()


def test_values_of_8_bit_scans_are_not_clipped_and_flat_scans_are_dark() -> None:
    projections = Projections((1, 2, 2))
    projections.add_slice(0, np.array([[0, 255], [0, 255]], np.uint8), False)
    assert projections.finish()["axial"].mean.tolist() == [[0, 255], [0, 255]]
    assert not Projections((1, 2, 2)).finish()["axial"].mean.any()
