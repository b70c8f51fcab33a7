"""Finding and reading masks of patients, and refusing masks that cannot be compared."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_scans import write_pictures, write_volume

from ct_lesion.errors import DatasetError, UserError
from ct_lesion.report.masks.mask_sets import (
    ONE_PATIENT,
    check_fit,
    common_patients,
    find_masks,
    read_mask,
)


def labels(seed: int = 0) -> np.ndarray:
    """(3, 8, 8) values 0 to 2, asymmetric along all axes."""
    return np.random.default_rng(seed).integers(0, 3, (3, 8, 8)).astype(np.uint8)


def test_folders_of_volumes_of_predictions_and_of_pictures(tmp_path):
    write_volume(tmp_path / "flat/a.nii.gz", labels())
    write_volume(tmp_path / "flat/b 1.nrrd", labels())
    write_volume(tmp_path / "predicted/a/lesions.nii.gz", labels())
    write_pictures(tmp_path / "predicted/a/overlays", labels())
    write_pictures(tmp_path / "png/a", labels())
    (tmp_path / "png/a/notes.txt").write_text("no mask")
    flat = find_masks("x", tmp_path / "flat").files
    assert next(iter(flat)) == "a" and [*flat][1].startswith("b_1-")
    assert [*find_masks("x", tmp_path / "predicted").files] == ["a"]
    pictures = find_masks("x", tmp_path / "png").files["a"]
    assert [path.name for path in pictures] == ["0.png", "1.png", "2.png"]
    assert [*find_masks("x", tmp_path / "png/a").files] == [ONE_PATIENT]
    assert [*find_masks("x", tmp_path / "flat/a.nii.gz").files] == [ONE_PATIENT]


def test_masks_that_cannot_be_assigned_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_masks("x", tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no NIfTI"):
        find_masks("x", tmp_path)
    write_volume(tmp_path / "two/a/one.nii", labels())
    write_volume(tmp_path / "two/a/other.nii", labels())
    with pytest.raises(UserError, match="2 masks of patient a"):
        find_masks("x", tmp_path / "two")
    write_pictures(write_pictures(tmp_path / "mixed", labels()) / "a", labels())
    with pytest.raises(UserError, match="beside folders"):
        find_masks("x", tmp_path / "mixed")


def test_patients_that_are_missing_or_extra(tmp_path):
    for name, patients in (("truth", "abc"), ("one", "ab"), ("other", "abcd")):
        for patient in patients:
            write_pictures(tmp_path / name / patient, labels())
    sets = [find_masks(name, tmp_path / name) for name in ("truth", "one", "other")]
    with pytest.raises(UserError, match=r"truth has no mask of 1 patient: d; one has no .*: c, d"):
        common_patients(sets, only_common=False)
    common, lines = common_patients(sets, only_common=True)
    assert all([*one.files] == ["a", "b"] for one in common)
    assert len(lines) == 2
    write_pictures(tmp_path / "third/z", labels())
    third = find_masks("third", tmp_path / "third")
    with pytest.raises(UserError, match="No patient is in all"):
        common_patients([sets[1], third], only_common=True)
    with pytest.raises(UserError, match="no mask"):  # both sets name their patient
        common_patients([third, find_masks("y", _one(tmp_path / "y/a"))], only_common=False)
    pair, _ = common_patients([third, find_masks("y", tmp_path / "y/a")], only_common=False)
    assert [[*one.files] for one in pair] == [["z"], ["z"]]


def _one(folder: Path) -> Path:
    return write_pictures(folder, labels()).parent


def test_volumes_are_compared_in_space(tmp_path):
    voxels = labels()
    turned = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    write_volume(tmp_path / "truth.nii", voxels)
    truth = read_mask(find_masks("truth", tmp_path / "truth.nii", frozenset({2})), ONE_PATIENT)
    assert truth.voxel_ml == pytest.approx(0.7 * 0.8 * 2.5 / 1000)
    assert truth.values == {1, 2}
    assert (truth.voxels == (voxels == 2)).all()
    import SimpleITK as sitk

    image = sitk.Flip(sitk.ReadImage(str(tmp_path / "truth.nii")), [True, True, False])
    sitk.WriteImage(image, str(tmp_path / "turned.nii"))
    assert not np.array_equal(sitk.GetArrayFromImage(image), voxels), "stored in another order"
    other = read_mask(find_masks("x", tmp_path / "turned.nii"), ONE_PATIENT)
    check_fit(other, truth)
    assert (other.voxels == (voxels > 0)).all()
    write_volume(tmp_path / "moved.nii", voxels, turned)  # the same origin, opposite direction
    moved = read_mask(find_masks("x", tmp_path / "moved.nii"), ONE_PATIENT)
    with pytest.raises(DatasetError, match="does not fit its truth"):
        check_fit(moved, truth)


def test_slices_of_pictures_must_have_the_same_names(tmp_path):
    write_pictures(tmp_path / "truth", labels())
    write_pictures(tmp_path / "other", labels(), first=1)
    write_pictures(tmp_path / "fewer", labels()[:2])
    truth, other, fewer = (
        read_mask(find_masks(name, tmp_path / name), ONE_PATIENT)
        for name in ("truth", "other", "fewer")
    )
    assert truth.voxel_ml is None
    for mask, message in ((other, "lacks 0"), (fewer, "lacks 2")):
        with pytest.raises(DatasetError, match=message):
            check_fit(mask, truth)
    image = np.zeros((8, 8, 8), np.float32)
    write_volume(tmp_path / "other.nii", image)
    volume = read_mask(find_masks("x", tmp_path / "other.nii"), ONE_PATIENT)
    with pytest.raises(DatasetError, match="8 x 8 x 8 voxels, but its truth"):
        check_fit(volume, truth)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.arange(64, dtype=np.uint8).reshape(8, 8), "64 different values"),
        (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), "Threshold probabilities"),
        (np.full((8, 8), -1, np.int16), "a mask holds 0, 1, 2"),
    ],
)
def test_what_is_not_a_mask_is_refused(pixels, message, tmp_path):
    write_volume(tmp_path / "x.nii", np.stack([pixels] * 3))
    with pytest.raises(DatasetError, match=message):
        read_mask(find_masks("x", tmp_path / "x.nii"), ONE_PATIENT)


def test_a_coloured_mask_is_refused_and_a_grey_one_in_colours_read(tmp_path):
    grey = np.repeat(labels()[0][..., None], 3, axis=2)
    (tmp_path / "grey").mkdir()
    Image.fromarray(grey).save(tmp_path / "grey/0.png")
    mask = read_mask(find_masks("x", tmp_path / "grey"), ONE_PATIENT)
    assert (mask.voxels[0] == (labels()[0] > 0)).all()
    Image.fromarray(grey + np.array([0, 0, 9], np.uint8)).save(tmp_path / "grey/0.png")
    with pytest.raises(DatasetError, match="colour picture"):
        read_mask(find_masks("x", tmp_path / "grey"), ONE_PATIENT)
