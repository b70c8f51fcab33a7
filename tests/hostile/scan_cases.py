"""Hostile and damaged scans: DICOM, NIfTI, NRRD and MetaImage."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from cases import HARMLESS, Case, cut, flipped, many
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from toy_scans import toy_hu, toy_slice, write_series, write_volume

HU = toy_hu(4)


# ---- DICOM --------------------------------------------------------------------------------------
def _series(**values: object) -> Callable[[Path], Path]:
    """A series of four slices whose third has other values in some tags; ``None`` removes one."""

    def edit(ds: Dataset, z: int) -> None:
        if z != 2:
            return
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                _set(ds, keyword, value)

    return lambda folder: write_series(folder / "ct", HU, edit=edit)


def _set(ds: Dataset, keyword: str, value: object) -> None:
    """Put a value into a tag; bytes go into the file as they are."""
    if isinstance(value, bytes) and keyword != "PixelData":
        tag = Tag(keyword)
        vr = pydicom.datadict.dictionary_VR(tag)
        ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    else:
        setattr(ds, keyword, value)


def _file(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A series whose third file has other bytes."""

    def build(folder: Path) -> Path:
        path = write_series(folder / "ct", HU)
        third = sorted(path.iterdir())[2]
        third.write_bytes(change(third.read_bytes()))
        return path

    return build


def good_dicom(syntax: str | None = None) -> bytes:
    """One slice in a transfer syntax."""
    ds = toy_slice(HU[0], 0)
    if syntax:
        ds.compress(syntax)
    buffer = pydicom.filebase.DicomBytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _length(tag: bytes, length: bytes, size: int = 2) -> Callable[[bytes], bytes]:
    """Another length in the element of a tag (explicit VR, short or long form)."""
    offset = 6 if size == 2 else 8

    def change(data: bytes) -> bytes:
        place = data.index(tag) + offset
        return data[:place] + length + data[place + size :]

    return change


def _deep(data: bytes) -> bytes:
    """Sequences within each other, 20,000 deep, before the pixels."""
    item = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    place = data.index(b"\xe0\x7f\x10\x00")
    return data[:place] + item * 20_000 + data[place:]


def _compressed(rows: int, columns: int) -> Callable[[Path], Path]:
    def edit(ds: Dataset, z: int) -> None:
        ds.compress(RLELossless if z % 2 else JPEGLSLossless)
        if z == 2:
            ds.Rows, ds.Columns = rows, columns

    return lambda folder: write_series(folder / "ct", HU, edit=edit)


PIXELS = 2 * 32 * 32
DICOM = {
    "Rows halved": (_series(Rows=16), "pixels take 2,048 bytes"),
    "Rows doubled": (_series(Rows=64), "cut off"),
    "Rows of 0": (_series(Rows=0), "no image"),
    "Rows missing": (_series(Rows=None), "no image"),
    "Rows twice": (_series(Rows=[32, 32]), "Rows"),
    "Rows and Columns of 65535": (_series(Rows=65535, Columns=65535), "65535 x 65535"),
    "Columns doubled": (_series(Columns=64), "cut off"),
    "Columns 31": (_series(Columns=31), "pixels take"),
    "BitsAllocated 8": (_series(BitsAllocated=8, BitsStored=8, HighBit=7), "pixels take"),
    "BitsAllocated 32": (_series(BitsAllocated=32), "cut off"),
    "BitsAllocated 12": (_series(BitsAllocated=12), "BitsAllocated is 12"),
    "BitsAllocated 0": (_series(BitsAllocated=0), "BitsAllocated is 0"),
    "BitsAllocated 65535": (_series(BitsAllocated=65535), "BitsAllocated is 65535"),
    "BitsStored 64": (_series(BitsStored=64), "BitsStored 64"),
    "HighBit 99": (_series(HighBit=99), "HighBit 99"),
    "PixelRepresentation 7": (_series(PixelRepresentation=7), "PixelRepresentation"),
    "SamplesPerPixel 3": (_series(SamplesPerPixel=3), "colour"),
    "NumberOfFrames 10": (_series(NumberOfFrames=10), "multi-frame"),
    "NumberOfFrames -1": (_series(NumberOfFrames=-1), "NumberOfFrames"),
    "NumberOfFrames of text": (_series(NumberOfFrames=b"many"), "damaged|cannot be read"),
    "NumberOfFrames of 2**70": (_series(NumberOfFrames=b"1180591620717411303424"), "Frames|read"),
    "PixelSpacing 0": (_series(PixelSpacing=[0, 0]), "PixelSpacing"),
    "PixelSpacing negative": (_series(PixelSpacing=[-0.8, 0.7]), "PixelSpacing"),
    "PixelSpacing NaN": (_series(PixelSpacing=b"nan\\nan "), "PixelSpacing"),
    "PixelSpacing infinite": (_series(PixelSpacing=b"1e999\\1"), "PixelSpacing"),
    "PixelSpacing of text": (_series(PixelSpacing=b"a\\b "), "cannot be read"),
    "PixelSpacing once": (_series(PixelSpacing=b"0.8 "), "PixelSpacing"),
    "position NaN": (_series(ImagePositionPatient=b"nan\\0\\0 "), "ImagePositionPatient"),
    "position of 1e300": (_series(ImagePositionPatient=b"1e300\\0\\0 "), "ImagePositionPatient"),
    "position missing": (_series(ImagePositionPatient=None), "no ImagePositionPatient"),
    "position of two": (_series(ImagePositionPatient=b"0\\0 "), "ImagePositionPatient"),
    "orientation 0": (_series(ImageOrientationPatient=[0] * 6), "ImageOrientationPatient"),
    "orientation NaN": (_series(ImageOrientationPatient=b"nan\\0\\0\\0\\1\\0 "), "Orientation"),
    "orientation along one axis": (
        _series(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "ImageOrientationPatient"),
    "orientation missing": (_series(ImageOrientationPatient=None), "ImageOrientationPatient"),
    "RescaleSlope 0": (_series(RescaleSlope=0), "rescaling"),
    "RescaleSlope NaN": (_series(RescaleSlope=b"nan "), "RescaleSlope"),
    "RescaleIntercept 1e30": (_series(RescaleIntercept=b"1e30"), "RescaleIntercept"),
    "InstanceNumber of text": (_series(InstanceNumber=b"xy"), "cannot be read"),
    "SliceThickness NaN": (_series(SliceThickness=b"nan "), "SliceThickness"),
    "SpacingBetweenSlices of 1e9": (_series(SpacingBetweenSlices=b"1e9 "), "thick"),
    "GantryDetectorTilt of text": (_series(GantryDetectorTilt=b"ab"), "cannot be read"),
    "no pixels": (_series(PixelData=None), "cut off"),
    "half the pixels": (_series(PixelData=bytes(PIXELS // 2)), "cut off"),
    "twice the pixels": (_series(PixelData=bytes(2 * PIXELS)), "pixels take"),
    "pixels of 4 GB": (_file(_length(b"\xe0\x7f\x10\x00", b"\xfe\xff\xff\xff", 4)), "pixels take"),
    "pixels of no length": (
        _file(_length(b"\xe0\x7f\x10\x00", b"\xff\xff\xff\xff", 4)), "pixels take|read"),
    "tag of 64 kB": (_file(_length(b"\x28\x00\x30\x00DS", b"\xff\xff")), "t be read|cut off"),
    "tag beyond the file": (_file(_length(b"\x08\x00\x60\x00CS", b"\xfe\xff")), "s1_014"),
    "meta of 4 GB": (_file(lambda data: data[:140] + b"\xff" * 4 + data[144:]), HARMLESS),
    "nested sequences": (_file(_deep), "s1_014"),
    "cut off after its tags": (_file(lambda d: d[: d.index(b"\xe0\x7f\x10\x00")]), "cut off"),
    "junk": (_file(lambda data: data[:132] + bytes(range(256)) * 20), "s1_014"),
    "compressed, Rows halved": (_compressed(16, 32), "32 x 16"),
    "compressed, Rows of 4096": (_compressed(4096, 4096), "4096 x 4096"),
    "compressed, Rows of 65535": (_compressed(65535, 65535), "65535 x 65535"),
    "compressed as it is not": (_file(lambda data: data.replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")), HARMLESS),
    "deflated bomb": (_file(lambda data: data.replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")), "deflated|read"),
    "implicit as explicit": (_file(lambda data: data.replace(
        b"1.2.840.10008.1.2.1\0", str(UID(ImplicitVRLittleEndian)).encode() + b"\0\0\0")), "read"),
}  # fmt: skip


# ---- volumes ------------------------------------------------------------------------------------
def _nifti(offset: int = 0, value: bytes = b"", ending: str = ".nii") -> bytes:
    """A NIfTI file of HU with other bytes somewhere in its header."""
    data = bytearray(VALID[".nii"])
    data[offset : offset + len(value)] = value
    return gzip.compress(bytes(data), 1) if ending == ".nii.gz" else bytes(data)


def good_nifti_gz() -> bytes:
    """The volume of :data:`VALID`, packed."""
    return _nifti(ending=".nii.gz")


def _volume(ending: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return write_volume(Path(folder) / f"a{ending}", HU).read_bytes()


VALID = {ending: _volume(ending) for ending in (".nii", ".nrrd", ".mha")}
NIFTI_FIELDS = {
    "dims of 32767": (40, struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1), "voxels|cut off"),
    "dims negative": (40, struct.pack("<4h", 3, -32, 32, 4), "read|damaged"),
    "dims of 0": (40, struct.pack("<4h", 3, 32, 0, 4), "read|damaged"),
    "dimensions 99": (40, struct.pack("<h", 99), "read"),
    "dimensions -3": (40, struct.pack("<h", -3), "read"),
    "more slices than there are": (46, struct.pack("<h", 5), "cut off"),
    "type unknown": (70, struct.pack("<h", 999), "read"),
    "bits that do not fit": (72, struct.pack("<h", 8), "bits|read"),
    "type float64": (70, struct.pack("<2h", 64, 64), "cut off"),
    "type complex": (70, struct.pack("<2h", 32, 64), "cut off|numbers a voxel"),
    "spacing NaN": (80, struct.pack("<3f", *[np.nan] * 3), ""),
    "spacing 0": (80, struct.pack("<3f", 0, 0, 0), ""),
    "spacing 1e30": (80, struct.pack("<3f", 1e30, 1e30, 1e30), "spacing|axes|read"),
    "offset NaN": (108, struct.pack("<f", np.nan), "read"),
    "offset infinite": (108, struct.pack("<f", np.inf), "read"),
    "offset beyond the file": (108, struct.pack("<f", 1e9), "cut off|read"),
    "offset negative": (108, struct.pack("<f", -1e6), "read"),
    "slope NaN": (112, struct.pack("<2f", np.nan, 0), ""),
    "slope 1e30": (112, struct.pack("<2f", 1e30, 0), "HU|infinite"),
    "affine NaN": (252, struct.pack("<2h", 0, 1) + struct.pack("<18f", *[np.nan] * 18), ""),
    "affine 0": (252, struct.pack("<2h", 0, 1) + bytes(72), ""),
    "magic": (344, b"abc\0", ""),
}  # fmt: skip
HARMLESS_FIELDS = {"magic", "slope NaN", "spacing 0", "spacing NaN", "affine NaN", "affine 0"}


def _nifti_cases() -> list[Case]:
    cases = []
    for name, (offset, value, says) in NIFTI_FIELDS.items():
        for ending in (".nii", ".nii.gz"):
            expected = HARMLESS if name in HARMLESS_FIELDS else "refused"
            build = _write(f"a{ending}", _nifti(offset, value, ending))
            cases.append(Case(f"{ending} {name}", "scan", build, says, expected))
    return cases


def _write(name: str, data: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return build


def _gzip_bomb(folder: Path) -> Path:
    """A header of a small volume, and 300 MB of zeros behind it."""
    path = folder / "a.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(VALID[".nii"])
        for _ in range(30):
            file.write(bytes(10 << 20))
    return path


def _float_nan() -> bytes:
    import tempfile

    voxels = HU.astype(np.float32)
    voxels[1, 2, 3] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        return write_volume(Path(folder) / "a.nii", voxels).read_bytes()


def _nrrd(**fields: str) -> bytes:
    """An NRRD file of 16-bit voxels; ``None`` removes a line."""
    lines = {
        "type": "short", "dimension": "3", "sizes": "32 32 4", "endian": "little",
        "encoding": "raw", "space": "left-posterior-superior",
        "space directions": "(0.7,0,0) (0,0.8,0) (0,0,2.5)", "space origin": "(0,0,0)",
    } | {key.replace("_", " "): value for key, value in fields.items()}  # fmt: skip
    header = "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)
    return b"NRRD0004\n" + header.encode() + b"\n" + HU.astype("<i2").tobytes()


def _meta(**fields: str) -> bytes:
    lines = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False", "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "0.7 0.8 2.5",
        "DimSize": "32 32 4", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
    } | fields  # fmt: skip
    header = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
    return header.encode() + HU.astype("<i2").tobytes()


OUTSIDE = {
    "etc passwd": "/etc/passwd",
    "folder above": "../secret.raw",
    "folder within and out": "below/../../secret.raw",
    "Windows drive": "C:\\secret.raw",
}
NRRD = {
    **{f"voxels in {n}": ({"data_file": v}, "outside its own folder") for n, v in OUTSIDE.items()},
    **{f"voxels in {n}, other spelling": ({"DATAFILE": v}, "outside") for n, v in OUTSIDE.items()},
    "list that leads out": ({"data_file": "LIST\n/etc/passwd\n/etc/passwd"}, "outside"),
    "pattern that leads out": ({"data_file": "../%03d.raw 1 4 1"}, "outside"),
    "two data files": ({"data_file": "a.raw\ndata file: /etc/passwd"}, "outside"),
    "data file that is not there": ({"data_file": "none.raw"}, "read"),
    "sizes of 10**6": ({"sizes": "1000000 1000000 1000000"}, "voxels|read"),
    "sizes of 0": ({"sizes": "32 0 4"}, "read|damaged"),
    "sizes negative": ({"sizes": "32 -32 4"}, "read|damaged"),
    "sizes of 2**70": ({"sizes": "1180591620717411303424 1 1"}, "read|voxels"),
    "sizes of 10 GB, compressed": ({"sizes": "1024 1024 2000", "encoding": "gzip"}, "cannot hold"),
    "dimension 99": ({"dimension": "99"}, "read"),
    "more voxels than there are": ({"sizes": "32 32 400"}, ""),
    "spacing NaN": ({"space_directions": "(nan,0,0) (0,nan,0) (0,0,nan)"}, ""),
    "spacing 0": ({"space_directions": "(0,0,0) (0,0,0) (0,0,0)"}, ""),
    "origin NaN": ({"space_origin": "(nan,0,0)"}, ""),
    "type unknown": ({"type": "wibble"}, "read"),
    "encoding unknown": ({"encoding": "wibble"}, "read"),
    "skip of 2**62": ({"byte_skip": str(2**62)}, ""),
    "skip of lines": ({"line_skip": str(2**31)}, ""),
}
META = {
    **{f"voxels in {n}": ({"ElementDataFile": v}, "outside") for n, v in OUTSIDE.items()},
    "list that leads out": ({"ElementDataFile": "LIST\n/etc/passwd"}, "outside"),
    "pattern that leads out": ({"ElementDataFile": "../%03d.raw 1 4 1"}, "outside"),
    "a second data file": ({"Comment": "ElementDataFile = LOCAL\rx"}, "2 times"),
    "in other case": ({"elementdatafile": "LOCAL", "ElementDataFile": "/etc/passwd"}, "2 times"),
    "without data file": ({"ElementDataFile": None}, "0 times"),
    "data file that is not there": ({"ElementDataFile": "none.raw"}, "read"),
    "sizes of 10**6": ({"DimSize": "1000000 1000000 1000000"}, "voxels|read"),
    "sizes of 0": ({"DimSize": "32 0 4"}, "read|damaged"),
    "sizes negative": ({"DimSize": "32 -32 4"}, "read|damaged"),
    "sizes missing": ({"DimSize": None}, ""),
    "dimensions 99": ({"NDims": "99"}, ""),
    "dimensions -1": ({"NDims": "-1"}, ""),
    "more voxels than there are": ({"DimSize": "32 32 400"}, ""),
    "spacing NaN": ({"ElementSpacing": "nan nan nan"}, ""),
    "spacing 0": ({"ElementSpacing": "0 0 0"}, ""),
    "axes 0": ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, ""),
    "origin infinite": ({"Offset": "inf inf inf"}, ""),
    "channels of 10**9": ({"ElementNumberOfChannels": "1000000000"}, HARMLESS),
    "compressed size of 10**12": (
        {"CompressedData": "True", "CompressedDataSize": str(10**12)}, HARMLESS),
    "header size of 10**12": ({"HeaderSize": str(10**12)}, HARMLESS),
    "type unknown": ({"ElementType": "MET_WIBBLE"}, ""),
}  # fmt: skip


def _detached(name: str, header: bytes) -> Callable[[Path], Path]:
    """A header that points out of its folder, to a file that is there."""

    def build(folder: Path) -> Path:
        (folder / "secret.raw").write_bytes(HU.tobytes())
        (folder / "in").mkdir()
        (folder / "in" / name).write_bytes(header)
        return folder / "in" / name

    return build


def _variants(name: str, variants: list[bytes], ending: str, entry: str = "scan") -> Case:
    return Case(name, entry, lambda folder: many(folder, variants, ending), expected=HARMLESS)


def _case(name: str, build: Callable[[Path], Path], says: str) -> Case:
    if says == HARMLESS:
        return Case(name, "scan", build, expected=HARMLESS)
    return Case(name, "scan", build, says)


def _lung_masks() -> list[Case]:
    def in_one(name: str, data: bytes) -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            (folder / "scan.nii").write_bytes(VALID[".nii"])
            (folder / name).write_bytes(data)
            return folder / name

        return build

    return [
        Case("other folder", "lung_mask", in_one("m.mha", _meta(ElementDataFile="/etc/passwd")),
             "outside"),
        Case("absurd", "lung_mask", in_one("m.nrrd", _nrrd(sizes="99999 99999 9")), "voxels|read"),
        Case("cut off", "lung_mask", in_one("m.nii", VALID[".nii"][:-99]), "cut off"),
        Case("other kind", "lung_mask", in_one("m.png", b"junk"), "not NIfTI"),
    ]  # fmt: skip


CASES = [
    *(_case(name, build, says) for name, (build, says) in DICOM.items()),
    *_nifti_cases(),
    *(Case(f".nrrd {n}", "scan", _detached("a.nrrd", _nrrd(**f)), s) for n, (f, s) in NRRD.items()),
    *(_case(f".mha {n}", _detached("a.mha", _meta(**f)), s) for n, (f, s) in META.items()),
    *(
        Case(f".nhdr {n}", "scan", _detached("a.nhdr", _nrrd(**f)), s)
        for n, (f, s) in NRRD.items()
        if "voxels in" in n or "lead" in n
    ),
    *(
        Case(f".mhd {n}", "scan", _detached("a.mhd", _meta(**f)), s)
        for n, (f, s) in META.items()
        if "voxels in" in n or "lead" in n
    ),
    Case("NRRD named mha", "scan", _write("a.mha", _nrrd(data_file="/etc/passwd")), "0 times"),
    Case("MetaImage named nii", "scan", _write("a.nii", _meta(ElementDataFile="/etc/passwd")), ""),
    Case("gzip bomb", "scan", _gzip_bomb, "more than the voxels"),
    Case("NaN voxel", "scan", _write("a.nii", _float_nan()), "NaN"),
    Case("gzip of nothing", "scan", _write("a.nii.gz", gzip.compress(b"")), ""),
    Case(
        "gzip with other checksum",
        "scan",
        _write("a.nii.gz", _nifti(ending=".nii.gz")[:-8] + bytes(8)),
        "CRC",
    ),
    *(
        _variants(f"DICOM flipped {s}", flipped(good_dicom(s), 60), ".dcm")
        for s in (None, RLELossless, JPEGLSLossless)
    ),
    *(
        _variants(f"DICOM truncated {s}", cut(good_dicom(s)), ".dcm")
        for s in (None, RLELossless, JPEGLSLossless)
    ),
    *(_variants(f"{e} flipped", flipped(data, 60), e) for e, data in VALID.items()),
    *(_variants(f"{e} truncated", cut(data), e) for e, data in VALID.items()),
    _variants(".nii.gz flipped", flipped(_nifti(ending=".nii.gz"), 60), ".nii.gz"),
    _variants(".nii.gz truncated", cut(_nifti(ending=".nii.gz")), ".nii.gz"),
    *_lung_masks(),
]
