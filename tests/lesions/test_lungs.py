"""Lungs found in a synthetic chest, against its truth, and inputs whose lungs stay unknown."""

import numpy as np
import pytest
from lung_phantoms import abdomen, as_scan, dice, turned, volume, with_arms, with_table

from ct_lesion.lesions.lungs import LEFT, RIGHT, SIDE_UNKNOWN, Lungs, find_lungs, lungs_of_mask

ENOUGH = 0.97


def found_in(hu: np.ndarray, spacing) -> Lungs:
    lungs = find_lungs(as_scan(hu, spacing))
    assert lungs.doubt is None and lungs.labels is not None
    return lungs


@pytest.fixture(scope="module")
def plain() -> Lungs:
    """The lungs of the plain chest."""
    hu, _, spacing = volume()
    return found_in(hu, spacing)


def test_both_lungs_are_found_on_their_sides(plain):
    _, truth, _ = volume()
    assert dice(plain.labels > 0, truth) >= ENOUGH
    right, left = np.split(plain.labels, 2, axis=2)  # the phantom's lungs meet near the middle
    assert (right == RIGHT).sum() > 0.97 * (plain.labels == RIGHT).sum()
    assert (left == LEFT).sum() > 0.97 * (plain.labels == LEFT).sum()
    assert 0.7 < plain.facts.symmetry <= 1


def test_the_trachea_and_the_air_outside_are_left_out(plain):
    hu, truth, _ = volume()
    air = (hu < -900) & ~truth
    assert air.sum() > 10_000
    assert (plain.labels[air] > 0).mean() < 0.002


@pytest.mark.parametrize("axis", [1, 2])
def test_a_flipped_patient(plain, axis):
    """Lying on the other side of the table, or with the heart on the right."""
    hu, truth, spacing = volume()
    lungs = found_in(np.flip(hu, axis), spacing)
    assert dice(lungs.labels > 0, np.flip(truth, axis)) >= ENOUGH
    swapped = np.array([0, LEFT, RIGHT] if axis == 2 else [0, RIGHT, LEFT])
    assert dice(np.flip(swapped[plain.labels], axis) == RIGHT, lungs.labels == RIGHT) > 0.98


@pytest.mark.parametrize("axes", [(1, 2), (0, 2)])
def test_a_patient_turned_by_10_degrees(axes):
    hu, truth, spacing = volume()
    lungs = found_in(turned(hu, 10, spacing, axes), spacing)
    assert dice(lungs.labels > 0, turned(truth, 10, spacing, axes)) >= ENOUGH


def test_table_blanket_and_arms():
    hu, truth, spacing = volume()
    lungs = found_in(with_table(with_arms(hu, spacing)), spacing)
    inner = (slice(None), slice(8, -12), slice(24, -24))
    assert dice(lungs.labels[inner] > 0, truth) >= ENOUGH
    assert np.count_nonzero(lungs.labels) == np.count_nonzero(lungs.labels[inner])


def test_consolidation_at_the_pleura():
    """The part of a dense ball of 36 mm that lies inside the lung belongs to the lung."""
    hu, truth, spacing = volume()
    z, y, x = np.indices(truth.shape)
    for row, index in ((40, 35), (58, 28)):
        column = np.flatnonzero(truth[index, row])[-1]
        distance = np.linalg.norm(
            (np.stack([z - index, y - row, x - column + 2], axis=-1) * spacing), axis=-1
        )
        dense = (distance < 18) & truth
        hu = np.where(dense, 40, hu).astype(np.int16)
        lungs = found_in(hu, spacing)
        assert (lungs.labels[dense] == LEFT).mean() > 0.8
    assert dice(lungs.labels > 0, truth) >= ENOUGH


def test_one_lung_missing():
    hu, truth, spacing = volume()
    gone = truth.copy()
    gone[..., 48:] = False
    lungs = find_lungs(as_scan(np.where(gone, 40, hu).astype(np.int16), spacing))
    assert lungs.labels is None and lungs.hull is None
    assert "two lungs, one on each side" in lungs.doubt


@pytest.mark.parametrize("bubbles", [0, 6, 60])
def test_an_abdomen(bubbles):
    lungs = find_lungs(as_scan(abdomen((50, 80, 100), bubbles), (4.0, 3.5, 3.5)))
    assert lungs.labels is None and lungs.doubt


def test_the_lower_end_of_a_chest_is_not_enough():
    hu, _, spacing = volume()
    lungs = find_lungs(as_scan(hu[:24], spacing))
    assert lungs.labels is None and "ends where the lungs are widest" in lungs.doubt


def test_a_cut_scan_has_a_note(plain):
    hu, truth, spacing = volume()
    lungs = found_in(hu[12:54], spacing)
    assert dice(lungs.labels > 0, truth[12:54]) >= ENOUGH
    assert "starts or ends within the lungs" in lungs.notes[0]


def test_lungs_at_the_edge_of_the_images_are_not_certain():
    hu, truth, spacing = volume()
    left = int(np.flatnonzero(truth.any(axis=(0, 1)))[0])
    lungs = find_lungs(as_scan(np.ascontiguousarray(hu[..., left + 8 :]), spacing))
    assert lungs.labels is None and lungs.doubt


def test_grey_images_and_unknown_sizes():
    hu, _, spacing = volume()
    scan = as_scan(hu[:3], spacing)
    scan.spacing_mm = None
    assert find_lungs(scan).doubt == "the size of the voxels is unknown"
    scan.is_hu = False
    assert find_lungs(scan).doubt == "the images are grey, without HU"


def test_without_an_orientation_the_sides_are_unknown():
    hu, truth, spacing = volume()
    scan = as_scan(hu[::-1], spacing)  # upside down
    scan.kind = "volume"
    assert not scan.geometry.certain
    lungs = find_lungs(scan)
    assert set(np.unique(lungs.labels)) == {0, SIDE_UNKNOWN}
    assert dice(lungs.labels > 0, truth[::-1]) >= ENOUGH
    assert "sides of the lungs are unknown" in lungs.notes[0]


def test_a_mask_gets_its_sides():
    _, truth, spacing = volume()
    scan = as_scan(volume()[0], spacing)
    lungs = lungs_of_mask(truth, scan)
    np.testing.assert_array_equal(lungs.labels > 0, truth)
    right, left = (np.nonzero(lungs.labels == side)[2].mean() for side in (RIGHT, LEFT))
    assert right < 40 and left > 56 and lungs.hull
    half = truth.copy()
    half[..., 48:] = False
    one = lungs_of_mask(half, scan)
    assert set(np.unique(one.labels)) == {0, SIDE_UNKNOWN} and one.hull is None
    assert "two parts of similar size" in one.notes[0]


def test_a_mask_of_one_slice_has_a_hull():
    hu, truth, spacing = volume()
    lungs = lungs_of_mask(truth[30:31], as_scan(hu[30:31], spacing))
    assert set(np.unique(lungs.labels)) == {0, RIGHT, LEFT}
    assert lungs.hull.contains_part_of(truth[30], 0)
    table = np.zeros_like(truth[30])
    table[90:, 40:60] = True
    assert not lungs.hull.contains_part_of(table, 0)


def test_the_hull_contains_the_lungs_and_not_the_table(plain):
    _, truth, _ = volume()
    inside = np.zeros(truth.shape[1:], bool)
    inside[np.nonzero(truth[30])[0][0], np.nonzero(truth[30])[1][0]] = True
    assert plain.hull.contains_part_of(inside, 30)
    corner = np.zeros_like(inside)
    corner[90:, 40:60] = True
    assert not plain.hull.contains_part_of(corner, 30)
    assert plain.hull.contains_part_of(corner | inside, 30)
