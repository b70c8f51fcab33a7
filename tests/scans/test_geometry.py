"""Internal orientation and its inverse, against SimpleITK's DICOMOrient."""

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from toy_scans import oblique_direction

from ct_lesion.errors import DatasetError
from ct_lesion.scans.geometry import Geometry, OrientedSlices, check_same_grid

ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def image_of(order, signs, degrees: float) -> tuple[sitk.Image, np.ndarray]:
    """A volume of 5 x 4 x 3 voxels, all different, whose axes are permuted, flipped and turned."""
    axes = np.zeros((3, 3))
    for axis, (towards, sign) in enumerate(zip(order, signs, strict=True)):
        axes[towards, axis] = sign
    turned = np.reshape(oblique_direction(degrees), (3, 3)) @ axes
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = sitk.GetImageFromArray(voxels)
    image.SetDirection(turned.ravel())
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((5.0, 6.0, 7.0))
    return image, voxels


def geometry_of(image: sitk.Image) -> Geometry:
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_internal_order_matches_dicom_orient(order, signs, degrees):
    image, voxels = image_of(order, signs, degrees)
    geometry, expected = geometry_of(image), sitk.DICOMOrient(image, "LPS")
    wanted = sitk.GetArrayFromImage(expected)
    np.testing.assert_array_equal(geometry.to_internal(voxels), wanted)
    assert geometry.shape == wanted.shape
    assert geometry.spacing_zyx == expected.GetSpacing()[::-1]
    read = OrientedSlices(geometry, lambda z: voxels[z])
    for index, pixels in enumerate(wanted):
        np.testing.assert_array_equal(read(index), pixels)
        # along the slice axis, any pixel of the slice has the same place
        corner = expected.TransformIndexToPhysicalPoint((0, 0, index))
        place = float(np.dot(geometry.slice_normal, corner))
        assert geometry.slice_positions[index] == pytest.approx(place)

    back = geometry.image(wanted)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), voxels)
    for what in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(back, f"Get{what}")() == getattr(image, f"Get{what}")()


def test_axial_slices_are_streamed_and_others_read_once():
    image, voxels = image_of((0, 1, 2), (1, 1, -1), 0)
    reads = []
    slices = OrientedSlices(geometry_of(image), lambda z: reads.append(z) or voxels[z])
    slices(0)
    assert reads == [2], "the input runs from the head down, so its last slice is the first"
    image, voxels = image_of((1, 2, 0), (1, 1, 1), 0)
    reads.clear()
    slices = OrientedSlices(geometry_of(image), lambda z: reads.append(z) or voxels[z])
    for index in range(3):
        slices(index)
    assert reads == [0, 1, 2]


def test_angle_to_the_patient_axes():
    image, _ = image_of((0, 1, 2), (1, 1, 1), 0)
    assert geometry_of(image).degrees_from_axial == 0
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    image.SetDirection((1, 0, 0, 0, c, -s, 0, s, c))
    assert geometry_of(image).degrees_from_axial == pytest.approx(10)


def test_a_mask_with_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="for a scan of shape"):
        Geometry.without_position((3, 4, 5)).image(np.zeros((3, 5, 4), np.uint8))


@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize("order", ["LAS", "RAS", "PIR", "SLA"])
def test_grids_are_compared_in_space(order, degrees):
    scan, _ = image_of((0, 1, 2), (1, 1, 1), degrees)
    mask = sitk.DICOMOrient(scan, order)
    scan, mask = geometry_of(scan), geometry_of(mask)
    np.testing.assert_allclose(scan.corners, mask.corners, atol=1e-9)
    check_same_grid(Path("mask"), mask, scan, "scan")
    # the same numbers in another orientation lie elsewhere
    with pytest.raises(DatasetError, match=r"mask.* its scan scan"):
        check_same_grid(Path("mask"), replace(mask, origin=scan.origin), scan, "scan")
    for uncertain in ((replace(mask, certain=False), scan), (mask, replace(scan, certain=False))):
        with pytest.raises(DatasetError, match=r"another order .* certain orientation"):
            check_same_grid(Path("mask"), *uncertain, "scan")


def test_corners_by_hand():
    # x runs to the right from 5 to 1 mm, z to the feet from 7 to 1 mm
    grid = Geometry((5, 4, 3), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (-1, 0, 0, 0, 1, 0, 0, 0, -1))
    assert grid.corners.tolist() == [[1, 6, 1], [5, 6, 1], [1, 12, 1], [1, 6, 7]]


@pytest.mark.parametrize(("shift", "fits"), [(0.2, True), (0.3, False)])
def test_a_quarter_of_a_voxel_is_the_limit(shift, fits):
    grid = Geometry.without_position((3, 4, 5))
    moved = replace(grid, origin=(shift, 0.0, 0.0))
    if fits:
        check_same_grid(Path("mask"), moved, grid, "scan")
    else:
        with pytest.raises(DatasetError, match=r"up to 0\.3 mm off.*from \(0\.3, 0, 0\)"):
            check_same_grid(Path("mask"), moved, grid, "scan")
