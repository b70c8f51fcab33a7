"""Hostile and damaged DICOM slices."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
from cases import LOADED, Case, cut, flipped, variants
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from toy_scans import toy_hu, toy_slice, write_series

HU = toy_hu(4)


def _series(**values: object) -> Callable[[Path], Path]:
    """A series of four slices whose third has changed tags; ``None`` removes a tag."""

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
    """Set a tag; bytes are written to the file unchanged."""
    if isinstance(value, bytes) and keyword != "PixelData":
        tag = Tag(keyword)
        vr = pydicom.datadict.dictionary_VR(tag)
        ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    else:
        setattr(ds, keyword, value)


def _file(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A series whose third file has changed bytes."""

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
    """Replaces the length in the element of a tag (explicit VR, short or long form)."""
    offset = 6 if size == 2 else 8

    def change(data: bytes) -> bytes:
        place = data.index(tag) + offset
        return data[:place] + length + data[place + size :]

    return change


def _deep(data: bytes) -> bytes:
    """20,000 nested sequences before the pixels."""
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


def _compressed_and_zeros(folder: Path) -> Path:
    path = _compressed(32, 32)(folder)
    for file in path.iterdir():
        file.write_bytes(file.read_bytes() + bytes(3 << 20))
    return path


PADDING = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 100_000) + bytes(100_000)
PIXELS = 2 * 32 * 32
DICOM = {
    "Rows halved": (_series(Rows=16), "32 x 16"),
    "Rows doubled": (_series(Rows=64), "32 x 64"),
    "Rows of 0": (_series(Rows=0), "no image"),
    "Rows missing": (_series(Rows=None), "no image"),
    "Rows twice": (_series(Rows=[32, 32]), "Rows"),
    "Rows and Columns of 65535": (_series(Rows=65535, Columns=65535), "65535 x 65535"),
    "Columns doubled": (_series(Columns=64), "64 x 32"),
    "Columns 31": (_series(Columns=31), "31 x 32"),
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
    "NumberOfFrames -1": (_series(NumberOfFrames=-1), "multi-frame"),
    "NumberOfFrames of text": (_series(NumberOfFrames=b"many"), "multi-frame|cannot be read"),
    "NumberOfFrames of 2**70": (_series(NumberOfFrames=b"1180591620717411303424"), "frame|read"),
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
    "SliceThickness NaN": (_series(SliceThickness=b"nan "), LOADED),
    "SpacingBetweenSlices of 1e9": (_series(SpacingBetweenSlices=b"1e9 "), "thick"),
    "GantryDetectorTilt of text": (_series(GantryDetectorTilt=b"ab"), "cannot be read"),
    "no pixels": (_series(PixelData=None), "cut off"),
    "pixels of floats": (
        _file(lambda d: d.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF")), "FloatPixelData"),
    "half the pixels": (_series(PixelData=bytes(PIXELS // 2)), "cut off"),
    "twice the pixels": (_series(PixelData=bytes(2 * PIXELS)), "pixels take"),
    "pixels of 4 GB": (_file(_length(b"\xe0\x7f\x10\x00", b"\xfe\xff\xff\xff", 4)), "pixels take"),
    "pixels of no length": (
        _file(_length(b"\xe0\x7f\x10\x00", b"\xff\xff\xff\xff", 4)), "pixels take|read"),
    "tag of 64 kB": (_file(_length(b"\x28\x00\x30\x00DS", b"\xff\xff")), "t be read|cut off"),
    "tag beyond the file": (_file(_length(b"\x08\x00\x60\x00CS", b"\xfe\xff")), "2 scans"),
    "meta of 4 GB": (_file(lambda data: data[:140] + b"\xff" * 4 + data[144:]), LOADED),
    "nested sequences": (_file(_deep), "2 scans"),
    "cut off after its tags": (_file(lambda d: d[: d.index(b"\xe0\x7f\x10\x00")]), "cut off"),
    "junk": (_file(lambda data: data[:132] + bytes(range(256)) * 20), "2 scans"),
    "3 MB of zeros after the pixels": (_file(lambda d: d + bytes(3 << 20)), "bytes after"),
    "padding after the pixels": (_file(lambda d: d + PADDING), LOADED),
    "a block of zeros after the pixels": (_file(lambda d: d + bytes(2048)), LOADED),
    "3 MB of zeros after compressed pixels": (_compressed_and_zeros, "bytes after"),
    "compressed, Rows halved": (_compressed(16, 32), "32 x 16"),
    "compressed, Rows of 4096": (_compressed(4096, 4096), "4096 x 4096"),
    "compressed, Rows of 65535": (_compressed(65535, 65535), "65535 x 65535"),
    "compressed as it is not": (_file(lambda data: data.replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")), LOADED),
    "deflated bomb": (_file(lambda data: data.replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")), "deflated|read"),
    "implicit as explicit": (_file(lambda data: data.replace(
        b"1.2.840.10008.1.2.1\0", str(UID(ImplicitVRLittleEndian)).encode() + b"\0\0\0")), "read"),
}  # fmt: skip

UNREADABLE = "cannot be read as|holds no image|cannot be decoded|modality unknown"
SYNTAXES = (None, RLELossless, JPEGLSLossless)
CASES = [
    *(Case(name, "scan", build, match) for name, (build, match) in DICOM.items()),
    *(
        variants(f"DICOM truncated {s}", "scan", cut(good_dicom(s)), ".dcm", UNREADABLE)
        for s in SYNTAXES
    ),
    *(
        variants(
            f"DICOM flipped {s}",
            "scan",
            flipped(good_dicom(s), 60),
            ".dcm",
            f"{UNREADABLE}|HU|[Ss]pacing|orientation|Rescale|not a number",
            mixed="tags that are not used, and pixels, have no checksum",
        )
        for s in SYNTAXES
    ),
]
