import numpy as np
import pytest

from ct_lesion.data.prepare.volume_pairs import LabelMap, pair_folders, read_pair_list
from ct_lesion.errors import DatasetError


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_folders_are_paired_by_name_without_extension(tmp_path):
    images = touch(tmp_path / "i", "b.nii.gz", "a 1.nii", "notes.txt")
    masks = touch(tmp_path / "m", "a 1.nrrd", "b.mha", ".hidden.nii")
    pairs, problems = pair_folders(images, masks)
    assert [(p.patient, p.scan, p.image.name, p.mask.name) for p in pairs] == [
        ("a_1-042a5f2e", "a_1-042a5f2e", "a 1.nii", "a 1.nrrd"),
        ("b", "b", "b.nii.gz", "b.mha"),
    ]
    assert problems == []


def test_every_file_without_partner_is_named(tmp_path):
    images = touch(tmp_path / "i", "a.nii", "b.nii", "c.nii", "c.mha")
    masks = touch(tmp_path / "m", "a.nii", "d.nii", "e.nii")
    pairs, problems = pair_folders(images, masks)
    assert [p.scan for p in pairs] == ["a"]
    assert problems == [
        f"{images}/c.nii has the same name as c.mha",
        f"{images}/b.nii has no mask in {masks}",
        f"{images}/c.mha has no mask in {masks}",
        f"{masks}/d.nii has no image in {images}",
        f"{masks}/e.nii has no image in {images}",
    ]


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="i does not exist"):
        pair_folders(tmp_path / "i", tmp_path)
    with pytest.raises(DatasetError, match="no NIfTI, NRRD or MetaImage"):
        pair_folders(touch(tmp_path / "i", "x.txt"), tmp_path)


def test_paths_in_a_list_are_relative_to_it(tmp_path):
    touch(tmp_path / "d", "x.nii", "y.nii", "m.nii", "n.nii")
    path = tmp_path / "pairs.csv"
    path.write_text("image,mask,patient,age\nd/x.nii,d/m.nii,P 1,7\nd/y.nii,d/n.nii,P 1,7\n")
    pairs, problems = read_pair_list(path)
    name = "P_1-6b906186"  # the start of SHA-256 of "P 1"
    assert [(p.patient, p.scan) for p in pairs] == [(name, "x"), (name, "y")]
    assert pairs[1].mask == tmp_path / "d" / "n.nii"
    assert problems == []


def test_faulty_lines_of_a_list_are_all_named(tmp_path):
    touch(tmp_path, "x.nii")
    path = tmp_path / "pairs.csv"
    path.write_text("patient,image,mask\n1,x.nii,m.nii\n,x.nii,x.nii\n2,y.nii\n")
    pairs, problems = read_pair_list(path)
    assert pairs == []
    assert problems == [
        f"{path}:2: {tmp_path}/m.nii does not exist",
        f"{path}:3: patient is empty",
        f"{path}:4: mask is empty",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,image\n1,x\n", "no column mask"),
        ("patient,image,mask\n", "no pairs"),
        ("", "no column patient, image, mask"),
        ("\xff", "cannot be read"),
    ],
)
def test_invalid_lists_are_refused(tmp_path, text, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        read_pair_list(path)


def test_values_become_labels():
    labels = LabelMap(["5=lung", "1=ggo", "2=consolidation", "9=background", "3=ggo"])
    values = np.array([[0, 1, 2], [3, 5, 9]], np.int16)
    assert labels.apply(values).tolist() == [[0, 2, 3], [2, 1, 0]]
    assert labels.unknown(np.array([0, 5, 7, 2.5])) == [2.5, 7]
    assert labels.has_lung
    assert labels.mask_types() == ["merge", "both", "ggo"]


@pytest.mark.parametrize(
    ("items", "allowed"),
    [
        (["1=lesion"], ["merge"]),
        (["1=ggo"], ["merge", "ggo"]),
        (["1=consolidation", "2=lung"], ["merge"]),
        (["1=ggo", "2=consolidation", "3=lesion"], ["merge"]),
    ],
)
def test_mask_types_need_their_labels(items, allowed):
    labels = LabelMap(items)
    assert labels.mask_types() == allowed
    assert labels.mask_types(["merge"]) == ["merge"]
    with pytest.raises(DatasetError, match="--mask-types both needs"):
        labels.mask_types(["merge", "both"])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["1=nodule"], "--labels 1=nodule: give VALUE=NAME"),
        (["x=ggo"], "--labels x=ggo"),
        (["1" * 5000 + "=ggo"], "give VALUE=NAME"),
        (["ggo"], "--labels ggo"),
        (["1=ggo", "01=lung"], "value 1 is given twice"),
        (["1=lung"], "name a lesion"),
    ],
)
def test_bad_labels_are_refused(items, message):
    with pytest.raises(DatasetError, match=message):
        LabelMap(items)
