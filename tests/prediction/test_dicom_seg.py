"""DICOM segmentations, read back by pydicom alone and by highdicom."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from toy_scans import toy_hu, write_series

from ct_lesion.prediction.dicom_seg import write_dicom_seg
from ct_lesion.scans.sources import open_scan

# the usual orientation, and a patient lying face down: rows to the front, columns to the right
ORIENTATIONS = ([1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0])


@pytest.fixture(params=ORIENTATIONS, ids=["usual", "turned"])
def scan(request, tmp_path):
    def turn(ds, z):
        ds.ImageOrientationPatient = request.param

    return open_scan(write_series(tmp_path / "series", toy_hu(), edit=turn))


def toy_labels(scan) -> np.ndarray:
    labels = np.zeros(scan.shape, np.uint8)
    labels[3, 5:9, 6:20] = 1
    labels[4, 6:8, 7:9] = 1
    labels[4, 20:22, 3:6] = 2
    return labels


def source_pixels(labels: np.ndarray, turned: bool) -> np.ndarray:
    """The labels of a slice in the orientation of the source image."""
    return labels[::-1, ::-1] if turned else labels


def frames(path) -> list[tuple[int, str, list[float], np.ndarray]]:
    """Segment, source image, position and mask of each frame."""
    seg = pydicom.dcmread(path)
    pixels = seg.pixel_array.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
    return [
        (
            group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
            [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient],
            mask,
        )
        for group, mask in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True)
    ]


def test_each_frame_lies_on_its_source_image(scan, tmp_path):
    labels = toy_labels(scan)
    path = tmp_path / "lesions.dcm"
    assert write_dicom_seg(path, scan, labels, ["GGO", "Consolidation"]) is None
    by_uid = {}
    for index, file in enumerate(scan.dicom_files):
        by_uid[pydicom.dcmread(file).SOPInstanceUID] = (index, pydicom.dcmread(file))
    found = frames(path)
    assert len(found) == 3, "frames without lesions are left out"
    for segment, uid, position, mask in found:
        index, source = by_uid[uid]
        turned = source.ImageOrientationPatient[0] < 0
        assert position == pytest.approx(list(map(float, source.ImagePositionPatient)))
        assert np.array_equal(mask == 1, source_pixels(labels[index] == segment, turned))
    seg = hd.seg.segread(path)
    assert [seg.get_segment_description(i).segment_label for i in (1, 2)] == [
        "GGO",
        "Consolidation",
    ]
    assert "not for clinical use" in seg.SeriesDescription
    assert seg.PatientID == "P7"


def test_segments_are_numbered_without_gaps(scan, tmp_path):
    labels = np.where(toy_labels(scan) == 2, 2, 0).astype(np.uint8)
    write_dicom_seg(tmp_path / "lesions.dcm", scan, labels, ["GGO", "Consolidation"])
    seg = hd.seg.segread(tmp_path / "lesions.dcm")
    assert seg.number_of_segments == 1
    assert seg.get_segment_description(1).segment_label == "Consolidation"


def test_missing_attributes_are_named(tmp_path):
    def strip(ds, z):
        del ds.FrameOfReferenceUID

    scan = open_scan(write_series(tmp_path / "series", toy_hu(), edit=strip))
    reason = write_dicom_seg(tmp_path / "lesions.dcm", scan, toy_labels(scan), ["a", "b"])
    assert reason == "no DICOM segmentation: the images have no FrameOfReferenceUID"
    assert not (tmp_path / "lesions.dcm").exists()
