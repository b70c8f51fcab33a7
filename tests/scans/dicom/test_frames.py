"""Enhanced CT: frames are read like the slices of single files."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from enhanced_ct import shuffled, write_enhanced
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless
from toy_scans import all_values, toy_hu, toy_phase, toy_slice, write_slices

from ct_lesion.errors import DatasetError
from ct_lesion.phantom.dicom import write_series as write_phantom
from ct_lesion.scans.geometry import Geometry
from ct_lesion.scans.scan import ReadOptions, Scan
from ct_lesion.scans.sources import find_scans, open_scan

AXIAL, PRONE = [1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]
SAGITTAL, OBLIQUE = [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0.97, 0.24311]


def slices(orientation: list[float] = AXIAL) -> list[Dataset]:
    """A toy series along the normal of its slices."""
    made = [toy_slice(hu, z) for z, hu in enumerate(toy_hu())]
    normal = np.cross(orientation[:3], orientation[3:])
    for z, ds in enumerate(made):
        ds.ImageOrientationPatient = orientation
        ds.ImagePositionPatient = [round(float(x), 4) for x in (-11, 22, -33) + 2.5 * z * normal]
    return made


def scans(path: Path) -> list[Scan]:
    return [source.open() for source in find_scans([path], options=ReadOptions())]


def assert_same(scan: Scan, other: Scan) -> None:
    assert np.array_equal(all_values(scan), all_values(other))
    assert scan.geometry == other.geometry
    assert scan.spacing_mm == other.spacing_mm and scan.thickness_mm == other.thickness_mm
    assert scan.z_mm == other.z_mm and scan.patient == other.patient
    assert [f.code for f in scan.qc] == [f.code for f in other.qc]


@pytest.mark.parametrize("orientation", [AXIAL, PRONE, SAGITTAL, OBLIQUE])
def test_same_numbers_as_single_files(tmp_path, orientation):
    classic = write_slices(tmp_path / "classic", slices(orientation))
    made = slices(orientation)
    shared = ("PlaneOrientationSequence", "PixelMeasuresSequence")
    path = write_enhanced(tmp_path / "e.dcm", [made[i] for i in shuffled(12)], shared=shared)
    assert_same(open_scan(path), open_scan(classic))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_with_different_rescalings(tmp_path, syntax):
    made = slices()
    for z, ds in enumerate(made):
        ds.RescaleIntercept = -1024 - z % 3
    path = write_enhanced(tmp_path / "e.dcm", made, syntax=syntax)
    expected = toy_hu() - (np.arange(12) % 3)[:, None, None]
    assert np.array_equal(all_values(open_scan(path)), expected)


def test_a_series_of_several_files(tmp_path):
    made = slices()
    classic = open_scan(write_slices(tmp_path / "classic", slices()))
    for number, part in enumerate((made[:5], made[5:11], made[11:]), start=1):
        edit = lambda ds, number=number: setattr(ds, "InstanceNumber", number)  # noqa: E731
        write_enhanced(tmp_path / f"multi/{number}.dcm", part, edit)
    assert_same(open_scan(tmp_path / "multi"), classic)


def test_a_file_converted_by_highdicom(tmp_path):
    made = slices()
    for ds in made:
        ds.AccessionNumber = ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ""
        ds.ReferringPhysicianName = ds.StudyDate = ds.StudyTime = ds.Manufacturer = ""
        ds.PositionReferenceIndicator, ds.BurnedInAnnotation = "", "NO"
    converted = hd.legacy.LegacyConvertedEnhancedCTImage(
        made, series_instance_uid=hd.UID(), series_number=5, sop_instance_uid=hd.UID(),
        instance_number=7,
    )  # fmt: skip
    converted.save_as(tmp_path / "legacy.dcm")
    classic = open_scan(write_slices(tmp_path / "classic", slices()))
    assert_same(open_scan(tmp_path / "legacy.dcm"), classic)


def test_a_phantom_scan_as_an_enhanced_file(tmp_path):
    hu = toy_hu(20)
    geometry = Geometry(
        (32, 32, 20), (0.7, 0.7, 1.25), (-5.0, -6.0, 7.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    write_phantom(tmp_path / "classic", hu, geometry, patient_id="P", key="k")
    made = [pydicom.dcmread(file) for file in sorted((tmp_path / "classic").iterdir())]
    path = write_enhanced(tmp_path / "e.dcm", made)
    assert_same(open_scan(path), open_scan(tmp_path / "classic"))
    assert np.array_equal(all_values(open_scan(path)), hu)


def test_temporal_positions_and_stacks_are_separate_scans(tmp_path):
    phases = [toy_phase(toy_hu(seed=seed), None) for seed in (1, 2)]
    content = [{"StackID": "1", "TemporalPositionIndex": t + 1} for t in (0, 1) for _ in range(12)]
    write_enhanced(tmp_path / "time/e.dcm", [*phases[0], *phases[1]], contents=content)
    first, second = scans(tmp_path / "time")
    assert np.array_equal(all_values(first), toy_hu(seed=1))
    assert np.array_equal(all_values(second), toy_hu(seed=2))
    assert first.qc[0].code == "split_series"

    shifted = toy_phase(toy_hu(seed=2), None, shift=1.25)
    content = [{"StackID": s} for s in "12" for _ in range(12)]
    write_enhanced(tmp_path / "stacks/e.dcm", [*phases[0], *shifted], contents=content)
    assert [len(scan) for scan in scans(tmp_path / "stacks")] == [12, 12]

    across = [*slices(), *slices(SAGITTAL)]
    write_enhanced(tmp_path / "turned/e.dcm", across, contents=content)
    assert sorted(s.geometry.acquired_axially for s in scans(tmp_path / "turned")) == [False, True]


def test_positions_that_no_tag_tells_apart_are_refused(tmp_path):
    both = [*toy_phase(toy_hu(seed=1), None), *toy_phase(toy_hu(seed=2), None)]
    path = write_enhanced(tmp_path / "e.dcm", both, contents=[{}] * 24)
    with pytest.raises(DatasetError, match=r"e.dcm, frame 13 has the position of e.dcm, frame 1 "):
        open_scan(path)


def test_missing_frames_duplicates_and_localizers(tmp_path):
    made = slices()
    made[3].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    path = write_enhanced(tmp_path / "e.dcm", [*made, slices()[5]])
    scan = open_scan(path)
    assert len(scan) == 11 and scan.dropped_slices == 1
    codes = {f.code: f.message for f in scan.qc}
    assert "e.dcm, frame 4 (a scout" in codes["foreign_images"]
    assert "1 slices seem to be missing" in codes["missing_slices"]


FAULTS = {
    "position": ("PlanePositionSequence", "frame 3: no ImagePositionPatient"),
    "rescaling": ("PixelValueTransformationSequence", "frame 3 has no RescaleSlope"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_frames_that_lack_a_group(tmp_path, fault):
    group, text = FAULTS[fault]
    path = write_enhanced(
        tmp_path / "e.dcm",
        slices(),
        lambda ds: ds.PerFrameFunctionalGroupsSequence[2].__delattr__(group),
    )
    with pytest.raises(DatasetError, match=text):
        open_scan(path)
