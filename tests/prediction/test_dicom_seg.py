"""DICOM segmentations, read back by pydicom alone and by highdicom."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from enhanced_ct import shuffled, write_enhanced
from full_disk import files_of_at_most
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pydicom.uid import EnhancedCTImageStorage
from toy_scans import toy_hu, toy_slice, write_series

from ct_lesion.prediction.dicom_seg import NEEDED, write_dicom_seg
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
    for index, file in enumerate(image.path for image in scan.dicom_images):
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


def test_lesions_are_segments_with_tracking_identifiers(scan, tmp_path):
    names = ["GGO 1", "Consolidation 2"]
    write_dicom_seg(tmp_path / "lesions.dcm", scan, toy_labels(scan), names, tracked=True)
    seg = hd.seg.segread(tmp_path / "lesions.dcm")
    found = [seg.get_segment_description(number) for number in seg.segment_numbers]
    assert [(d.segment_label, d.tracking_id) for d in found] == [(name, name) for name in names]
    assert len({d.tracking_uid for d in found}) == 2


def test_missing_attributes_are_named(tmp_path):
    def strip(ds, z):
        del ds.FrameOfReferenceUID

    scan = open_scan(write_series(tmp_path / "series", toy_hu(), edit=strip))
    reason = write_dicom_seg(tmp_path / "lesions.dcm", scan, toy_labels(scan), ["a", "b"])
    assert reason == "no DICOM segmentation: the images have no FrameOfReferenceUID"
    assert not (tmp_path / "lesions.dcm").exists()


def without_charset(ds: pydicom.Dataset, name: bytes, charset: bytes | None) -> None:
    """Give a slice a PatientName of these bytes, and a SpecificCharacterSet or none."""
    del ds.PatientName
    for tag, vr, value in ((0x00080005, "CS", charset), (0x00100010, "PN", name)):
        if value is not None:
            padded = value + b" " * (len(value) % 2)
            raw = RawDataElement(BaseTag(tag), vr, len(padded), padded, 0, False, True)
            ds._dict[BaseTag(tag)] = raw


GBK, LATIN = "测试^模体".encode("gbk"), "Müller^Test".encode("latin-1")


@pytest.mark.parametrize(
    ("name", "charset", "written", "written_charset"),
    [
        (LATIN, b"ISO_IR 100", "Müller^Test".encode(), "ISO_IR 192"),
        (LATIN, b"ISO 2022 IR 100", "Müller^Test".encode(), "ISO_IR 192"),
        (LATIN, b" ISO_IR 100 ", "Müller^Test".encode(), "ISO_IR 192"),
        (GBK, b"GB18030", "测试^模体".encode(), "ISO_IR 192"),
        (b"Plain^Name", b"Not Supplied", b"Plain^Name", "ISO_IR 192"),
        # unknown encoding: the source's bytes are kept
        (GBK, None, GBK, None),
        (LATIN, b"Not Supplied", LATIN, None),
        (LATIN, b"ISO 2022 IR 6\\IS", LATIN, None),
    ],
)
def test_names_of_any_character_set_are_copied(tmp_path, name, charset, written, written_charset):
    series = write_series(
        tmp_path / "series", toy_hu(), edit=lambda ds, z: without_charset(ds, name, charset)
    )
    scan = open_scan(series)
    path = tmp_path / "lesions.dcm"
    assert write_dicom_seg(path, scan, toy_labels(scan), ["GGO", "Lesion"]) is None
    seg = pydicom.dcmread(path)
    assert seg.get_item("PatientName").value.rstrip(b" ") == written
    assert seg.get("SpecificCharacterSet") == written_charset


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"StudyDate": "XXXXXXXX"}, {"StudyDate": ""}),
        ({"PatientBirthDate": "19000000"}, {"PatientBirthDate": ""}),
        ({"StudyTime": "anonym"}, {"StudyTime": ""}),
        ({"StudyDate": "20200230"}, {"StudyDate": ""}),
        ({"StudyDate": "20200229"}, {"StudyDate": "20200229"}),
        ({"PatientSex": "female"}, {"PatientSex": "F"}),
        ({"PatientSex": "weiblich"}, {"PatientSex": ""}),
        ({"PatientID": "../../etc/ab c"}, {"PatientID": "../../etc/ab c"}),
        ({"StudyInstanceUID": "ANON_8f3a11"}, {"StudyInstanceUID": "ANON_8f3a11"}),
    ],
)
def test_bad_text_tags_do_not_prevent_the_file(tmp_path, tags, expected):
    def edit(ds, z):
        with pydicom.config.disable_value_validation():
            for keyword, value in tags.items():
                setattr(ds, keyword, value)

    scan = open_scan(write_series(tmp_path / "series", toy_hu(), edit=edit))
    path = tmp_path / "lesions.dcm"
    assert write_dicom_seg(path, scan, toy_labels(scan), ["GGO", "Lesion"]) is None
    seg = pydicom.dcmread(path)
    assert {name: seg[name].value or "" for name in expected} == expected


def test_optional_tags_may_all_be_missing(tmp_path):
    """The slices are 2.5 mm apart, which is used as their thickness."""
    needed = {*NEEDED, "Modality", "ImageType", "Rows", "Columns", "PixelData"}

    def strip(ds, z):
        for element in [e for e in ds if e.tag.group != 0x28 and e.keyword not in needed]:
            del ds[element.tag]

    scan = open_scan(write_series(tmp_path / "series", toy_hu(), edit=strip))
    path = tmp_path / "lesions.dcm"
    assert write_dicom_seg(path, scan, toy_labels(scan), ["GGO", "Lesion"]) is None
    seg = pydicom.dcmread(path)
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == 2.5
    assert not seg.PatientID
    assert len(frames(path)) == 3


def test_a_segmentation_that_does_not_fit_on_the_disk_leaves_no_file(scan, tmp_path):
    with files_of_at_most(1000), pytest.raises(OSError, match="too large"):
        write_dicom_seg(tmp_path / "lesions.dcm", scan, toy_labels(scan), ["GGO", "Lesion"])
    assert [path.name for path in tmp_path.iterdir()] == ["series"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_of_an_enhanced_file_are_referred_to_by_number(tmp_path, orientation):
    made = [toy_slice(hu, z) for z, hu in enumerate(toy_hu())]
    for ds in made:
        ds.ImageOrientationPatient = orientation
    order = shuffled(12)
    made[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]  # not a slice
    source = write_enhanced(tmp_path / "e/e.dcm", [made[i] for i in order])
    scan = open_scan(source)
    path, labels = tmp_path / "lesions.dcm", toy_labels(scan)
    assert write_dicom_seg(path, scan, labels, ["GGO", "Consolidation"]) is None
    seg, uid = pydicom.dcmread(path), pydicom.dcmread(source).SOPInstanceUID
    found = frames(path)
    assert len(found) == 3
    for (segment, referenced, position, mask), groups in zip(
        found, seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert (referenced, reference.ReferencedSOPClassUID) == (uid, EnhancedCTImageStorage)
        z = order[reference.ReferencedFrameNumber - 1]
        assert position == pytest.approx(list(map(float, made[z].ImagePositionPatient)))
        (index,) = [i for i, mm in enumerate(scan.z_mm) if mm == pytest.approx(position[2])]
        turned = orientation[0] < 0
        assert np.array_equal(mask == 1, source_pixels(labels[index] == segment, turned))
    (series,) = seg.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [uid]
    # internal slices 3 and 4, as a viewer finds them
    numbers = [order.index(z) + 1 for z in (4, 5)]
    masks = hd.seg.segread(path).get_pixels_by_source_frame(
        uid, numbers, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(masks, [source_pixels(labels[i], turned) for i in (3, 4)])
