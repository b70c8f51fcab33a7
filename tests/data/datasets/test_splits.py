from pathlib import Path

import pytest

from ct_lesion.data.datasets.splits import (
    check_patients_apart,
    read_split_list,
    split_by_fractions,
    split_by_lists,
    split_by_patients,
)
from ct_lesion.data.prepare.cncb_archive import SliceId
from ct_lesion.errors import DatasetError

SLICES = [SliceId(str(patient), str(index)) for patient in range(10) for index in range(3)]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_list_takes_file_names_and_paths(tmp_path):
    lines = ("# comment", "110_104.jpg", "", "image/7/12.png", "data/a/8/3", "x_y_5.jpg")
    assert read_split_list(write(tmp_path / "list.txt", *lines)) == [
        SliceId("110", "104"),
        SliceId("7", "12"),
        SliceId("8", "3"),
        SliceId("x_y", "5"),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1_2.jpg", "nonsense"], "list.txt:2: 'nonsense' is neither"),
        (["1_2.jpg", "1/2.png"], "list.txt:2: slice 1/2 stands in line 1"),
        (["# nothing"], "no slices in this list"),
    ],
)
def test_faulty_lists_are_named(tmp_path, lines, message):
    with pytest.raises(DatasetError, match=message):
        read_split_list(write(tmp_path / "list.txt", *lines))


def test_missing_list_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no\.txt: cannot be read"):
        read_split_list(tmp_path / "no.txt")


def test_published_lists_have_650_and_100_slices_of_different_patients(shared):
    lists = {
        name: shared / "data/splits" / f"authors_{name}_split_segmentation.txt"
        for name in ("train", "test")
    }
    split = {name: read_split_list(path) for name, path in lists.items()}
    assert {name: len(slices) for name, slices in split.items()} == {"train": 650, "test": 100}
    assert len({s.patient for s in split["train"]}) == 130
    assert len({s.patient for s in split["test"]}) == 20
    check_patients_apart(split)


def test_listed_slices_that_do_not_exist_are_named(tmp_path):
    train, test = write(tmp_path / "a", "0_0.jpg", "0_7.jpg"), write(tmp_path / "b", "1_1.jpg")
    with pytest.raises(DatasetError, match="slice 0/7 is not in the archive"):
        split_by_lists(SLICES, {"train": train, "test": test})


def test_patients_are_held_out_whole():
    split = split_by_patients(SLICES, test_patients=["3", "5"], val_patients=["1"])
    assert {s.patient for s in split["test"]} == {"3", "5"}
    assert {s.patient for s in split["val"]} == {"1"}
    assert sum(map(len, split.values())) == len(SLICES)
    with pytest.raises(DatasetError, match="Patients 99 are not in the archive"):
        split_by_patients(SLICES, ["99"])


def test_fractions_split_patients_reproducibly():
    split = split_by_fractions(SLICES, (0.6, 0.1, 0.3), seed=1)
    assert {n: len({s.patient for s in v}) for n, v in split.items()} == {
        "train": 6,
        "val": 1,
        "test": 3,
    }
    check_patients_apart(split)
    assert split == split_by_fractions(reversed(SLICES), (0.6, 0.1, 0.3), seed=1)
    assert split != split_by_fractions(SLICES, (0.6, 0.1, 0.3), seed=2)


def test_small_fractions_get_a_patient_and_impossible_ones_are_refused():
    split = split_by_fractions(SLICES, (0.98, 0.01, 0.01), seed=0)
    assert [len({s.patient for s in split[n]}) for n in ("train", "val", "test")] == [8, 1, 1]
    with pytest.raises(DatasetError, match="add up to 1"):
        split_by_fractions(SLICES, (0.5, 0.1, 0.1), seed=0)
    with pytest.raises(DatasetError, match="2 patients cannot fill 3 splits"):
        split_by_fractions(SLICES[:6], (0.6, 0.2, 0.2), seed=0)


def test_a_patient_in_two_splits_is_refused_by_name():
    with pytest.raises(DatasetError, match="patient 4 is in test and train"):
        check_patients_apart({"train": [SliceId("4", "1")], "test": [SliceId("4", "2")]})
