import numpy as np
import pytest
from toy_scans import toy_hu

from ct_lesion.errors import DatasetError
from ct_lesion.scans.array import scan_from_array
from ct_lesion.scans.scan import to_hu
from ct_lesion.scans.windows import Window, window_to_uint8


def test_hu_must_be_declared():
    hu = toy_hu()
    with pytest.raises(DatasetError, match="int16: pass is_hu=True if it holds HU"):
        scan_from_array(hu)
    with pytest.raises(DatasetError, match="pass is_hu=True"):
        scan_from_array(hu, is_hu=False)
    for said in ({"is_hu": True}, {"window": Window(-600, 1500)}):
        scan = scan_from_array(hu, **said)
        np.testing.assert_array_equal(scan.values(1), hu[1])
        np.testing.assert_array_equal(scan.grey(1), window_to_uint8(hu[1]))


def test_uint8_is_grey():
    grey = window_to_uint8(toy_hu())
    scan = scan_from_array(grey, name="mine")
    np.testing.assert_array_equal(scan.grey(3), grey[3])
    assert (scan.name, scan.kind, scan.is_hu, scan.files) == ("mine", "array", False, ())
    assert scan.spacing_mm is None and scan.z_mm is None


def test_spacing_is_used():
    scan = scan_from_array(toy_hu(), is_hu=True, spacing_mm=(5.0, 0.6, 0.7))
    assert scan.spacing_mm == (5.0, 0.6, 0.7)
    assert scan.z_mm[:3] == [0, 5, 10]
    assert scan.mask_image(np.zeros(scan.shape, np.uint8)).GetSpacing() == (0.7, 0.6, 5.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((0, 4, 4), np.uint8), "shape"),
        (np.zeros((2, 4, 4), bool), "bool"),
        (np.zeros((2, 4, 4), np.uint8), "a label mask"),
    ],
)
def test_unusable_arrays_are_refused(values, message):
    with pytest.raises(DatasetError, match=message):
        scan_from_array(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 40000])
def test_values_that_cannot_be_hu(bad):
    hu = toy_hu().astype(np.float64)
    hu[2, 3, 4] = bad
    with pytest.raises(DatasetError, match=r"array.* (NaN|cannot be HU)"):
        scan_from_array(hu, is_hu=True)
    with pytest.raises(DatasetError, match="cannot be HU"):
        scan_from_array(toy_hu() + 1024, is_hu=True)


def test_stored_values_never_wrap_around():
    stored = np.array([[0, 65535]], np.uint16)
    assert to_hu(stored, 1024).tolist() == [[-1024, 64511]]
    assert to_hu(stored[:, :1], 1024).dtype == np.int16
    assert to_hu(np.array([2**31 + 5], np.uint32)).tolist() == [2**31]  # as float32 has it
    assert to_hu(np.array([10], np.uint16), 0.5).tolist() == [9.5]
