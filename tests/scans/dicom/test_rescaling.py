"""Rescale tags and padding of DICOM series: the right HU, or a refusal that names the tag."""

import numpy as np
import pytest
from toy_scans import all_values, toy_hu, write_series

from ct_lesion.errors import DatasetError
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.sources import open_scan

HU = toy_hu()
AIR = -1024


def message(scan: Scan, code: str) -> str:
    return next(finding.message for finding in scan.qc if finding.code == code)


def absent(*tags):
    def edit(ds, z):
        if z in (6, 7):
            for tag in tags:
                delattr(ds, tag)

    return edit


def empty(*tags):
    def edit(ds, z):
        if z in (6, 7):
            for tag in tags:
                setattr(ds, tag, "")

    return edit


@pytest.mark.parametrize("remove", [absent, empty])
@pytest.mark.parametrize(
    "tags",
    [("RescaleSlope",), ("RescaleIntercept",), ("RescaleSlope", "RescaleIntercept")],
)
def test_rescale_tags_that_some_slices_lack_are_refused(tmp_path, remove, tags):
    folder = write_series(tmp_path / "ct", HU, edit=remove(*tags))
    text = rf"s1_042\.dcm \(and s1_049\.dcm\) has no {tags[0]}, but the other 10 files"
    with pytest.raises(DatasetError, match=text):
        open_scan(folder)


def test_each_slice_has_its_own_rescaling(tmp_path):
    def edit(ds, z):
        ds.RescaleSlope, ds.RescaleIntercept = 0.5, -1100 - z
        ds.PixelData = ((HU[z].astype(int) + 1100 + z) * 2).astype(np.uint16).tobytes()

    np.testing.assert_array_equal(
        all_values(open_scan(write_series(tmp_path / "ct", HU, 1, edit))), HU
    )


def pad(value, bits=16, signed=False, limit=None, at=(0, 0)):
    """Pad the corner and a place in the body with a stored value; returns an edit."""

    def edit(ds, z):
        stored = HU[z].astype(int) + 1024
        if signed:
            stored = HU[z].astype(int)
            ds.RescaleIntercept, ds.PixelRepresentation = 0, 1
        stored[:3, :3] = stored[15, 22] = value
        if limit is not None:
            stored[0, 0] = limit
        ds.PixelData = (stored & 0xFFFF).astype(np.uint16).tobytes()
        ds.BitsStored, ds.HighBit = bits, bits - 1
        kind = "SS" if value < 0 else "US"
        ds.add_new("PixelPaddingValue", kind, value)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", kind, limit)

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        pad(0),
        pad(63536),  # -2000 in an unsigned tag
        pad(5000),
        pad(3000, bits=12),
        pad(-2000, signed=True),
        pad(63536, signed=True),  # signed pixels, unsigned tag
        pad(-2048, bits=12, signed=True),
        pad(-2000, signed=True, limit=-1900),
        pad(5000, limit=5100),
        pad(5100, limit=5000),
    ],
)
def test_padding_is_air_wherever_it_lies(tmp_path, edit):
    expected = HU.copy()
    expected[:, :3, :3] = expected[:, 15, 22] = AIR
    scan = open_scan(write_series(tmp_path / "ct", HU, edit=edit))
    np.testing.assert_array_equal(all_values(scan), expected)


def test_padding_in_the_range_of_tissue_gives_a_finding(tmp_path):
    scan = open_scan(write_series(tmp_path / "ct", HU, edit=pad(1064)))
    assert "values from 40 to 40 HU as padding" in message(scan, "padding")
    assert all_values(scan)[3, 15, 22] == AIR


def without_rescaling(ds, z):
    pad(63536)(ds, z)
    del ds.RescaleSlope, ds.RescaleIntercept


def undeclared(value, intercept=None):
    def edit(ds, z):
        pad(value)(ds, z)
        del ds.PixelPaddingValue
        if intercept is not None:
            ds.RescaleIntercept = intercept
            ds.PixelRepresentation = 1

    return edit


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (without_rescaling, "values from 14 to .*pixels of PixelPaddingValue are not among"),
        (undeclared(63536), "to 62512 cannot be HU.*not declared by PixelPaddingValue"),
        (undeclared(63536, intercept=0), "values from 14 to .* cannot be HU"),
    ],
)
def test_padding_does_not_hide_shifted_values(tmp_path, edit, text):
    with pytest.raises(DatasetError, match=text):
        open_scan(write_series(tmp_path / "ct", HU, edit=edit))


@pytest.mark.parametrize(("kind", "expected"), [("MGML", True), ("HU", False), ("US", False)])
def test_values_declared_as_something_else_than_hu_give_a_finding(tmp_path, kind, expected):
    edit = lambda ds, z: setattr(ds, "RescaleType", kind)  # noqa: E731
    scan = open_scan(write_series(tmp_path / "ct", HU, edit=edit))
    messages = [f.message for f in scan.qc if f.code == "rescale_type"]
    assert messages == expected * [
        "RescaleType is MGML, not HU: the values may be another quantity, e.g. a material density"
    ]


@pytest.mark.parametrize(
    ("slope", "intercept", "missing"),
    [(0.5, -512, "lung and air"), (1, -2324, "soft tissue")],
)
def test_a_scan_without_air_or_tissue_gives_a_finding(tmp_path, slope, intercept, missing):
    """The slope halved: air at -500 HU. The intercept 1300 too low: tissue at -1250 HU."""

    def edit(ds, z):
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept

    scan = open_scan(write_series(tmp_path / "ct", HU, edit=edit))
    messages = [f.message for f in scan.qc if f.code == "values"]
    assert any(f"every chest has {missing}" in text for text in messages)
