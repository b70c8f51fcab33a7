"""Hostile and damaged volumes: NIfTI, NRRD and MetaImage."""

from __future__ import annotations

import gzip
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import LOADED, Case, cut, file, flipped, variants
from toy_scans import toy_hu, write_volume

HU = toy_hu(4)


def _nifti(offset: int = 0, value: bytes = b"", ending: str = ".nii") -> bytes:
    """A NIfTI file of HU with changed bytes in its header."""
    data = bytearray(VALID[".nii"])
    data[offset : offset + len(value)] = value
    return gzip.compress(bytes(data), 1) if ending == ".nii.gz" else bytes(data)


def good_nifti_gz() -> bytes:
    """The NIfTI file of :data:`VALID`, compressed."""
    return _nifti(ending=".nii.gz")


def _volume(ending: str) -> bytes:
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
    "type complex": (70, struct.pack("<2h", 32, 64), "cut off|numbers per voxel"),
    "spacing NaN": (80, struct.pack("<3f", *[np.nan] * 3), "spacing of"),
    "spacing 0": (80, struct.pack("<3f", 0, 0, 0), "spacing of"),
    "spacing 1e30": (80, struct.pack("<3f", 1e30, 1e30, 1e30), "spacing|axes|read"),
    "offset NaN": (108, struct.pack("<f", np.nan), "read"),
    "offset infinite": (108, struct.pack("<f", np.inf), "read"),
    "offset beyond the file": (108, struct.pack("<f", 1e9), "cut off|read"),
    "offset negative": (108, struct.pack("<f", -1e6), "read"),
    "slope NaN": (112, struct.pack("<2f", np.nan, 0), LOADED),
    "slope 1e30": (112, struct.pack("<2f", 1e30, 0), "HU|infinite"),
    "affine NaN": (252, struct.pack("<2h", 0, 1) + struct.pack("<18f", *[np.nan] * 18), "origin"),
    "affine 0": (252, struct.pack("<2h", 0, 1) + bytes(72), "do not span a volume"),
    "magic": (344, b"abc\0", "magic"),
    "magic of a pair of files": (344, b"ni1\0", "magic"),
}  # fmt: skip


def _nifti_cases() -> list[Case]:
    return [
        Case(f"{ending} {name}", "scan", file(f"a{ending}", _nifti(offset, value, ending)), match)
        for name, (offset, value, match) in NIFTI_FIELDS.items()
        for ending in (".nii", ".nii.gz")
    ]


def _gzip_bomb(folder: Path) -> Path:
    """A small volume followed by 300 MB of zeros."""
    path = folder / "a.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(VALID[".nii"])
        for _ in range(30):
            file.write(bytes(10 << 20))
    return path


def _float_nan() -> bytes:
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
        "DimSize": "32 32 4", "ElementType": "MET_SHORT",
    } | {"ElementDataFile": "LOCAL", **fields}  # fmt: skip
    lines["ElementDataFile"] = lines.pop("ElementDataFile")  # the voxels follow it
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
    "more voxels than there are": ({"sizes": "32 32 400"}, "fread got only"),
    "spacing NaN": ({"space_directions": "(nan,0,0) (0,nan,0) (0,0,nan)"}, "SpaceVector"),
    "spacing 0": ({"space_directions": "(0,0,0) (0,0,0) (0,0,0)"}, "axes"),
    "origin NaN": ({"space_origin": "(nan,0,0)"}, "SpaceVector"),
    "type unknown": ({"type": "wibble"}, "read"),
    "encoding unknown": ({"encoding": "wibble"}, "read"),
    "skip of 2**62": ({"byte_skip": str(2**62)}, "EOF"),
    "skip of lines": ({"line_skip": str(2**31)}, "EOF"),
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
    "sizes missing": ({"DimSize": None}, "no DimSize"),
    "dimensions 99": ({"NDims": "99"}, "NDims"),
    "a slope": ({"ElementToIntensityFunctionSlope": "2"}, "scales the voxels"),
    "an intercept of text": ({"ElementToIntensityFunctionOffset": "x"}, "scales the voxels"),
    "a slope of 1": ({"ElementToIntensityFunctionSlope": "1.0"}, LOADED),
    "dimensions -1": ({"NDims": "-1"}, "NDims"),
    "more voxels than there are": ({"DimSize": "32 32 400"}, "cannot be read"),
    "spacing NaN": ({"ElementSpacing": "nan nan nan"}, "ElementSpacing"),
    "spacing 0": ({"ElementSpacing": "0 0 0"}, "spacing"),
    "axes 0": ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "axes"),
    "origin infinite": ({"Offset": "inf inf inf"}, "Offset"),
    "dimensions of 5,000 digits": ({"NDims": "3" * 5000}, "NDims"),
    "channels of 10**9": ({"ElementNumberOfChannels": "1000000000"}, "numbers per voxel"),
    "compressed size of 10**12": (
        {"CompressedData": "True", "CompressedDataSize": str(10**12)}, "CompressedData"),
    "compression of 5,000 digits": (
        {"CompressedData": "True", "CompressedDataSize": "1" * 5000}, "CompressedDataSize"),
    "raw voxels as compressed": (
        {"CompressedData": "true", "CompressedDataSize": "8192"}, "header check"),
    "header size of 10**12": ({"HeaderSize": str(10**12)}, "HeaderSize"),
    "header size within": ({"HeaderSize": "10"}, "HeaderSize"),
    "type unknown": ({"ElementType": "MET_WIBBLE"}, "ElementType"),
}  # fmt: skip


def _detached(name: str, header: bytes) -> Callable[[Path], Path]:
    """A header that refers to an existing file outside its folder."""

    def build(folder: Path) -> Path:
        (folder / "secret.raw").write_bytes(HU.tobytes())
        (folder / "in").mkdir()
        (folder / "in" / name).write_bytes(header)
        return folder / "in" / name

    return build


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


UNREADABLE = "cannot be read"
NO_CHECKSUM = "voxels, and fields that are not used, have no checksum"
GOOD_GZ = good_nifti_gz()
CASES = [
    *_nifti_cases(),
    *(Case(f".nrrd {n}", "scan", _detached("a.nrrd", _nrrd(**f)), s) for n, (f, s) in NRRD.items()),
    *(Case(f".mha {n}", "scan", _detached("a.mha", _meta(**f)), s) for n, (f, s) in META.items()),
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
    Case("NRRD named mha", "scan", file("a.mha", _nrrd(data_file="/etc/passwd")), "0 times"),
    Case(
        "MetaImage named nii",
        "scan",
        file("a.nii", _meta(ElementDataFile="/etc/passwd")),
        "no NIfTI header",
    ),
    Case("gzip bomb", "scan", _gzip_bomb, "more than the voxels"),
    Case("NaN voxel", "scan", file("a.nii", _float_nan()), "NaN"),
    Case("gzip of nothing", "scan", file("a.nii.gz", gzip.compress(b"")), "no NIfTI header"),
    Case(
        "gzip with other checksum",
        "scan",
        file("a.nii.gz", _nifti(ending=".nii.gz")[:-8] + bytes(8)),
        "CRC",
    ),
    *(
        variants(f"{e} flipped", "scan", flipped(data, 60), e, UNREADABLE, mixed=NO_CHECKSUM)
        for e, data in VALID.items()
    ),
    *(variants(f"{e} truncated", "scan", cut(data), e, UNREADABLE) for e, data in VALID.items()),
    variants(".nii.gz flipped", "scan", flipped(GOOD_GZ, 60), ".nii.gz", UNREADABLE),
    variants(".nii.gz truncated", "scan", cut(GOOD_GZ), ".nii.gz", UNREADABLE),
    *_lung_masks(),
]
