"""The thickness of each slice where steps differ."""

import numpy as np
import pydicom
import pytest
from toy_scans import toy_hu, write_series

from ct_lesion.prediction.scan_summary import measure_slice, summarise_lesions
from ct_lesion.scans.dicom.steps import slice_thicknesses, step_findings
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.sources import open_scan


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([0, 5, 10], [5, 5, 5]),
        ([7, 9], [2, 2]),
        # 5 mm and then 2 mm: the slice at 15 mm reaches from 12.5 to 16 mm
        ([0, 5, 10, 15, 17, 19, 21], [5, 5, 5, 3.5, 2, 2, 2]),
        ([0, 2, 4, 6, 11, 16, 21], [2, 2, 2, 3.5, 5, 5, 5]),
        # missing slices add no thickness
        ([0, 5, 10, 30, 35, 40], [5] * 6),
        ([0, 5, 10, 20, 30, 35, 40], [5] * 7),
        # jitter: from midpoint to midpoint
        ([0, 5, 10.5, 15, 20], [5, 5.25, 5, 4.75, 5]),
    ],
)
def test_thicknesses_by_hand(depths, expected):
    assert slice_thicknesses(depths) == pytest.approx(expected)


def test_equal_steps_have_no_finding():
    assert step_findings([0, 5, 10.1, 15]) == []
    assert step_findings([3]) == []


def open_at(folder, places, **tags) -> Scan:
    """Open a series with slices at these places in mm, of 0.7 x 0.8 mm pixels."""

    def place(ds, z):
        ds.ImagePositionPatient = [-11, 22, places[z]]
        for name, value in tags.items():
            setattr(ds, name, value)

    return open_scan(write_series(folder, toy_hu(len(places)), edit=place))


def lesion_ml(scan: Scan, pixels: int = 10) -> float | None:
    """Volume of a lesion of some pixels in every slice."""
    mask = np.arange(100).reshape(10, 10) < pixels
    measures = [measure_slice(mask)] * len(scan)
    return summarise_lesions([], measures, scan.spacing_mm, scan.thickness_mm)["lesion_volume_ml"]


@pytest.mark.parametrize("feet_first", [True, False])
def test_thick_and_then_thin_slices(tmp_path, feet_first):
    places = [0, 5, 10, 15, 17, 19, 21, 23]
    tags = {} if feet_first else {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}
    scan = open_at(tmp_path / "ct", places, **tags)
    assert scan.z_mm == pytest.approx(places)
    assert scan.thickness_mm == pytest.approx([5, 5, 5, 3.5, 2, 2, 2, 2])
    # 10 pixels of 0.56 mm2 in 26.5 mm
    assert lesion_ml(scan) == pytest.approx(10 * 0.56 * 26.5 / 1000)
    (finding,) = (f for f in scan.qc if f.code == "uneven_slices")
    assert "2.00 to 5.00 mm" in finding.message and "its own thickness" in finding.message


def test_one_slice_counts_with_its_thickness(tmp_path):
    scan = open_at(tmp_path / "ct", [0])
    assert lesion_ml(scan) == pytest.approx(10 * 0.56 * 2.5 / 1000)


@pytest.mark.parametrize("thickness", [None, 0])
def test_one_slice_without_thickness_has_no_millilitres(tmp_path, thickness):
    scan = open_at(tmp_path / "ct", [0], SliceThickness=thickness)
    assert scan.spacing_mm == (None, 0.8, 0.7)
    assert lesion_ml(scan) is None
    assert any("thickness of the slice is unknown" in finding.message for finding in scan.qc)


def test_uneven_sagittal_slices_have_no_sizes(tmp_path):
    """The uneven steps are within the axial slices, so their pixels differ in size."""

    def place(ds, z):
        ds.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        ds.ImagePositionPatient = [5 * z if z < 6 else 15 + 2 * z, 0, 0]

    scan = open_scan(write_series(tmp_path / "ct", toy_hu(), edit=place))
    assert scan.spacing_mm is None and lesion_ml(scan) is None
    assert "uneven_slices" in {finding.code for finding in scan.qc}


def test_a_thickness_of_text_counts_as_missing(tmp_path):
    """Only a single slice needs it; with several, the steps count."""

    def edit(ds, z):
        with pydicom.config.disable_value_validation():
            ds["SliceThickness"] = pydicom.DataElement("SliceThickness", "LO", "5 mm")

    scans = [open_scan(write_series(tmp_path / str(n), toy_hu(n), edit=edit)) for n in (4, 1)]
    # 10 pixels of 0.56 mm2 in each of 4 slices, 2.5 mm apart
    assert lesion_ml(scans[0]) == pytest.approx(10 * 0.56 * 10 / 1000)
    assert lesion_ml(scans[1]) is None
