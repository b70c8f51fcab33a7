from pathlib import Path

import pytest

from ct_lesion.data.datasets.splits import (
    SliceId,
    _share,
    check_patients_apart,
    draw_val,
    read_split_list,
    shared_between,
    split_by_class,
    split_by_fractions,
    split_by_lists,
    split_by_patients,
)
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


def test_a_byte_order_mark_is_not_part_of_a_patient_name(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf110_104.jpg\r\n7_12.jpg\r\n")  # as Windows' Notepad saves it
    assert read_split_list(path) == [SliceId("110", "104"), SliceId("7", "12")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1_2.jpg", "nonsense"], "list.txt:2: 'nonsense' is neither"),
        (["1_2.jpg", "1/2.png"], "list.txt:2: slice 1/2 repeats line 1"),
        (["# nothing"], "contains no slices"),
    ],
)
def test_faulty_lists_are_named(tmp_path, lines, message):
    with pytest.raises(DatasetError, match=message):
        read_split_list(write(tmp_path / "list.txt", *lines))


def test_missing_list_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no\.txt cannot be read"):
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


def test_all_slices_of_test_patients_are_held_out():
    split = split_by_patients(SLICES, ["3", "5"])
    assert {s.patient for s in split["test"]} == {"3", "5"}
    assert split["val"] == []
    assert sum(map(len, split.values())) == len(SLICES)
    with pytest.raises(DatasetError, match=r"the archive has no patient 99\. It has 0, 1, 2"):
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


def test_a_patient_in_two_splits_is_refused_and_named():
    with pytest.raises(DatasetError, match="patient 4 is in train and test"):
        check_patients_apart({"train": [SliceId("4", "1")], "test": [SliceId("4", "2")]})


@pytest.mark.parametrize("fractions", [(0.6, 0.2), (0.6, 0.2, 0.3), (1.2, -0.1, -0.1)])
def test_fractions_must_add_up(fractions):
    with pytest.raises(DatasetError, match="give three numbers, for train, val and test"):
        split_by_class({"1": {0}}, fractions, seed=0)


def test_each_class_is_split_by_the_fractions_and_patients_of_two_classes_form_a_stratum():
    classes = {f"a{i}": {0} for i in range(5)} | {f"b{i}": {1} for i in range(10)}
    classes |= {f"c{i}": {0, 1} for i in range(5)}
    chosen = split_by_class(classes, (0.6, 0.2, 0.2), seed=0)
    by_stratum = {n: sorted(p[0] for p in patients) for n, patients in chosen.items()}
    assert by_stratum == {
        "train": [*"aaabbbbbbccc"],
        "val": [*"abbc"],
        "test": [*"abbc"],
    }


def test_shares_equal_those_worked_out_by_hand():
    assert _share(10, (0.6, 0.2, 0.2)) == [6, 2, 2]
    assert _share(4, (0.6, 0.2, 0.2)) == [2, 1, 1]
    assert _share(1, (0.6, 0.2, 0.2)) == [1, 0, 0]
    assert _share(3, (0.8, 0.1, 0.1)) == [1, 1, 1]
    assert _share(2, (0.8, 0.1, 0.1)) == [1, 0, 1]
    assert _share(7, (0.5, 0.0, 0.5)) == [4, 0, 3]
    assert _share(0, (0.6, 0.2, 0.2)) == [0, 0, 0]


def test_shared_items_are_found_for_each_pair_of_groups_in_natural_order():
    groups = {"train": {"3", "20", "7"}, "val": {"8"}, "test": ["20", "3", "8"]}
    assert list(shared_between(groups)) == [
        ("train", "test", ["3", "20"]),
        ("val", "test", ["8"]),
    ]
    pairs = {"a": {("x", "1")}, "b": {("y", "1")}, "c": {("x", "1")}}
    assert list(shared_between(pairs)) == [("a", "c", [("x", "1")])]


def patients(slices: list[SliceId]) -> set[str]:
    return {slice_id.patient for slice_id in slices}


def test_validation_patients_are_drawn_from_the_training_patients_with_a_seed():
    split = split_by_patients(SLICES, ["3", "5"])  # 8 patients train
    drawn = draw_val(split, 0.25, seed=0)
    assert [len(patients(drawn[name])) for name in ("train", "val", "test")] == [6, 2, 2]
    assert patients(drawn["test"]) == {"3", "5"}
    assert sorted(drawn["train"] + drawn["val"]) == sorted(split["train"])
    check_patients_apart(drawn)
    again = draw_val({**split, "train": split["train"][::-1]}, 0.25, seed=0)
    assert patients(again["val"]) == patients(drawn["val"])
    others = [patients(draw_val(split, 0.25, seed=seed)["val"]) for seed in range(1, 9)]
    assert any(val != patients(drawn["val"]) for val in others)


def test_validation_is_not_drawn_if_it_is_given_or_unwanted_or_impossible():
    given = {"train": SLICES[:9], "val": SLICES[9:12], "test": SLICES[12:]}
    assert draw_val(given, 0.5, seed=0) == given
    assert draw_val({"train": SLICES[:9], "test": []}, 0, seed=0)["train"] == SLICES[:9]
    few = draw_val({"train": SLICES[:6], "test": []}, 0.01, seed=0)  # 2 patients, one is drawn
    assert len(patients(few["train"])) == len(patients(few["val"])) == 1
    assert draw_val({"train": SLICES[:3], "test": []}, 0.5, seed=0)["val"] == []
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(DatasetError, match="--val-fraction"):
            draw_val(given, fraction, seed=0)


def test_a_tenth_of_the_published_training_patients_is_13_with_65_slices(shared):
    path = shared / "data/splits/authors_train_split_segmentation.txt"
    split = draw_val({"train": read_split_list(path), "test": []}, 0.1, seed=0)
    assert len(patients(split["val"])) == 13
    assert (len(split["val"]), len(split["train"])) == (65, 585)
