import json
import re
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from covidx_files import HEIGHT, WIDTH, names_of, path_of, write_list
from other_job import holding
from PIL import Image

from ct_lesion.data.datasets.covidx_ct import load_covidx_ct
from ct_lesion.data.prepare.covidx_ct import CovidxSource, prepare_covidx_ct
from ct_lesion.errors import DatasetError, UserError
from ct_lesion.files import locked_folder


def refused(source: CovidxSource, output: Path) -> str:
    """The message of a refusal that left no file behind."""
    with pytest.raises(DatasetError) as caught:
        prepare_covidx_ct(source, output)
    assert not output.exists()
    return str(caught.value)


def test_both_layouts_make_the_same_records(images, lists, tmp_path):
    prepared = prepare_covidx_ct(CovidxSource(images, lists, per_class=2), tmp_path / "out")
    assert [p.name for p in prepared.files] == ["train.json", "train_full.json"] + [
        "val.json",
        "test.json",
    ]
    assert prepared.notes == []
    records = load_covidx_ct(tmp_path / "out/annotations/train_full.json")
    assert len(records) == 12
    record = records[-1]
    assert Image.open(record.pop("file_name")).size == (WIDTH, HEIGHT)
    assert record == {
        "image_id": "NCP_21_501_0001",
        "height": HEIGHT,
        "width": WIDTH,
        "label": 2,
        "patient": "21",
        "scan": "501",
        "slice": "0001",
        "body_box": [1, 2, 9, 8],
    }
    sample = load_covidx_ct(tmp_path / "out/annotations/train.json")
    assert Counter(r["label"] for r in sample) == {0: 2, 1: 2, 2: 2}
    assert {r["image_id"] for r in sample} < {r["image_id"] for r in records}


def test_counts_by_class_and_dataset(images, lists, tmp_path):
    rows = prepare_covidx_ct(CovidxSource(images, lists, per_class=1), tmp_path / "out").counts
    assert len(rows) == 4 * 4
    assert rows[0] == ["train", "Control", 1, 1, 1]
    assert rows[6] == ["train_full", "COVID-19", 4, 2, 2]
    assert rows[-1] == ["test", "all", 6, 3, 3]


def test_tree_without_lists_is_split_by_patient(images, tmp_path):
    source = CovidxSource(images, fractions=(0.5, 0.25, 0.25), per_class=4)
    prepare_covidx_ct(source, tmp_path / "out")
    people = []
    for name in ("train_full", "val", "test"):
        records = load_covidx_ct(tmp_path / f"out/annotations/{name}.json")
        assert {r["label"] for r in records} == {0, 1, 2}
        assert records[0]["body_box"] is None
        people.append({r["patient"] for r in records})
    assert [len(p) for p in people] == [6, 3, 3]
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]


def test_images_inside_the_dataset_move_with_it(images, lists, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    shutil.move(images, home / "images")
    prepare_covidx_ct(CovidxSource(home / "images", lists, per_class=1), home)
    home.rename(tmp_path / "moved")
    record = load_covidx_ct(tmp_path / "moved/annotations/val.json")[0]
    assert Path(record["file_name"]).is_file()
    assert json.loads((tmp_path / "moved/annotations/val.json").read_text())["image_root"] == (
        "../images"
    )


def test_moved_images_are_reported_and_can_be_given(images, lists, tmp_path):
    prepare_covidx_ct(CovidxSource(images, lists, per_class=1), tmp_path / "out")
    images.rename(tmp_path / "elsewhere")
    json_file = tmp_path / "out/annotations/test.json"
    with pytest.raises(DatasetError, match=r"images.* does not exist.*If the images have moved"):
        load_covidx_ct(json_file)
    record = load_covidx_ct(json_file, tmp_path / "elsewhere")[0]
    assert Path(record["file_name"]).is_file()


def test_missing_images_are_refused_unless_allowed(images, lists, tmp_path):
    gone = names_of("train")[0]
    path_of(images, gone).unlink()
    source = partial(CovidxSource, images, lists)
    message = refused(source(per_class=4), tmp_path / "out")
    assert re.search(r"not below .*images \(--allow-missing leaves them out\) \(1\)", message)
    assert "Normal_0_500_0000" in message
    assert "too small" not in message  # sizes are not checked before --allow-missing is given
    prepared = prepare_covidx_ct(source(per_class=3, allow_missing=True), tmp_path / "out")
    assert "left out" in prepared.notes[0] and "Normal_0_500_0000" in prepared.notes[0]
    assert len(load_covidx_ct(tmp_path / "out/annotations/train_full.json")) == 11


def test_a_folder_without_slices_is_refused_with_the_expected_names(lists, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (
        CovidxSource(tmp_path / "empty", lists),
        CovidxSource(tmp_path / "empty", lists, allow_missing=True),
        CovidxSource(tmp_path / "empty"),
    ):
        message = refused(source, tmp_path / "out")
        assert "empty contains no" in message and "NCP/<patient>/<scan>" in message
        assert "\n" not in message
    message = refused(CovidxSource(Path("nowhere"), lists), tmp_path / "out")
    assert message.startswith("--image-root nowhere does not exist. Give the folder")
    lists["val"].unlink()
    assert "unreadable lists" in refused(CovidxSource(Path("nowhere"), lists), tmp_path / "out")


def test_patient_in_two_splits_is_refused_unless_allowed(images, lists, tmp_path):
    write_list(lists["val"], [*names_of("val"), names_of("train")[0]])
    write_list(lists["train"], names_of("train")[1:])
    message = refused(CovidxSource(images, lists, per_class=1), tmp_path / "out")
    assert "patients in two splits" in message
    assert "0: train (Normal), val (Normal)" in message
    source = CovidxSource(images, lists, per_class=1, allow_overlap=True)
    assert "0: train (Normal), val" in prepare_covidx_ct(source, tmp_path / "out").notes[0]


def test_same_number_in_two_classes_is_one_person_unless_ids_are_per_class(images, lists, tmp_path):
    path = path_of(images, names_of("train")[0])
    for name in ("NCP_0_7_0000.png", "Normal_0_7_0000.png"):
        shutil.copy(path, images / name)
    write_list(lists["test"], [*names_of("test"), "NCP_0_7_0000.png"])
    source = partial(CovidxSource, images, lists, per_class=1)
    assert "0: train (Normal), test (NCP)" in refused(source(), tmp_path / "out")
    prepare_covidx_ct(source(ids_per_class=True), tmp_path / "out")
    record = load_covidx_ct(tmp_path / "out/annotations/test.json")[-1]
    assert (record["image_id"], record["patient"]) == ("NCP_0_7_0000", "NCP_0")


def test_slice_in_two_splits_is_refused_even_if_patients_may_overlap(images, lists, tmp_path):
    write_list(lists["val"], [*names_of("val"), names_of("train")[0]])
    source = CovidxSource(images, lists, per_class=1, allow_overlap=True)
    assert "Normal_0_500_0000: train, val" in refused(source, tmp_path / "out")


def test_published_sample_is_used_unchanged(images, lists, tmp_path):
    chosen = ["2_21_501_0001.png", "0_0_500_0000.png", "1_10_500_0001.png", "1_99_9_0001.png"]
    sample = tmp_path / "sample.txt"
    sample.write_text("\n".join(chosen))
    prepared = prepare_covidx_ct(CovidxSource(images, lists, sample_list=sample), tmp_path / "out")
    records = load_covidx_ct(tmp_path / "out/annotations/train.json")
    assert [r["image_id"] for r in records] == [
        "NCP_21_501_0001",
        "Normal_0_500_0000",
        "CP_10_500_0001",
    ]
    assert "no split has them (1):\n  CP_99_9_0001" in prepared.notes[0]


def test_sample_slice_that_is_held_out_is_refused(images, lists, tmp_path):
    sample = tmp_path / "sample.txt"
    sample.write_text("0_0_500_0000.png\n0_3_503_0000.png\n")
    message = refused(CovidxSource(images, lists, sample_list=sample), tmp_path / "out")
    assert "slices of the sample that are in val or test (1):\n  Normal_3_503_0000: test" in message


def test_sample_too_large_is_refused(images, lists, tmp_path):
    message = refused(CovidxSource(images, lists, per_class=5), tmp_path / "out")
    assert "Control has 4 training slices, --per-class is 5" in message
    with pytest.raises(DatasetError, match="--per-class is 0"):
        CovidxSource(images, lists, per_class=0)


def test_all_problems_are_reported_at_once(images, lists, tmp_path):
    lists["val"].write_text(lists["val"].read_text() + "ABC_1_2_3.png 1 0 0 5 5\n")
    path_of(images, names_of("test")[0]).unlink()
    path_of(images, names_of("test")[1]).write_bytes(b"")
    path_of(images, names_of("test")[2]).write_bytes(b"no image at all")
    wide = path_of(images, names_of("test")[3])
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(wide)
    message = refused(CovidxSource(images, lists, per_class=1), tmp_path / "out")
    assert f"{lists['val']}:7: unknown class 'ABC'" in message
    assert "Normal_3_503_0000" in message
    assert f"{path_of(images, names_of('test')[1])} is empty" in message
    assert f"{path_of(images, names_of('test')[2])} is not a picture" in message
    assert re.search(r"16-bit images .*\(1\):\n  " + re.escape(str(wide)), message)


def test_damaged_image_is_found_when_asked_to_decode(images, lists, tmp_path):
    path = path_of(images, names_of("val")[0])
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:80])
    prepare_covidx_ct(CovidxSource(images, lists, per_class=1), tmp_path / "out")
    message = refused(CovidxSource(images, lists, per_class=1, decode=True), tmp_path / "other")
    assert f"{path} cannot be read as a picture" in message


def test_body_box_beyond_the_image_is_a_note(images, lists, tmp_path):
    text = lists["test"].read_text().replace("1 2 9 8", "1 2 9 11", 1)
    lists["test"].write_text(text)
    notes = prepare_covidx_ct(CovidxSource(images, lists, per_class=1), tmp_path / "out").notes
    assert notes[0].endswith("(1):\n  Normal_3_503_0000: box (1, 2, 9, 11), image 12 x 10")


def test_an_incomplete_set_of_lists_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="together: add --val-list"):
        CovidxSource(tmp_path, {"train": tmp_path, "test": tmp_path})


def test_output_that_cannot_be_written_is_reported(images, lists, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file exists and is not a folder"):
        prepare_covidx_ct(CovidxSource(images, lists, per_class=1), tmp_path / "file")


def test_lists_are_not_written_through_links_or_beside_another_job(images, lists, tmp_path):
    foreign, out = tmp_path / "foreign", tmp_path / "out"
    foreign.mkdir()
    out.mkdir()
    (out / "annotations").symlink_to(foreign)
    source = CovidxSource(images, lists, per_class=1)
    with holding(locked_folder(out)), pytest.raises(UserError, match="is being written by"):
        prepare_covidx_ct(source, out)
    prepare_covidx_ct(source, out)
    assert list(foreign.iterdir()) == []
    assert len(list((out / "annotations").iterdir())) == 4
