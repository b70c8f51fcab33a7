"""Hostile zips of DICOM files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

from cases import LOADED, Case, file
from dicom_cases import good_dicom

CONTENT = good_dicom()


def _zip(members: dict[str, bytes], change: Callable[[bytes], bytes] = bytes) -> object:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file("a.zip", change(buffer.getvalue()))


def _bomb(data: bytes) -> bytes:
    """The directory says that the member unpacks to 4 GB."""
    data = bytearray(data)
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = b"\xf0\xff\xff\xff"
    return bytes(data)


def _encrypted(data: bytes) -> bytes:
    """Sets the flag of encryption in both headers of the only member."""
    data = bytearray(data)
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _other_bytes(data: bytes) -> bytes:
    return data[:200] + bytes(b ^ 0xFF for b in data[200:240]) + data[240:]


ZIPS = {
    "one slice": (_zip({"a.dcm": CONTENT}), LOADED),
    "bomb": (_zip({"a.dcm": CONTENT}, _bomb), "would unpack to"),
    "encrypted": (_zip({"a.dcm": CONTENT}, _encrypted), "is encrypted"),
    "names that lead out": (_zip({"../a.dcm": CONTENT, "/b.dcm": CONTENT}), "lead out of the zip"),
    "a zip in it": (_zip({"a.zip": CONTENT}), "archives within the zip"),
    "no zip": (file("a.zip", CONTENT), "not a zip file"),
    "cut off": (_zip({"a.dcm": CONTENT}, lambda data: data[:-30]), "not a zip file"),
    "damaged member": (_zip({"a.dcm": CONTENT}, _other_bytes), "cannot be|no scan found"),
    "nothing": (_zip({}), "no scan found"),
    "no DICOM": (_zip({"a.txt": b"text", "b.png": b"x"}), "no scan found"),
}
CASES = [Case(f"zip {name}", "scan", build, match) for name, (build, match) in ZIPS.items()]
