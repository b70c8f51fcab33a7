"""Hostile and damaged pictures, and archives of pictures."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import LOADED, Case, cut, file, flipped, many, variants
from PIL import Image, PngImagePlugin

GREY = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)


def encoded(kind: str, pixels: np.ndarray = GREY, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *more: bytes, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *more, chunk(b"IDAT", data)]
        + [chunk(b"IEND", b"")]
    )


def zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count % (1 << 20))), packer.flush()])


def _text_bomb() -> bytes:
    bomb = chunk(b"zTXt", b"k\0\0" + zeros(60_000_000))
    return png(64, 64, zlib.compress(bytes(65 * 64)), *[bomb] * 20)


def _long_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    for number in range(50):
        info.add_text(f"k{number}", "x" * 1_000_000)
    return encoded("PNG", pnginfo=info)


def _animation() -> bytes:
    other = Image.fromarray(255 - GREY)
    return encoded("PNG", save_all=True, append_images=[other])


def _bad_tiff() -> bytes:
    """A TIFF of one strip whose directory refers to itself as the next page."""
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return bytes(data)


def _wide_tiff() -> bytes:
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    for entry in range(12):
        place = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, place)[0] in (256, 257):
            struct.pack_into("<HII", data, place + 2, 4, 1, 100_000)
    return bytes(data)


def _many_scans() -> bytes:
    """A progressive JPEG with 3,000 copies of its last scan."""
    data = encoded("JPEG", progressive=True)
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * 3000 + b"\xff\xd9"


def _large_stack(folder: Path) -> Path:
    """200 links to a PNG of 4,096 x 4,096 pixels: 3.4 billion voxels in 16 kB."""
    (folder / "in").mkdir()
    (folder / "large").write_bytes(png(4096, 4096, zeros(4097 * 4096)))
    for number in range(200):
        (folder / "in" / f"{number}.png").symlink_to(folder / "large")
    return folder / "in"


def _large_tiff(folder: Path) -> Path:
    """A TIFF of 200 pages of 4,096 x 4,096 pixels."""
    page = Image.new("1", (4096, 4096))
    path = folder / "stack.tif"
    page.save(path, save_all=True, append_images=[page] * 199, compression="group4")
    return path


def _eps(name: str) -> Callable[[Path], Path]:
    """A program for Ghostscript, named like a picture."""
    program = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(canary) (w) file closefile\n"
    return file(name, program)


PICTURES: list[tuple[str, str, bytes, str]] = [
    # name, ending, content, what the error must say
    ("100 megapixels", ".png", png(10_000, 10_000, zeros(10_001 * 10_000)), "10000 x 10000"),
    ("100 megapixels claimed", ".png", png(10_000, 10_000, zlib.compress(b"")), "10000 x 10000"),
    ("2**31 pixels wide", ".png", png(2**31 - 1, 1, zlib.compress(b"")), "47 x 1|16 million"),
    ("of no pixels", ".png", png(0, 64, zlib.compress(b"")), "0 x 64|not a picture"),
    ("of too few rows", ".png", png(64, 64, zlib.compress(bytes(65 * 10))), LOADED),
    ("with other compression", ".png", png(64, 64, b"\xff" * 100), "broken data"),
    ("cut off after the header", ".png", encoded("PNG")[:40], "not a picture"),
    ("with compressed texts of 1.2 GB", ".png", _text_bomb(), "too large"),
    ("without end", ".png", encoded("PNG")[:-12], LOADED),
    ("with text of 50 MB", ".png", _long_text(), LOADED),
    ("with junk behind", ".png", encoded("PNG") + bytes(10_000), LOADED),
    ("empty", ".png", b"", "empty|not a picture"),
    ("of text", ".png", b"<html>404</html>", "not a picture"),
    (
        "of 16 bits in 5",
        ".png",
        png(64, 64, zlib.compress(bytes(65 * 64)), bits=5),
        "not a picture",
    ),
    ("cut off", ".jpg", encoded("JPEG")[:900], "truncated"),
    ("of 3,000 scans", ".jpg", _many_scans(), r"JPEG of 30\d\d scans"),
    ("cut off in its header", ".jpg", encoded("JPEG")[:100], "Truncated"),
    (
        "of 65535 x 65535",
        ".jpg",
        encoded("JPEG").replace(struct.pack(">HH", 64, 64), b"\xff\xff\xff\xff", 1),
        "65535 x 65535|16 million",
    ),
    ("of two frames", ".png", _animation(), "holds 2 frames"),
    ("of one marker", ".jpg", b"\xff\xd8" + b"\xff\xe0\xff\xff" * 1000, "Truncated"),
    ("that refers to itself", ".tif", _bad_tiff(), LOADED),
    ("of 100000 x 100000", ".tif", _wide_tiff(), "100000 x 100000|16 million"),
    ("cut off", ".tif", encoded("TIFF")[:-2000], "truncated"),
    (
        "of floats that are NaN",
        ".tif",
        encoded("TIFF", np.full((64, 64), np.nan, np.float32)),
        "NaN",
    ),
]


# Pillow fills the missing rows of a PNG with black; a deep picture is then refused as all black
BLACK = "8-bit values .*0:"
UNREADABLE = (
    "JPEG of|cannot be read as a picture|not a picture|is empty|[0-9] pixels|16 million|frames"
)


def _single() -> list[Case]:
    cases = []
    for name, ending, data, match in PICTURES:
        build = file(f"slice{ending}", data)
        for entry in ("deep_pictures", "classification_image", "segmentation_image"):
            if ending != ".tif" or entry == "deep_pictures":
                black = name == "of too few rows" and entry == "deep_pictures"
                cases.append(Case(f"{ending[1:]} {name}", entry, build, BLACK if black else match))
    for kind, ending in (("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tif")):
        unseen = "" if kind == "PNG" else f"a {kind} has no checksums: other pixels are read"
        for entry in ("scan", "segmentation_image"):
            files = cut(encoded(kind))
            cases.append(variants(f"{kind} truncated", entry, files, ending, UNREADABLE))
            files = flipped(encoded(kind))
            cases.append(variants(f"{kind} flipped", entry, files, ending, UNREADABLE, unseen))
    return cases


def _archive(**members: bytes) -> Callable[[Path], Path]:
    """A zip of one valid slice of each of two patients, and further members."""

    def build(folder: Path) -> Path:
        path = folder / "seg.zip"
        mask = encoded("PNG", np.pad(np.full((20, 20), 2, np.uint8), 22))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for patient in "01":
                archive.writestr(f"image/{patient}/0.jpg", encoded("JPEG"))
                archive.writestr(f"mask/{patient}/0.png", mask)
            for name, data in members.items():
                archive.writestr(name, data)
        return path

    return build


def good_archive() -> bytes:
    """The zip without further members."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return _archive()(Path(folder)).read_bytes()


def _link(folder: Path) -> Path:
    path = _archive()(folder)
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("image/2/0.jpg", "mask/2/0.png"):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return path


def _twice(folder: Path) -> Path:
    path = _archive()(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("image/0/0.jpg", encoded("JPEG", GREY[::-1]))
    return path


def _bomb_of_many(folder: Path) -> Path:
    """1.3 GB in 25 members, each small enough to be a slice."""
    path = _archive()(folder)
    data = bytes(50 << 20)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(25):
            archive.writestr(f"image/9/{number}.jpg", data)
    return path


def _patched(find: bytes, place: int, value: bytes, *, last: bool = False) -> Callable:
    """A zip with one field of a record changed."""

    def build(folder: Path) -> Path:
        path = _archive()(folder)
        data = bytearray(path.read_bytes())
        start = data.rfind(find) if last else data.find(find)
        data[start + place : start + place + len(value)] = value
        path.write_bytes(data)
        return path

    return build


_ENTRY = b"PK\x01\x02"  # signature of an entry of the zip's directory
LEADING_OUT = {
    "../image/2/0.jpg": encoded("JPEG"),
    "../mask/2/0.png": encoded("PNG", GREY * 0 + 1),
    "/tmp/canary/image/3/0.jpg": encoded("JPEG"),
    "/tmp/canary/mask/3/0.png": encoded("PNG", GREY * 0 + 1),
    "image/../0.jpg": b"",
    "image/../../../canary/0.jpg": encoded("JPEG"),
    "image\\..\\..\\canary.jpg": encoded("JPEG"),
}
ARCHIVES = [
    # harmless: no member's path is used for writing, so that patients 2 and 3 are read
    Case("names that lead out", "lesion_archive", _archive(**LEADING_OUT), LOADED),
    Case("links", "lesion_archive", _link, "image/2/0.jpg"),
    Case("a name twice", "lesion_archive", _twice, "second image"),
    Case(
        "member of 300 MB",
        "lesion_archive",
        _archive(**{"image/0/1.jpg": bytes(300 << 20), "mask/0/1.png": b""}),
        "314,572,800 bytes",
    ),
    Case("1.3 GB in many members", "lesion_archive", _bomb_of_many, "would unpack"),
    Case(
        "picture of 100 megapixels",
        "lesion_archive",
        _archive(**{"image/1/1.jpg": PICTURES[0][2], "mask/1/1.png": PICTURES[0][2]}),
        "10000 x",
    ),
    Case(
        "image of text",
        "lesion_archive",
        _archive(**{"image/1/1.jpg": b"text", "mask/1/1.png": b"text"}),
        "not a picture",
    ),
    Case("encrypted", "lesion_archive", _patched(_ENTRY, 8, b"\x01\x00"), "cannot be read"),
    Case(
        "unknown compression",
        "lesion_archive",
        _patched(_ENTRY, 10, b"\x63\x00"),
        "compression method",
    ),
    Case(
        "size that lies",
        "lesion_archive",
        _patched(_ENTRY, 24, b"\x10\x00\x00\x00"),
        "CRC",
    ),
    Case(
        "offset beyond the file",
        "lesion_archive",
        _patched(_ENTRY, 42, b"\xff\xff\xff\x7f"),
        "Truncated file header",
    ),
    Case(
        "directory beyond the file",
        "lesion_archive",
        _patched(b"PK\x05\x06", 16, b"\xff\xff\xff\x7f", last=True),
        "cannot be read",
    ),
    Case(
        "zip truncated",
        "lesion_archive",
        lambda f: many(f / "in", cut(_archive()(_made(f / "in")).read_bytes()[:-1]), ".zip"),
        "not a zip file",
    ),
    Case(
        "zip flipped",
        "lesion_archive",
        lambda f: many(f, flipped(_archive()(f).read_bytes(), 20), ".zip"),
        "faulty files, nothing was written",
    ),
    Case("zip of text", "lesion_archive", file("seg.zip", "no zip at all"), "not a zip"),
]


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _tree(**pictures: bytes) -> Callable[[Path], Path]:
    """Slices of three classes, five patients each; ``pictures`` replace some by their stems."""

    def build(folder: Path) -> Path:
        for label, name in enumerate(("Normal", "CP", "NCP")):
            for patient in range(5):
                path = folder / "images" / f"{name}_{label}{patient}_1_0000.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(pictures.get(path.stem, encoded("PNG")))
        return folder / "images"

    return build


COVIDX = [
    Case(f"{ending[1:]} {name}", "covidx_images", _tree(CP_11_1_0000=data), UNREADABLE)
    for name, ending, data, match in PICTURES
    if match != LOADED and ending != ".tif"
]
CASES = [
    *_single(),
    Case("EPS", "scan", _eps("a.png"), "not a picture"),
    Case("200 PNGs of 16 megapixels", "scan", _large_stack, "200 x 4096 x 4096 voxels"),
    Case("TIFF of 200 such pages", "scan", _large_tiff, "200 x 4096 x 4096 voxels"),
    Case("EPS", "segmentation_image", _eps("a.png"), "not a picture"),
    *ARCHIVES,
    *COVIDX,
]
