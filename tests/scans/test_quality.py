"""Quality checks, each on the smallest scan that triggers it."""

from pathlib import Path

import numpy as np
import pytest
from toy_scans import oblique_direction, toy_hu, write_volume

from ct_lesion.scans import quality
from ct_lesion.scans.array import scan_from_array
from ct_lesion.scans.quality import sample_indices
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.sources import open_scan
from ct_lesion.scans.windows import WINDOWS, Window, window_to_uint8

SQUARE = (2.5, 0.7, 0.7)


def findings(scan: Scan) -> dict[str, str]:
    return {finding.code: finding.message for finding in scan.qc}


def test_a_good_scan_has_no_findings():
    assert scan_from_array(toy_hu(), is_hu=True, spacing_mm=SQUARE).qc == []
    assert scan_from_array(window_to_uint8(toy_hu()), spacing_mm=SQUARE).qc == []


@pytest.mark.parametrize(
    ("slices", "spacing", "code", "message"),
    [
        (9, SQUARE, "few_slices", "fewer than 10 slices (9)"),
        (12, (12.0, 0.7, 0.7), "spacing", "slices 12.0 mm apart"),
        (12, (2.5, 0.9, 0.7), "spacing", "not square: 0.900 mm by 0.700 mm"),
        (12, (0.25, 0.07, 0.07), "spacing", "pixels of 0.07 mm by 0.07 mm are implausible"),
        (12, (10.0, 700.0, 700.0), "spacing", "pixels of 700 mm by 700 mm are implausible"),
        (12, None, "spacing", "no spacing given"),
    ],
)
def test_slices_and_spacing(slices, spacing, code, message):
    scan = scan_from_array(toy_hu(slices), is_hu=True, spacing_mm=spacing)
    assert list(findings(scan)) == [code]
    assert message in findings(scan)[code]


def test_orientation(tmp_path):
    spacing = (0.7, 0.7, 2.5)
    oblique = write_volume(tmp_path / "o.nii", toy_hu(), oblique_direction(8), spacing)
    assert "degrees off" in findings(open_scan(oblique))["oblique"]
    coronal = (1, 0, 0, 0, 0, -1, 0, 1, 0)
    path = write_volume(tmp_path / "c.nii", toy_hu(), coronal, (0.7, 0.7, 0.7))
    assert list(findings(open_scan(path))) == ["not_axial"]


def test_nearly_constant():
    air = np.full((12, 32, 32), -1000, np.int16)
    air[:, ::2] += 5
    assert "at most 2.5 HU" in findings(scan_from_array(air, is_hu=True))["constant"]
    grey = np.full((12, 32, 32), 90, np.uint8)
    assert "at most 0.0 grey values" in findings(scan_from_array(grey))["constant"]


def test_saturated_window():
    """The toy body is 24 x 27 px of 20..79 HU, with 11 x 11 px of lung in it."""
    hu = toy_hu()
    lung_only = Window(-850, 400)  # shows all tissue white: 648 - 121 of 648 pixels
    scan = scan_from_array(hu, is_hu=True, spacing_mm=SQUARE, window=lung_only)
    assert "shows 81% of the body" in findings(scan)["saturated"]
    assert "level -850, width 400" in findings(scan)["saturated"]
    scan = scan_from_array(np.stack([lung_only.grey(z) for z in hu]), spacing_mm=SQUARE)
    assert "the window of the images shows 81%" in findings(scan)["saturated"]
    for window in (WINDOWS["lung"], WINDOWS["mediastinum"]):
        assert scan_from_array(hu, is_hu=True, spacing_mm=SQUARE, window=window).qc == []


def test_samples_are_spread_and_distinct():
    assert sample_indices(1) == [0]
    assert sample_indices(3) == [0, 1, 2]
    assert sample_indices(100) == [10, 30, 50, 70, 90]


def test_files_beside_many_scans_are_looked_at_once(monkeypatch):
    seen = []
    ending = quality._ending
    monkeypatch.setattr(quality, "_ending", lambda path: seen.append(path) or ending(path))
    scans = [[Path(f"ct/{number}.dcm")] for number in range(30)]
    lost = [Path("ct/0.dcm"), *(Path(f"ct/lost{number}.dcm") for number in range(30))]
    findings = quality.lost_slices(scans, lost, [])
    assert len(seen) == len(scans) + len(lost)
    messages = [finding.message for (finding,) in findings]
    assert messages[0].startswith("30 files") and messages[1].startswith("31 files")
    assert messages[0].endswith(": lost0.dcm, lost1.dcm, lost2.dcm, ...")
    assert messages[1].endswith(": 0.dcm, lost0.dcm, lost1.dcm, ...")
