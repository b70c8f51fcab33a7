"""Facts read from image files, sound and damaged."""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from deadly_reader import read_or_die
from PIL import Image
from thin_scans import SIZE, thin_slices

from ct_lesion.audit.images.facts import facts_of_pixels, read_all_image_facts, read_image_facts


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return thin_slices()[0]


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    )


def test_a_sound_image(tmp_path: Path, image: np.ndarray) -> None:
    path = save(tmp_path / "a.png", image)
    facts = read_image_facts(path)
    assert facts.path == path and facts.problem is None and facts.problem_kind is None
    assert (facts.format, facts.mode, facts.bits) == ("PNG", "L", 8)
    assert (facts.width, facts.height) == (SIZE, SIZE)
    assert facts.file_bytes == path.stat().st_size
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.fingerprint.dtype == np.uint8 and facts.fingerprint.nbytes < 8192


def test_lossless_copies_have_the_same_pixels(tmp_path: Path, image: np.ndarray) -> None:
    colour = np.repeat(image[..., None], 3, axis=2)
    paths = [
        save(tmp_path / "a.png", image),
        save(tmp_path / "b.png", image, compress_level=1),
        save(tmp_path / "c.bmp", image),
        save(tmp_path / "d.tif", image),
        save(tmp_path / "e.png", colour),
    ]
    facts = [read_image_facts(path) for path in paths]
    assert len({f.pixels_sha256 for f in facts}) == 1
    assert len({f.sha256 for f in facts}) == 5
    assert [f.problem for f in facts] == [None] * 5
    other = facts_of_pixels(image.T, "other")
    assert other.pixels_sha256 != facts[0].pixels_sha256


def test_the_hash_of_pixels_depends_on_their_shape() -> None:
    line = np.arange(256, dtype=np.uint8)
    one, two = facts_of_pixels(line.reshape(16, 16), "a"), facts_of_pixels(line.reshape(8, 32), "b")
    assert one.pixels_sha256 != two.pixels_sha256


def test_border_numbers_by_hand() -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (32, 64)).astype(np.uint8)
    pixels[:8] = 10  # a quarter of the height
    pixels[:, 60:] = 11  # a sixteenth of the width, within the tolerance for JPEG
    border = facts_of_pixels(pixels, "a").border
    assert (border.top, border.bottom) == (0.25, 0.0)
    assert (border.left, border.right) == (0.0, 4 / 64)
    corners = [pixels[:2, :4], pixels[:2, -4:], pixels[-2:, :4], pixels[-2:, -4:]]
    assert border.corners == pytest.approx(np.mean([c.mean() for c in corners]) / 255)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_file_cut_anywhere_is_truncated(tmp_path: Path, image: np.ndarray, ending: str) -> None:
    whole = save(tmp_path / f"whole.{ending}", image).read_bytes()
    path = tmp_path / f"cut.{ending}"
    for end in (len(whole) - 1, len(whole) - 2, len(whole) - 20, len(whole) // 2, 400):
        path.write_bytes(whole[:end])
        facts = read_image_facts(path)
        assert facts.problem_kind == "truncated", (end, facts.problem)
        assert facts.pixels_sha256 is None and facts.fingerprint is None
        assert facts.sha256 is not None and facts.width == SIZE


def test_any_damaged_byte_of_a_png_is_detected(tmp_path: Path, image: np.ndarray) -> None:
    whole = save(tmp_path / "whole.png", image).read_bytes()
    path = tmp_path / "damaged.png"
    for place in np.random.default_rng(0).integers(8, len(whole) - 12, 40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(damaged))
        facts = read_image_facts(path)
        assert facts.problem is not None and facts.pixels_sha256 is None, place


def test_files_that_are_not_images_are_reported(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello " * 100)
    (tmp_path / "empty.png").touch()
    (tmp_path / "evil.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(tmp_path / "pipe.png")
    kinds = {
        "text.png": "not an image",
        "empty.png": "empty",
        "evil.eps": "not an image",
        "pipe.png": "not a file",
        ".": "not a file",
        "nowhere.png": "missing",
        "a\0b.png": "unreadable",
    }
    for name, kind in kinds.items():
        facts = read_image_facts(tmp_path / name)
        assert facts.problem_kind == kind, name
        assert "\n" not in facts.problem and facts.pixels_sha256 is None


def test_a_decompression_bomb_is_rejected_by_its_header(tmp_path: Path) -> None:
    # the data after the header is invalid: decoding it would give another error
    path = tmp_path / "bomb.png"
    data = png_chunk(b"IDAT", b"no pixels") + png_chunk(b"IEND", b"")
    path.write_bytes(png_header(10_000, 10_000) + data)
    facts = read_image_facts(path)
    assert facts.problem_kind == "too large"
    assert "10000 x 10000 pixels" in facts.problem and "16 million" in facts.problem
    path.write_bytes(png_header(60_000, 60_000) + data)
    assert read_image_facts(path).problem_kind == "too large"


def test_a_jpeg_with_a_thousand_scans_is_rejected(tmp_path: Path, image: np.ndarray) -> None:
    path = save(tmp_path / "scans.jpg", image)
    whole = path.read_bytes()
    scan = whole[whole.rfind(b"\xff\xda") : -2]
    path.write_bytes(whole[:-2] + scan * 1000 + b"\xff\xd9")
    assert read_image_facts(path).problem == "is a JPEG of 1001 scans: save it as PNG"


def test_wrong_modes_are_decoded_and_reported(tmp_path: Path, image: np.ndarray) -> None:
    deep = image.astype(np.uint16) * 250
    colour = np.stack([image, 255 - image, image], axis=2)
    cases = {
        "deep.png": (deep, 16),
        "colour.png": (colour, 8),
        "bits.png": (image > 128, 1),
        "float.tif": (image.astype(np.float32), 32),
    }
    for name, (pixels, bits) in cases.items():
        facts = read_image_facts(save(tmp_path / name, pixels))
        assert (facts.problem_kind, facts.bits) == ("wrong mode", bits), name
        assert facts.pixels_sha256
        # all pixels of a black and white image count as saturated
        assert (facts.fingerprint is None) == (name == "bits.png")


def test_a_turned_image_is_upright(tmp_path: Path, image: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    save(tmp_path / "turned.png", image[: SIZE // 2], exif=exif)
    save(tmp_path / "upright.png", np.rot90(image[: SIZE // 2], -1))
    turned, upright = (read_image_facts(tmp_path / f"{n}.png") for n in ("turned", "upright"))
    assert (turned.width, turned.height) == (SIZE // 2, SIZE)
    assert turned.pixels_sha256 == upright.pixels_sha256


def test_a_constant_image(tmp_path: Path) -> None:
    facts = read_image_facts(save(tmp_path / "a.png", np.full((40, 40), 7, np.uint8)))
    assert facts.problem == "is constant: all pixels are 7" and facts.problem_kind == "constant"
    assert facts.fingerprint is None and facts.border.corners == pytest.approx(7 / 255)


def test_nan_in_an_image_is_reported(tmp_path: Path) -> None:
    pixels = np.ones((32, 32), np.float32)
    pixels[3, 3] = np.nan
    facts = read_image_facts(save(tmp_path / "a.tif", pixels))
    assert (facts.problem_kind, facts.problem) == ("corrupt", "contains NaN or infinite values")


def test_many_files_keep_their_order(tmp_path: Path, image: np.ndarray) -> None:
    paths = [save(tmp_path / f"{n}.png", np.roll(image, n)) for n in range(3)]
    facts = read_all_image_facts([paths[2], str(paths[0]), paths[2], paths[1]])
    assert [f.path.name for f in facts] == ["2.png", "0.png", "2.png", "1.png"]
    assert read_all_image_facts([]) == []


def test_a_file_that_crashes_its_reader_affects_no_other_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ct_lesion.audit.images import facts as image_facts

    monkeypatch.setattr(image_facts, "read_image_facts", read_or_die)
    monkeypatch.setattr(image_facts, "CHUNK", 2)
    names = ["0", "1", "2", "deadly", *map(str, range(4, 9))]
    facts = read_all_image_facts(names, workers=2)
    assert [f.path.name for f in facts] == names
    assert [f.path.name for f in facts if f.problem] == ["deadly"]
    assert facts[3].problem_kind == "corrupt"
