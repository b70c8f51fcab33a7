"""Phantom scans are equal in DICOM and NIfTI, deterministic, and readable by other libraries."""

import csv
import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.sr.codedict import codes

from ct_lesion.data.prepare.volume_pairs import LabelMap, read_pair_list
from ct_lesion.data.prepare.volumes import check_pairs
from ct_lesion.phantom.volumes import VolumeSpec, write_phantom_volumes
from ct_lesion.scans.sources import open_scan

SLICES = 3
NAMES = ["Normal_5000", "CP_5001", "NCP_5002"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> dict[str, Path]:
    """One patient of each class, in each format."""
    root = tmp_path_factory.mktemp("phantoms")
    for form in ("dicom", "nifti"):
        spec = VolumeSpec(form, patients_per_class=1, slices_per_scan=SLICES)
        write_phantom_volumes(root / form, spec)
    return {form: root / form for form in ("dicom", "nifti")}


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_hold_the_same_scan(phantoms, name):
    dicom = open_scan(phantoms["dicom"] / "scans" / name)
    nifti = open_scan(phantoms["nifti"] / "scans" / f"{name}.nii.gz")
    assert dicom.shape == nifti.shape == (SLICES, 256, 256)
    assert dicom.spacing_mm == pytest.approx(nifti.spacing_mm, abs=1e-5)
    assert dicom.z_mm == pytest.approx(nifti.z_mm, abs=1e-3)
    for index in range(SLICES):
        np.testing.assert_array_equal(dicom.values(index), nifti.values(index))
    assert dicom.values(0).dtype == np.int16
    assert [f.code for f in dicom.qc] == ["few_slices", "spacing"], "3 slices far apart"
    masks = [(root / "masks" / f"{name}.nii.gz").read_bytes() for root in phantoms.values()]
    assert masks[0] == masks[1]


def test_simpleitk_reads_the_series_as_the_same_volume(phantoms):
    folder = phantoms["dicom"] / "scans" / NAMES[2]
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    other = sitk.ReadImage(str(phantoms["nifti"] / "scans" / f"{NAMES[2]}.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(other))
    for what in ("Spacing", "Origin", "Direction"):
        expected = getattr(other, f"Get{what}")()
        assert getattr(image, f"Get{what}")() == pytest.approx(expected, abs=1e-3)


def test_masks_lie_on_their_scans(phantoms):
    for root in phantoms.values():
        pairs, problems = read_pair_list(root / "pairs.csv")
        labels = LabelMap(["1=lung", "2=ggo", "3=consolidation"])
        assert len(check_pairs(pairs, problems, labels)) == 3
    for name in NAMES:
        scan = open_scan(phantoms["nifti"] / "scans" / f"{name}.nii.gz")
        mask = sitk.GetArrayFromImage(
            sitk.ReadImage(str(phantoms["nifti"] / "masks" / f"{name}.nii.gz"))
        )
        hu = np.stack([scan.values(index) for index in range(SLICES)])
        assert -905 < np.median(hu[mask == 1]) < -780, "lung under the lung label"
        assert (mask.max() > 1) == (not name.startswith("Normal"))
        if mask.max() > 1:
            assert np.median(hu[mask > 1]) > np.median(hu[mask == 1]) + 100


def test_the_orientation_fits_the_body(phantoms):
    """The spine is at the back: bone in the lower half of the rows."""
    scan = open_scan(phantoms["dicom"] / "scans" / NAMES[0])
    bone = np.nonzero(scan.values(1)[:, 118:138] > 250)[0]
    assert np.median(bone) > 128
    numbers = [int(pydicom.dcmread(image.path).InstanceNumber) for image in scan.dicom_images]
    assert numbers == [3, 2, 1], "numbered from the head down"


def test_highdicom_accepts_the_slices(phantoms):
    scan = open_scan(phantoms["dicom"] / "scans" / NAMES[2])
    sources = [pydicom.dcmread(image.path) for image in scan.dicom_images]
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    mask = np.zeros((SLICES, 256, 256), np.uint8)
    mask[1, 100:120, 90:95] = 1
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="0",
        device_serial_number="0",
    )
    assert segmentation.PatientID == "5002"
    assert segmentation.FrameOfReferenceUID == sources[0].FrameOfReferenceUID


def test_headers_say_synthetic_and_are_the_same_every_time(phantoms, tmp_path):
    spec = VolumeSpec("dicom", patients_per_class=1, slices_per_scan=SLICES)
    write_phantom_volumes(tmp_path / "again", spec)
    files = sorted((phantoms["dicom"] / "scans").rglob("*.dcm"))
    assert len(files) == 3 * SLICES
    for path in files:
        copy = tmp_path / "again" / path.relative_to(phantoms["dicom"])
        assert copy.read_bytes() == path.read_bytes()
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    assert all("SYNTHETIC" in h.SeriesDescription and "SYNTHETIC" in h.PatientName for h in headers)
    assert len({h.SOPInstanceUID for h in headers}) == 9
    assert len({h.SeriesInstanceUID for h in headers}) == 3
    assert len({h.StudyInstanceUID for h in headers}) == 3
    assert {h.PatientID for h in headers} == {"5000", "5001", "5002"}


def test_seeds_have_different_uids(phantoms, tmp_path):
    spec = VolumeSpec("dicom", seed=1, patients_per_class=1, slices_per_scan=SLICES)
    write_phantom_volumes(tmp_path / "other", spec)
    one, other = (
        pydicom.dcmread(root / "scans" / NAMES[0] / "0001.dcm")
        for root in (phantoms["dicom"], tmp_path / "other")
    )
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.FrameOfReferenceUID != other.FrameOfReferenceUID
    assert one.PixelData != other.PixelData


def test_manifest_and_list_name_the_scans(phantoms):
    manifest = json.loads((phantoms["dicom"] / "phantom.json").read_text("utf-8"))
    with (phantoms["dicom"] / "pairs.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == manifest["scans"]
    assert [row["class"] for row in manifest["scans"]] == ["Normal", "CP", "NCP"]
    assert manifest["arguments"]["format"] == "dicom"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "nrrd"}, "format must be"),
        ({"size": 100}, "size must be"),
        ({"seed": -1}, "seed"),
        ({"patients_per_class": 0}, "patients_per_class"),
        ({"slices_per_scan": 1}, "slices_per_scan"),
    ],
)
def test_invalid_specs_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_phantom_volumes(tmp_path / "x", VolumeSpec(**{"format": "dicom", **arguments}))
    assert not (tmp_path / "x").exists()
