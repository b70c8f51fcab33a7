"""Reading picture files: limits, bit depth and EXIF orientation."""

import io
import pickle

import numpy as np
import pytest
from full_disk import files_of_at_most
from PIL import Image, PngImagePlugin

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import (
    LARGEST_PICTURE,
    ImageHeader,
    PictureError,
    check_picture_size,
    open_picture,
    read_8_bit,
    read_image_header,
    upright,
    write_picture,
)

ORIENTATION = 0x0112
PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
UPRIGHT = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.T,
    6: np.rot90(PIXELS, -1),
    7: PIXELS[::-1, ::-1].T,
    8: np.rot90(PIXELS),
}
"""The upright pixels by EXIF orientation, as EXIF 2.32 (tag 0x0112) defines it."""


def test_ct_slices_are_below_the_limit():
    check_picture_size("slice.png", 2048, 2048)
    check_picture_size("slice.png", 1, LARGEST_PICTURE)


@pytest.mark.parametrize("size", [(1, LARGEST_PICTURE + 1), (10_000, 10_000), (0, 512), (512, -1)])
def test_sizes_of_no_slice_are_refused(size):
    with pytest.raises(DatasetError, match=r"slice\.png .* \d+ x -?\d+ pixels"):
        check_picture_size("slice.png", *size)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_formats_that_are_read(kind, tmp_path):
    Image.new("L", (8, 6), 100).save(tmp_path / "slice", kind)
    with open_picture(tmp_path / "slice") as image:
        assert image.size == (8, 6)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PCX"])
def test_formats_whose_decoders_are_not_tried(kind):
    data = io.BytesIO()
    Image.new("L", (8, 6), 100).save(data, kind)
    with (
        pytest.raises(DatasetError, match=r"scan\.png is not a picture"),
        open_picture(io.BytesIO(data.getvalue()), "scan.png"),
    ):
        pass


def test_a_truncated_picture_fails_during_decoding(tmp_path):
    data = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(data, "PNG")
    (tmp_path / "cut.png").write_bytes(data.getvalue()[: data.tell() // 2])
    with (
        pytest.raises(DatasetError, match=r"cut\.png cannot be read as a picture"),
        open_picture(tmp_path / "cut.png") as image,
    ):
        image.load()


def test_a_missing_file(tmp_path):
    with pytest.raises(DatasetError, match="No such file"), open_picture(tmp_path / "no.png"):
        pass


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


@pytest.mark.parametrize(
    ("name", "mode", "bits"),
    [
        ("a.png", "1", 1),
        ("a.png", "L", 8),
        ("a.png", "P", 8),
        ("a.png", "RGB", 8),
        ("a.png", "I;16", 16),
        ("a.jpg", "L", 8),
        ("a.jpg", "RGB", 8),
        ("a.tif", "1", 1),
        ("a.tif", "L", 8),
        ("a.tif", "I;16", 16),
        ("a.tif", "F", 32),
        ("a.bmp", "L", 8),
    ],
)
def test_header_of_formats(tmp_path, name, mode, bits):
    Image.new(mode, (20, 10)).save(tmp_path / name)
    assert read_image_header(tmp_path / name) == ImageHeader(20, 10, bits)


def test_an_8_bit_tiff_with_16_in_an_offset_has_8_bits(tmp_path):
    # Pillow lists the directory's offset among the decoder's arguments of a compressed TIFF
    path = tmp_path / "a.tif"
    for length in range(400):
        pixels = np.random.default_rng(0).integers(0, 255, (4, 100 + length)).astype(np.uint8)
        Image.fromarray(pixels).save(path, compression="tiff_lzw")
        with Image.open(path) as image:
            if "16" in str(image.tile[0][3]):
                break
    assert "16" in str(image.tile[0][3])
    assert read_image_header(path).bits == 8
    np.testing.assert_array_equal(np.asarray(read_8_bit(path)), pixels)


@pytest.mark.parametrize(("name", "mode"), [("a.png", "I;16"), ("a.tif", "I;16"), ("a.tif", "F")])
def test_deep_pictures_are_not_read_as_8_bit(tmp_path, name, mode):
    Image.new(mode, (20, 10)).save(tmp_path / name)
    with pytest.raises(PictureError, match=r"a\.(png|tif) is a (16|32)-bit image.*8 bits") as error:
        read_8_bit(tmp_path / name)
    assert error.value.kind == "wrong mode"


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF LZW", "JPEG", "PNG 16"])
def test_the_exif_orientation_is_applied(tmp_path, kind, orientation):
    kind, _, more = kind.partition(" ")
    options = {"exif": with_orientation(orientation)}
    pixels, expected = PIXELS, UPRIGHT[orientation]
    if more == "LZW":
        options["compression"] = "tiff_lzw"
    if more == "16":
        pixels, expected = PIXELS.astype(np.uint16) * 100, expected.astype(np.uint16) * 100
    if kind == "JPEG":  # blocks of one value survive its compression
        pixels, expected = (np.kron(p, np.ones((8, 8), np.uint8)) for p in (pixels, expected))
        options["quality"] = 100
    path = tmp_path / "picture"
    Image.fromarray(pixels).save(path, kind, **options)
    with open_picture(path) as image:
        decoded = np.asarray(upright(image))
    assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= (kind == "JPEG")
    assert read_image_header(path)[:2] == expected.shape[::-1]


def test_a_png_with_its_orientation_after_the_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    plain = path.read_bytes()
    Image.fromarray(PIXELS).save(path, exif=with_orientation(6))
    turned = path.read_bytes()
    start = turned.index(b"eXIf") - 4
    end = turned.index(b"IDAT") - 4
    path.write_bytes(plain[:-12] + turned[start:end] + plain[-12:])
    assert read_image_header(path) == ImageHeader(4, 6, 8, orientation=6)
    np.testing.assert_array_equal(np.asarray(read_8_bit(path)), UPRIGHT[6])


def test_a_png_with_its_orientation_in_xmp(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="8"/>')
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    assert read_image_header(tmp_path / "a.png") == ImageHeader(4, 6, 8, orientation=8)
    np.testing.assert_array_equal(np.asarray(read_8_bit(tmp_path / "a.png")), UPRIGHT[8])


def test_an_unreadable_exif_block_counts_as_no_orientation(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\0\0not TIFF")
    assert read_image_header(tmp_path / "a.png") == ImageHeader(6, 4, 8)
    np.testing.assert_array_equal(np.asarray(read_8_bit(tmp_path / "a.png")), PIXELS)


def test_a_damaged_png_is_not_decoded_to_black_when_its_exif_is_read(tmp_path):
    Image.fromarray(np.tile(PIXELS, (16, 16))).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) - 40])
    with pytest.raises(PictureError, match=r"a\.png cannot be read as a picture"):
        read_8_bit(tmp_path / "a.png")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(PictureError, match=r"a\.png is empty\.") as error:
        read_8_bit(tmp_path / "a.png")
    assert error.value.kind == "empty"
    sent = pickle.loads(pickle.dumps(error.value))  # between processes
    assert (str(sent), sent.kind, sent.what) == (str(error.value), "empty", "is empty")


def test_written_pictures_are_grey_or_rgb(tmp_path):
    colours = np.stack([PIXELS, PIXELS // 2, PIXELS // 3], axis=-1)
    for name, pixels in (("grey", PIXELS), ("colour", colours)):
        write_picture(tmp_path / "new" / f"{name}.png", pixels)
        assert np.array_equal(Image.open(tmp_path / "new" / f"{name}.png"), pixels)


def test_a_picture_that_cannot_be_written_raises_an_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    with files_of_at_most(1000), pytest.raises(OSError, match="too large") as error:
        write_picture(tmp_path / "slice.png", noise)
    assert error.value.filename == str(tmp_path / "slice.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(FileExistsError):
        write_picture(tmp_path / "link.png", PIXELS)
    assert not (tmp_path / "elsewhere.png").exists()
