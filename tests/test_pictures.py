"""Pictures that are refused before they are decoded."""

import io

import pytest
from PIL import Image

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import LARGEST_PICTURE, check_picture_size, open_picture


def test_a_ct_slice_is_no_bomb():
    check_picture_size("slice.png", 2048, 2048)
    check_picture_size("slice.png", 1, LARGEST_PICTURE)


@pytest.mark.parametrize("size", [(1, LARGEST_PICTURE + 1), (10_000, 10_000), (0, 512), (512, -1)])
def test_sizes_that_no_slice_has(size):
    with pytest.raises(DatasetError, match=r"slice\.png: .* \d+ x -?\d+ pixels"):
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
        pytest.raises(DatasetError, match=r"scan\.png: not a picture"),
        open_picture(io.BytesIO(data.getvalue()), "scan.png"),
    ):
        pass


def test_a_fault_while_decoding(tmp_path):
    data = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(data, "PNG")
    (tmp_path / "cut.png").write_bytes(data.getvalue()[: data.tell() // 2])
    with (
        pytest.raises(DatasetError, match=r"cut\.png: cannot be read as a picture"),
        open_picture(tmp_path / "cut.png") as image,
    ):
        image.load()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="No such file"), open_picture(tmp_path / "no.png"):
        pass
