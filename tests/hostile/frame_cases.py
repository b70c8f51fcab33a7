"""Hostile and damaged enhanced CT files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from cases import LOADED, Case, cut, flipped, variants
from enhanced_ct import enhanced_file, write_enhanced
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import RLELossless
from toy_scans import toy_hu, toy_slice

HU = toy_hu(6)
PIXELS = b"\xe0\x7f\x10\x00"


def _slices() -> list[Dataset]:
    return [toy_slice(hu, z) for z, hu in enumerate(HU)]


def _edited(edit: Callable[[Dataset], object]) -> Callable[[Path], Path]:
    return lambda folder: write_enhanced(folder / "e.dcm", _slices(), edit)


def _tag(**values: object) -> Callable[[Path], Path]:
    return _edited(lambda ds: [setattr(ds, name, value) for name, value in values.items()])


def _third(edit: Callable[[Dataset], object]) -> Callable[[Path], Path]:
    """Changes the functional groups of the third frame."""
    return _edited(lambda ds: edit(ds.PerFrameFunctionalGroupsSequence[2]))


def good(syntax: str | None = None) -> bytes:
    buffer = DicomBytesIO()
    enhanced_file(_slices(), syntax=syntax).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _bytes(change: Callable[[bytes], bytes], syntax: str | None = None) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = folder / "e.dcm"
        path.write_bytes(change(good(syntax)))
        return path

    return build


def _many_items(data: bytes) -> bytes:
    """Inserts a sequence of 2 million empty items before the pixels."""
    place = data.index(PIXELS)
    head = struct.pack("<HH2sHI", 0x5400, 0x0100, b"SQ", 0, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return data[:place] + head + b"\xfe\xff\x00\xe0\0\0\0\0" * 2_000_000 + end + data[place:]


def _two_positions(groups: Dataset) -> None:
    groups.PlanePositionSequence = [*groups.PlanePositionSequence] * 2


def _half(data: bytes) -> bytes:
    return data[: (data.index(PIXELS) + len(data)) // 2]


FRAMES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "as written": (_edited(lambda ds: None), LOADED),
    "two billion frames": (_tag(NumberOfFrames=2**31 - 1), "NumberOfFrames is 2,147,483,647"),
    "one frame more than groups": (_tag(NumberOfFrames=7), "of 6 frames"),
    "one frame fewer than groups": (_tag(NumberOfFrames=5), "of 6 frames"),
    "no number of frames": (_edited(lambda ds: ds.__delattr__("NumberOfFrames")), "is 0, but"),
    "no groups": (_tag(PerFrameFunctionalGroupsSequence=[]), "no PerFrameFunctional"),
    "two shared groups": (
        _tag(SharedFunctionalGroupsSequence=[Dataset(), Dataset()]), "several items"),
    "two positions of a frame": (_third(_two_positions), "PlanePositionSequence of frame 3 has 2"),
    "no position": (_third(lambda g: g.__delattr__("PlanePositionSequence")), "frame 3: no Image"),
    "no rescaling of a frame": (
        _third(lambda g: g.__delattr__("PixelValueTransformationSequence")), "no RescaleSlope"),
    "distorted": (
        _edited(lambda ds: [setattr(g.CTImageFrameTypeSequence[0], "VolumetricProperties",
                                    "DISTORTED") for g in ds.PerFrameFunctionalGroupsSequence]),
        "distorted image"),
    "Rows of 65535": (_tag(Rows=65535, Columns=65535), "65535 x 65535"),
    "half of the frames": (_edited(lambda ds: setattr(ds, "PixelData", ds.PixelData[:6144])),
                        "cut off"),
    "cut off in the pixels": (_bytes(_half), "cut off"),
    "cut off in compressed pixels": (_bytes(_half, RLELossless), "cut off"),
    "two million items": (_bytes(_many_items), "sequence items"),
    "3 MB of zeros after the frames": (_bytes(lambda d: d + bytes(3 << 20)), "bytes after"),
}  # fmt: skip

SAYS = "cannot be read|holds no image|cannot be decoded|modality unknown|HU|orientation|Rescale"
SAYS += "|[Ss]pacing|not a number|position|enhanced|multi-frame|acquisition|cut off|no scan found"
CASES = [
    *(Case(name, "scan", build, match) for name, (build, match) in FRAMES.items()),
    *(
        variants(f"enhanced truncated {s}", "scan", cut(good(s), 8), ".dcm", SAYS)
        for s in (None, RLELossless)
    ),
    variants(
        "enhanced flipped", "scan", flipped(good(), 16), ".dcm", SAYS,
        mixed="tags that are not used, and pixels, have no checksum",
    ),
]  # fmt: skip
