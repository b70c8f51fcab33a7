import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ct_lesion.data.datasets.splits import split_by_patients
from ct_lesion.data.prepare.cncb import find_slices, prepare_cncb
from ct_lesion.data.prepare.cncb_archive import Archive, pair_slices, read_labels
from ct_lesion.errors import DatasetError


@pytest.fixture
def folder(lesion_archive: Path, tmp_path: Path) -> Path:
    """A copy of the toy archive that a test may damage."""
    return Path(shutil.copytree(lesion_archive, tmp_path / "ct_lesion_seg"))


def prepare(folder: Path, output: Path) -> None:
    archive = Archive(folder)
    pairs = find_slices(archive)
    prepare_cncb(archive, pairs, split_by_patients([p.id for p in pairs], ["3"]), output)


def test_a_zip_and_its_folder_read_the_same(lesion_archive, tmp_path):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for file in lesion_archive.rglob("*.*"):
            zipped.write(file, f"some/prefix/{file.relative_to(lesion_archive).as_posix()}")
        zipped.writestr("__MACOSX/image/0/0.jpg", b"resource fork")
        zipped.writestr("../image/9/9.jpg", b"outside")
    from_zip, from_folder = Archive(path), Archive(lesion_archive)
    zip_pairs, problems = pair_slices(from_zip)
    assert problems == ["../image/9/9.jpg has no mask"]
    folder_pairs, _ = pair_slices(from_folder)
    assert [p.id for p in zip_pairs] == [p.id for p in folder_pairs]
    for a, b in zip(zip_pairs, folder_pairs, strict=True):
        np.testing.assert_array_equal(read_labels(from_zip, a), read_labels(from_folder, b))


def test_links_to_patient_folders_are_followed(lesion_archive, tmp_path):
    for kind in ("image", "mask"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "0").symlink_to(lesion_archive / kind / "0")
    assert len(find_slices(Archive(tmp_path))) == 3


def test_images_pair_by_name_whatever_the_format(folder):
    image = folder / "image" / "1" / "0.jpg"
    Image.open(image).save(image.with_suffix(".png"))
    image.unlink()
    pairs, problems = pair_slices(Archive(folder))
    assert not problems
    assert {p.image for p in pairs if str(p.id) == "1/0"} == {"image/1/0.png"}


def test_all_faults_are_reported_at_once_and_nothing_is_written(folder, tmp_path):
    small = np.zeros((10, 12), np.uint8)
    cv2.imwrite(str(folder / "mask/0/0.png"), small)
    cv2.imwrite(str(folder / "mask/0/1.png"), np.full((64, 64), 7, np.uint8))
    (folder / "image/1/0.jpg").write_bytes(b"")
    (folder / "image/1/1.jpg").write_bytes(b"no image at all")
    cv2.imwrite(str(folder / "mask/1/2.png"), np.zeros((64, 64), np.uint16))
    broken = (folder / "image/2/0.jpg").read_bytes()
    (folder / "image/2/0.jpg").write_bytes(broken[: len(broken) // 2])
    (folder / "mask/2/1.png").unlink()
    (folder / "image/2/2.jpg").unlink()
    with pytest.raises(DatasetError) as error:
        prepare(folder, tmp_path / "out")
    message = str(error.value)
    assert "8 faulty files, nothing was written" in message
    assert "image/2/1.jpg has no mask" in message
    assert "mask/2/2.png has no image" in message
    assert "mask/0/0.png has 12 x 10 pixels, but its image image/0/0.jpg has 64 x 64" in message
    assert "mask/0/1.png has the values 7, expected only 0, 1, 2, 3" in message
    assert "image/1/0.jpg is empty" in message
    assert "image/1/1.jpg is not a picture" in message
    assert "mask/1/2.png is a 16-bit image; save it with 8 bits" in message
    assert "image/2/0.jpg cannot be read as a picture" in message
    assert not (tmp_path / "out").exists()


def test_missing_partners_and_repeated_slices_are_named(folder):
    (folder / "mask/0/1.png").unlink()
    (folder / "image/2/2.jpg").unlink()
    Image.open(folder / "image/3/0.jpg").save(folder / "image/3/0.png")
    with pytest.raises(DatasetError) as error:
        find_slices(Archive(folder))
    message = str(error.value)
    assert "image/0/1.jpg has no mask" in message
    assert "mask/2/2.png has no image" in message
    assert "image/3/0.png is a second image of this slice" in message


def test_other_folders_and_files_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        Archive(tmp_path / "nothing")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(DatasetError, match="not a zip file"):
        Archive(tmp_path / "text.zip")
    with pytest.raises(DatasetError, match=r"no file image/<patient>/<slice>\.jpg"):
        find_slices(Archive(tmp_path))


def test_grey_masks_with_transparency_are_read(folder):
    path = folder / "mask/0/0.png"
    expected = np.asarray(Image.open(path))
    opaque = np.full_like(expected, 255)
    Image.fromarray(np.dstack([expected, opaque]), "LA").save(path)
    archive = Archive(folder)
    assert np.array_equal(read_labels(archive, find_slices(archive)[0]), expected)


def test_grey_masks_of_three_channels_are_read_and_coloured_ones_refused(folder):
    path = folder / "mask/0/0.png"
    grey = np.asarray(Image.open(path))
    Image.fromarray(np.dstack([grey] * 3)).save(path)
    archive = Archive(folder)
    pair = find_slices(archive)[0]
    np.testing.assert_array_equal(read_labels(archive, pair), grey)
    Image.fromarray(np.dstack([grey, grey, 3 - grey])).save(path)
    with pytest.raises(DatasetError, match="a colour image"):
        read_labels(archive, pair)
