"""Grouping DICOM files into scans where the SeriesInstanceUID is missing, shared or replaced."""

from itertools import chain

import numpy as np
import pytest
from opened_scans import codes, message, scans_in
from pydicom.uid import generate_uid
from toy_scans import all_values, toy_hu, toy_phase, write_series, write_slices

from ct_lesion.errors import DatasetError
from ct_lesion.scans.sources import open_scan

ORDINARY = {"spacing"}  # the toy's pixels are not square
A, B = toy_hu(16, seed=1), toy_hu(16, seed=2)


def alternating(a, b):
    return list(chain.from_iterable(zip(a, b, strict=True)))


def interleaved_numbers(a, b):
    slices = alternating(a, b)
    for number, ds in enumerate(slices, start=1):
        ds.InstanceNumber = number
    return slices


NO_NUMBER = {"InstanceNumber": None}
TAGGED = {
    "numbers go on": toy_phase(A, 1) + toy_phase(B, 2, first_number=17),
    "numbers restart": toy_phase(A, 1) + toy_phase(B, 2),
    "the other way": toy_phase(A, 1) + toy_phase(B, 2, first_number=17)[::-1],
    "shifted by 1.5 mm": toy_phase(A, 1) + toy_phase(B, 2, first_number=17, shift=1.5),
    "half a step": toy_phase(A, 1) + toy_phase(B, 2, first_number=17, shift=1.25),
    "interleaved": interleaved_numbers(toy_phase(A, 1), toy_phase(B, 2, shift=1.25)),
    "no numbers": toy_phase(A, 1, **NO_NUMBER) + toy_phase(B, 2, **NO_NUMBER),
    "by time": toy_phase(A, None, AcquisitionTime="120100")
    + toy_phase(B, None, AcquisitionTime="120130.5"),
    "by kernel": toy_phase(A, 1, ConvolutionKernel="B31f")
    + toy_phase(B, 1, ConvolutionKernel="B70f"),
    "by frame of reference": toy_phase(A, 1)
    + toy_phase(B, 1, shift=0.4, FrameOfReferenceUID="1.2.3"),
}


@pytest.mark.parametrize("name", TAGGED)
def test_two_acquisitions_under_a_series_uid_are_two_scans(tmp_path, name):
    opened = scans_in(write_slices(tmp_path / "ct", TAGGED[name]))
    first, second = opened.values()
    np.testing.assert_array_equal(all_values(first), A)
    np.testing.assert_array_equal(all_values(second), B)
    for scan in (first, second):
        assert scan.spacing_mm[0] == 2.5
        assert "read as 2 scans" in message(scan, "split_series")
        assert not codes(scan) & {"missing_slices", "uneven_slices"}
    if "by" not in name:
        assert set(opened) == {"ct-series1-acquisition1", "ct-series1-acquisition2"}


UNTAGGED = {
    "same positions": (
        toy_phase(A, 1) + toy_phase(B, 1, first_number=17),
        r"has the position of 000\.dcm .* other pixels",
    ),
    "numbers restart": (
        toy_phase(A, 1) + toy_phase(B, 1, shift=0.7),
        r"InstanceNumber 1 as in 000\.dcm",
    ),
    "half a step": (
        toy_phase(A, 1) + toy_phase(B, 1, first_number=17, shift=1.25),
        "pass the same positions 2 times in the order of InstanceNumber",
    ),
    "half a step back": (
        toy_phase(A, 1) + toy_phase(B, 1, shift=1.25, first_number=-40)[::-1],
        "pass the same positions 2 times in the order of InstanceNumber",
    ),
    "times a slice": (
        [
            ds
            for start, shift, hu in ((1200, 0, A), (1300, 1.25, B))
            for z, ds in enumerate(toy_phase(hu, None, shift=shift, **NO_NUMBER))
            if not setattr(ds, "AcquisitionTime", f"{start}{z:02d}")
        ],
        "in the order of AcquisitionTime",
    ),
    "shifted, no numbers": (
        toy_phase(A, 1, **NO_NUMBER) + toy_phase(B, 1, shift=0.8, **NO_NUMBER),
        r"alternate between 0\.80 and 1\.70 mm",
    ),
}


@pytest.mark.parametrize("name", UNTAGGED)
def test_acquisitions_that_no_tag_tells_apart_are_refused(tmp_path, name):
    slices, text = UNTAGGED[name]
    folder = write_slices(tmp_path / "ct", slices)
    with pytest.raises(DatasetError, match=text + r".*no tag .* a separate folder\.") as caught:
        open_scan(folder)
    assert "\n" not in str(caught.value)


def test_the_advice_to_separate_folders_works(tmp_path):
    write_slices(tmp_path / "ct" / "a", toy_phase(A, 1))
    write_slices(tmp_path / "ct" / "b", toy_phase(B, 1, shift=1.25))
    opened = scans_in(tmp_path / "ct")
    assert set(opened) == {"a", "b"}
    np.testing.assert_array_equal(all_values(opened["b"]), B)
    assert "differ in folder" in message(opened["a"], "shared_series_uid")


def rotations(ds, z):
    """Step and shoot: an acquisition per four slices, with InstanceNumbers from 0."""
    ds.AcquisitionNumber, ds.InstanceNumber = z // 4, z % 4


def each_slice(ds, z):
    ds.AcquisitionNumber, ds.AcquisitionTime = z, f"1200{z:02d}"


def random_numbers(ds, z):
    ds.InstanceNumber = int(np.random.default_rng(7).permutation(32)[z])


def no_acquisition_in_some(ds, z):
    if z not in (5, 6):
        ds.AcquisitionNumber = 1


def same_number(ds, z):
    ds.InstanceNumber = 0


@pytest.mark.parametrize(
    "edit", [rotations, each_slice, random_numbers, no_acquisition_in_some, same_number]
)
def test_a_single_scan_stays_whole(tmp_path, edit):
    hu = toy_hu(32)
    scan = open_scan(write_series(tmp_path / "ct", hu, edit=edit))
    np.testing.assert_array_equal(all_values(scan), hu)
    assert codes(scan) == ORDINARY


def without_uid(ds):
    del ds.SeriesInstanceUID


def empty_identity(ds):
    ds.SeriesInstanceUID = ds.PatientID = ds.PatientName = ds.StudyInstanceUID = ""


def unchanged(ds):
    pass


@pytest.mark.parametrize("edit", [unchanged, without_uid, empty_identity])
@pytest.mark.parametrize("apart", [True, False])
def test_two_patients_are_two_scans(tmp_path, edit, apart):
    """They are in one folder or two, which are given as one input or two."""
    slices = {"P1": toy_phase(A, 1, PatientID="P1"), "P2": toy_phase(B, 1, PatientID="P2")}
    for name, series in slices.items():
        for ds in series:
            edit(ds)
        folder = tmp_path / "in" / name if apart else tmp_path / "in"
        write_slices(folder, series, name + "_{:03d}.dcm")
    if edit is empty_identity and not apart:
        with pytest.raises(DatasetError, match="has the position of"):
            open_scan(tmp_path / "in")
        return
    inputs = [[tmp_path / "in"]]
    if apart:
        inputs.append([tmp_path / "in" / "P1", tmp_path / "in" / "P2"])
    for arguments in inputs:
        first, second = scans_in(*arguments).values()
        np.testing.assert_array_equal(all_values(first), A)
        np.testing.assert_array_equal(all_values(second), B)
        if edit is not empty_identity:
            assert (first.patient, second.patient) == ("P1", "P2")
        code = "shared_series_uid" if edit is unchanged else "no_series_uid"
        assert code in codes(first) and code in codes(second)


@pytest.mark.parametrize("tag", ["PatientName", "PatientBirthDate", "StudyInstanceUID"])
def test_whatever_identifies_a_patient_or_study_separates(tmp_path, tag):
    one, other = ("20010101", "20020202") if "Date" in tag else ("1.2", "1.3")
    slices = toy_phase(A, 1, **{tag: one}) + toy_phase(B, 1, shift=200, **{tag: other})
    opened = scans_in(write_slices(tmp_path / "ct", slices))
    assert [scan.shape for scan in opened.values()] == [A.shape, B.shape]
    assert tag in message(next(iter(opened.values())), "shared_series_uid")


def test_a_uid_for_each_file_gives_a_finding(tmp_path):
    def edit(ds, z):
        ds.SeriesInstanceUID = generate_uid()

    opened = scans_in(write_series(tmp_path / "ct", toy_hu(5), edit=edit))
    assert len(opened) == 5
    for scan in opened.values():
        assert message(scan, "single_slice_series").startswith("5 files of the folder")


def three_phases():
    hu = [toy_hu(16, seed=seed) for seed in (1, 2, 3)]
    slices = [toy_phase(one, n, first_number=16 * n) for n, one in enumerate(hu)]
    return hu, slices


def test_three_phases_and_a_repeated_slice(tmp_path):
    hu, slices = three_phases()
    again = toy_phase(A[:1], 9, first_number=99, shift=10.0)
    folder = write_slices(tmp_path / "ct", chain.from_iterable([*slices, again]))
    opened = scans_in(folder)
    assert len(opened) == 3
    for scan, expected in zip(opened.values(), hu, strict=True):
        np.testing.assert_array_equal(all_values(scan), expected)
    assert any(
        "048.dcm (at positions of other slices" in message(scan, "foreign_images")
        for scan in opened.values()
        if "foreign_images" in codes(scan)
    )


def test_phases_of_another_range_are_not_mixed(tmp_path):
    """The second phase covers the lower half only, and ends beyond the first one."""
    slices = toy_phase(A, 1) + toy_phase(B[:8], 2, first_number=17, shift=-6.0)
    first, second = scans_in(write_slices(tmp_path / "ct", slices)).values()
    np.testing.assert_array_equal(all_values(first), A)
    np.testing.assert_array_equal(all_values(second), B[:8])


def test_a_reformat_with_many_slices_is_a_separate_scan(tmp_path):
    slices = toy_phase(A, 1) + toy_phase(B[:8], 1, first_number=50)
    for z, ds in enumerate(slices[16:]):
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]  # coronal
        ds.ImagePositionPatient = [-11, 22 + 2.5 * z, -33]
    axial, reformat = scans_in(write_slices(tmp_path / "ct", slices)).values()
    np.testing.assert_array_equal(all_values(axial), A)
    assert len(reformat.files) == 8 and "not_axial" in codes(reformat)
    assert {"split_series"} <= codes(axial) & codes(reformat)
