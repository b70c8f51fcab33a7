"""Pictures as slices: 8-bit, deeper with --hu or a window, and refusals."""

import cv2
import numpy as np
import pytest
from PIL import Image
from toy_scans import all_values, toy_grey, toy_hu, write_pictures

from ct_lesion.errors import DatasetError
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans, open_scan
from ct_lesion.scans.windows import Window

GREY = toy_grey()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_folder_is_a_scan_in_natural_order(tmp_path, ending):
    scan = open_scan(write_pictures(tmp_path / "p7", GREY, ending, first=2))
    np.testing.assert_array_equal(all_values(scan), GREY)  # 9 before 10
    assert scan.slice_names == [str(k) for k in range(2, 14)]
    assert (scan.name, scan.kind, scan.is_hu, scan.window) == ("p7", "pictures", False, None)
    assert scan.spacing_mm is None and scan.z_mm is None and scan.dicom_images is None
    assert any("already windowed" in note for note in scan.notes)
    mask = scan.mask_image(np.zeros((12, 32, 32), np.uint8))
    assert (mask.GetSize(), mask.GetSpacing()) == ((32, 32, 12), (1, 1, 1))
    assert any("spacing of 1 mm" in note for note in scan.notes)


def test_grey_pictures_saved_in_colour_are_grey(tmp_path):
    rgb = np.repeat(GREY[..., None], 3, axis=-1)
    write_pictures(tmp_path / "rgb", rgb)
    np.testing.assert_array_equal(all_values(open_scan(tmp_path / "rgb")), GREY)
    write_pictures(tmp_path / "jpg", rgb, "jpg")
    values = all_values(open_scan(tmp_path / "jpg")).astype(int)
    decoded = [cv2.imread(str(tmp_path / "jpg" / f"{k}.jpg"), 0) for k in range(12)]
    assert np.abs(values - np.stack(decoded)).max() <= 1


def test_colours_are_refused(tmp_path):
    rgb = np.repeat(GREY[..., None], 3, axis=-1)
    rgb[3, 5, 5] = (255, 0, 0)
    write_pictures(tmp_path / "p", rgb)
    with pytest.raises(DatasetError, match=r"3\.png is a colour picture .* by up to 255"):
        open_scan(tmp_path / "p").values(3)
    sixteen = np.zeros((32, 32, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "c.png"), sixteen)
    with pytest.raises(DatasetError, match=r"c\.png is a picture with 16-bit colours"):
        open_scan(tmp_path / "c.png")


def deep_pictures(tmp_path, kind):
    """Pictures that hold HU + 1024."""
    dtype = np.float32 if kind.startswith("float") else np.uint16
    return write_pictures(tmp_path / "d", (toy_hu() + 1024).astype(dtype), kind.split()[1])


@pytest.mark.parametrize("kind", ["16-bit png", "16-bit tif", "float tif"])
def test_more_than_8_bits_need_hu_or_a_window(tmp_path, kind):
    folder = deep_pictures(tmp_path, kind)
    with pytest.raises(DatasetError, match=r"more than 8 bits \(values from \d+ to \d+\).*--hu"):
        open_scan(folder)
    scan = open_scan(folder, ReadOptions(hu_offset=1024))
    assert scan.is_hu and scan.window is None
    np.testing.assert_array_equal(all_values(scan), toy_hu())
    np.testing.assert_array_equal(scan.grey(2), GREY[2])
    with pytest.raises(DatasetError, match=r"cannot be HU.*--hu 0 does not fit"):
        open_scan(folder, ReadOptions(hu_offset=0))
    shown = open_scan(folder, ReadOptions(window=Window(424, 1500)))
    assert not shown.is_hu and shown.window == Window(424, 1500)
    np.testing.assert_array_equal(all_values(shown), GREY)


def test_a_signed_tiff_can_hold_hu(tmp_path):
    (tmp_path / "s").mkdir()
    for index, pixels in enumerate(toy_hu()):
        assert cv2.imwrite(str(tmp_path / "s" / f"{index}.tif"), pixels)
    scan = open_scan(tmp_path / "s", ReadOptions(hu_offset=0))
    np.testing.assert_array_equal(all_values(scan), toy_hu())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_with_several_pages_is_a_scan(tmp_path, dtype):
    stored = GREY if dtype == np.uint8 else (toy_hu() + 1024).astype(dtype)
    pages = [Image.fromarray(pixels) for pixels in stored]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    write_pictures(tmp_path, GREY[:3])
    folder, stack = find_scans([tmp_path], options=ReadOptions(hu_offset=1024))
    assert (len(folder.open()), stack.name) == (3, "stack")
    scan = stack.open()
    np.testing.assert_array_equal(all_values(scan), GREY if dtype == np.uint8 else toy_hu())
    assert scan.slice_names[:2] == ["stack-0000", "stack-0001"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (GREY[0][:16], r"32 x 16 pixels.*32 x 32.*same size"),
        (GREY[0].astype(np.uint16), r"more than 8 bits.*same bit depth"),
    ],
)
def test_slices_of_different_sizes_or_depths_are_refused(tmp_path, other, message):
    write_pictures(tmp_path / "p", [*GREY, other])
    with pytest.raises(DatasetError, match=rf"12\.png .*{message}"):
        open_scan(tmp_path / "p")


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_broken_picture_is_named(tmp_path, content):
    write_pictures(tmp_path / "p", GREY)
    path = tmp_path / "p" / "6.png"
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(DatasetError, match=r"6\.png (is not a picture|cannot be read|is empty)"):
        open_scan(tmp_path / "p").values(6)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_the_exif_orientation_is_applied(tmp_path, ending):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    (tmp_path / "p").mkdir()
    for number, pixels in enumerate(GREY[:, :16]):
        Image.fromarray(pixels).save(tmp_path / f"p/{number}.{ending}", exif=exif, quality=100)
    values = all_values(open_scan(tmp_path / "p"))
    assert values.shape == (12, 32, 16)
    difference = values.astype(int) - np.rot90(GREY[:, :16], -1, axes=(1, 2)).astype(int)
    assert np.abs(difference).max() <= (2 if ending == "jpg" else 0)


def test_label_masks_are_refused(tmp_path):
    write_pictures(tmp_path / "mask", (GREY > 128).astype(np.uint8) * 3)
    with pytest.raises(DatasetError, match="8-bit values end at 3: a label mask"):
        open_scan(tmp_path / "mask")


def test_nan_is_refused(tmp_path):
    values = toy_hu().astype(np.float32)
    values[1, 0, 0] = np.nan
    scan_folder = write_pictures(tmp_path / "f", values, "tif")
    with pytest.raises(DatasetError, match=r"1\.tif contains NaN"):
        open_scan(scan_folder, ReadOptions(hu_offset=0)).values(1)


@pytest.mark.parametrize("name", ["{}_mask", "{}-label", "mask_{}", "{}_lung_mask", "{}_Seg"])
def test_masks_beside_slices_are_left_out(tmp_path, name):
    folder = write_pictures(tmp_path / "p", GREY)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 255
    for index in (0, 10):
        Image.fromarray(mask).save(folder / f"{name.format(index)}.png")
    scan = open_scan(folder)
    np.testing.assert_array_equal(all_values(scan), GREY)
    assert scan.slice_names == [str(k) for k in range(12)]
    (note,) = (note for note in scan.notes if "masks" in note and "left out" in note)
    assert f"left out 2 pictures named as masks, e.g. {name.format(0)}.png" == note


def test_pictures_named_by_position_are_in_the_order_of_the_numbers(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    places = range(-100, 20, 10)
    for place, pixels in zip(places, GREY, strict=True):
        Image.fromarray(pixels).save(folder / f"z_{place}.png")
    np.testing.assert_array_equal(all_values(open_scan(folder)), GREY)
