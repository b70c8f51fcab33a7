"""Missing and contradicting orientations and voxel sizes of NIfTI, NRRD and MetaImage."""

import gzip
import struct

import numpy as np
import pytest
from nifti_bytes import edited, header_of
from toy_scans import all_values, toy_hu, write_volume

from ct_lesion.data.prepare.volume_pairs import LabelMap, VolumePair
from ct_lesion.data.prepare.volumes import check_pairs
from ct_lesion.errors import DatasetError
from ct_lesion.scans.sources import open_scan
from ct_lesion.scans.volume_files import VolumeFile
from ct_lesion.scans.volumes.headers import missing_geometry

# of write_volume: voxels of 0.7 x 0.8 x 2.5 mm from LPS (-11, 22, -33), in RAS
SFORM = [-0.7, 0, 0, 11, 0, -0.8, 0, -22, 0, 0, 2.5, -33]
UPSIDE_DOWN = [-0.7, 0, 0, 11, 0, -0.8, 0, -22, 0, 0, -2.5, -33 + 11 * 2.5]


@pytest.fixture
def volume(tmp_path):
    return edited(write_volume(tmp_path / "a.nii", toy_hu()), codes=(1, 1), sform=SFORM)


def finding(scan, code):
    return [found.message for found in scan.qc if found.code == code]


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0), (1, 2), (0, 4)])
def test_one_orientation_has_no_finding(volume, codes):
    scan = open_scan(edited(volume, codes=codes))
    assert scan.geometry.certain
    assert not finding(scan, "two_orientations") and not finding(scan, "no_orientation")
    assert scan.z_mm[0] == pytest.approx(-33)
    for form in scan.nifti.forms.values():
        np.testing.assert_allclose(form.ravel(), SFORM, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "used", "text"),
    [
        # the aligned sform is ignored by ITK: its first slice is 11 steps of 2.5 mm away
        ({"codes": (1, 2), "sform": UPSIDE_DOWN}, "qform", "its sform up to 27.5 mm off"),
        ({"codes": (2, 1), "sform": UPSIDE_DOWN}, "sform", "its qform up to 27.5 mm off"),
        # 11 steps that are 2.5 mm too long
        ({"codes": (0, 1), "pixdim": (0.7, 0.8, 5)}, "pixdim", "its sform up to 27.5 mm off"),
        ({"codes": (1, 0), "sform": UPSIDE_DOWN}, None, None),
    ],
)
def test_orientations_that_disagree_are_named(volume, fields, used, text):
    scan = open_scan(edited(volume, **fields))
    messages = finding(scan, "two_orientations")
    assert scan.geometry.certain == (not messages)
    if text is None:
        assert messages == []
    else:
        assert f"where {used} places them, {text}" in messages[0]
    upside_down = used == "sform"
    np.testing.assert_array_equal(all_values(scan), toy_hu()[:: -1 if upside_down else 1])


def test_no_orientation_is_named(volume):
    scan = open_scan(edited(volume, codes=(0, 0)))
    assert "gives no orientation" in finding(scan, "no_orientation")[0]
    assert scan.z_mm is None and not scan.geometry.certain
    assert scan.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize(("shift", "degrees"), [(0.5, "11.3"), (0.05, "1.1")])
def test_a_sheared_sform_is_refused_with_advice(volume, shift, degrees):
    """The z axis (0, shift, 2.5) leans by atan(shift / 2.5)."""
    sheared = [*SFORM[:6], shift, *SFORM[7:]]
    with pytest.raises(DatasetError, match=rf"sheared by {degrees} degrees.*Resample") as caught:
        open_scan(edited(volume, codes=(0, 1), sform=sheared))
    assert "ITK" not in str(caught.value) and "\n" not in str(caught.value)
    # with the advised qform
    (message,) = finding(open_scan(edited(volume, codes=(1, 1))), "two_orientations")
    assert f"its sform up to {11 * shift:.1f} mm off" in message


@pytest.mark.parametrize("side", [0, -2.5, np.nan])
def test_an_impossible_voxel_size_is_refused(volume, side):
    with pytest.raises(DatasetError, match=rf"gives a spacing of \(0\.69.*, {side:.1f}\) mm"):
        open_scan(edited(volume, pixdim=(0.7, 0.8, side)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": (540,)}, "NIfTI-2 is not supported"),
        ({"magic": (b"",)}, "Analyze"),
        ({"magic": (b"ni1",)}, "voxels in another file"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_nifti_2_and_analyze_are_refused(volume, fields, message, packed):
    path = edited(volume, **fields)
    if packed:
        path = path.with_suffix(".nii.gz")
        path.write_bytes(gzip.compress(volume.read_bytes()))
    with pytest.raises(DatasetError, match=f"cannot be read as a volume .*{message}"):
        open_scan(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("codes", [(1, 2), (0, 0), (3, 0)])
def test_the_header_of_labels_has_both_forms_of_the_input(volume, tmp_path, codes, order):
    edited(volume, codes=codes, sform=UPSIDE_DOWN, descrip=(b"Jane Doe",), scaling=(2, -1024))
    if order == ">":
        volume.write_bytes(big_endian(volume.read_bytes()))
    labels = tmp_path / "labels.nii"
    mask = np.arange(12 * 32 * 32, dtype=np.uint8).reshape(12, 32, 32)
    labels.write_bytes(header_of(volume).of_labels() + mask.tobytes())
    before, after = header_of(volume), header_of(labels)
    assert before.order == order
    assert before.forms.keys() == after.forms.keys()
    for name, form in before.forms.items():
        np.testing.assert_array_equal(after.forms[name], form)
    assert (after.size, after.datatype, after.start) == ((32, 32, 12), 2, 352)
    assert b"Jane" not in labels.read_bytes()[:352]
    read = VolumeFile(labels)
    assert read.geometry == VolumeFile(volume).geometry
    np.testing.assert_array_equal(np.concatenate(list(read.slabs())), mask)


def big_endian(content: bytes) -> bytes:
    """Swap the bytes of the voxels and of the header fields that are read."""
    swapped = bytearray(content)
    for offset, code in [
        (0, "i"), (40, "8h"), (70, "2h"), (76, "8f"), (108, "3f"), (252, "2h"), (256, "18f")
    ]:  # fmt: skip
        struct.pack_into(
            f">{code}", swapped, offset, *struct.unpack_from(f"<{code}", content, offset)
        )
    voxels = np.frombuffer(content, "<i2", offset=352)
    return bytes(swapped[:352]) + voxels.astype(">i2").tobytes()


def test_a_mask_must_store_its_voxels_like_an_image_of_uncertain_orientation(volume, tmp_path):
    """The mask fits the image's qform, but by the sform, the slices are in reverse order."""
    edited(volume, codes=(1, 2), sform=UPSIDE_DOWN)
    labels = LabelMap(["1=lesion"])
    mask = np.ones((12, 32, 32), np.uint8)
    same = write_volume(tmp_path / "same.nrrd", mask)
    assert check_pairs([VolumePair("p", "s", volume, same)], [], labels)
    turned = VolumeFile(same)
    path = write_volume(tmp_path / "m.nii", mask, (1, 0, 0, 0, 1, 0, 0, 0, -1))
    top = [-0.7, 0, 0, 11, 0, -0.8, 0, -22, 0, 0, -2.5, -33 + 11 * 2.5]
    edited(path, codes=(0, 1), sform=top)
    np.testing.assert_allclose(VolumeFile(path).geometry.corners, turned.geometry.corners)
    with pytest.raises(DatasetError, match="stored in another order"):
        check_pairs([VolumePair("p", "s", volume, path)], [], labels)


META = "ObjectType = Image\nNDims = 3\nDimSize = 32 32 12\nElementType = MET_SHORT\n{}"
META += "ElementDataFile = LOCAL\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 32 32 12\nencoding: raw\nendian: little\n{}\n"
SPACE = "space: left-posterior-superior\nspace directions: {}\n"


@pytest.mark.parametrize(
    ("ending", "lines", "spacing", "axes"),
    [
        ("mha", "", None, False),
        ("mha", "ElementSpacing = 0.7 0.8 2.5\n", (2.5, 0.8, 0.7), False),
        ("mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1\n", None, True),
        ("nrrd", "", None, False),
        ("nrrd", "spacings: 0.7 0.8 2.5\n", (2.5, 0.8, 0.7), False),
        ("nrrd", "spacings: 0.7 0.8 nan\n", None, False),
        ("nrrd", "thicknesses: nan nan 2.5\n", None, False),
        ("nrrd", SPACE.format("(0.7,0,0) (0,0.8,0) (0,0,2.5)"), (2.5, 0.8, 0.7), True),
        ("nrrd", SPACE.format("none (0,0.8,0) (0,0,2.5)"), None, True),
    ],
)
def test_missing_sizes_and_axes(tmp_path, ending, lines, spacing, axes):
    """ITK assumes 1 mm and LPS."""
    path = tmp_path / f"a.{ending}"
    header = {"mha": META, "nrrd": NRRD}[ending].format(lines)
    path.write_bytes(header.encode() + toy_hu().tobytes())
    scan = open_scan(path)
    np.testing.assert_array_equal(all_values(scan), toy_hu())
    assert scan.spacing_mm == (spacing if spacing is None else pytest.approx(spacing))
    assert bool(finding(scan, "no_orientation")) == (not axes) == (scan.z_mm is None)
    assert scan.geometry.certain == axes
    assert any("no spacing given" in text for text in finding(scan, "spacing")) == (not spacing)


def test_sheared_space_directions_are_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    header = NRRD.format(SPACE.format("(0.7,0,0) (0,0.8,0) (0,0.5,2.5)"))
    path.write_bytes(header.encode() + toy_hu().tobytes())
    with pytest.raises(DatasetError, match=r"its axes are sheared by 11\.3 degrees"):
        open_scan(path)


DIRECTIONS = "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)"


def header_file(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n\n")
    return path


@pytest.mark.parametrize(
    ("space", "no_orientation"),
    [
        ("space: left-posterior-superior", False),
        ("space: RAS", False),
        ("space: scanner-xyz", True),
        ("space dimension: 3", True),
    ],
)
def test_only_axes_of_the_patient_are_an_orientation(tmp_path, space, no_orientation):
    units = 'space units: "mm" "mm" "mm"'
    path = header_file(tmp_path, "a.nrrd", "NRRD0004", "dimension: 3", space, DIRECTIONS, units)
    assert missing_geometry(path) == (False, no_orientation)


@pytest.mark.parametrize(
    ("name", "lines", "unit"),
    [
        ("a.nrrd", ["NRRD0004", DIRECTIONS, 'space units: "microns" "microns" "microns"'], "micr"),
        ("a.nhdr", ["NRRD0004", "spacings: 0.07 0.08 0.25", 'units: "cm" "cm" "cm"'], "cm"),
        ("a.mha", ["ObjectType = Image", "ElementSpacing = 1 1 1", "DistanceUnits = um"], "um"),
    ],
)
def test_lengths_in_another_unit_are_refused(tmp_path, name, lines, unit):
    with pytest.raises(DatasetError, match=f"its lengths are in {unit}.*only mm are read"):
        missing_geometry(header_file(tmp_path, name, *lines))
