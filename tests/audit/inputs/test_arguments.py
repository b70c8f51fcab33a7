import json
from pathlib import Path

import numpy as np
import pytest
from audit_toys import good_annotation, textured
from toy_scans import toy_grey, toy_hu, write_volume

from ct_lesion.audit.inputs.arguments import parse_input, read_inputs
from ct_lesion.audit.inputs.slices import CLASS_SOURCE, LESION_SOURCE
from ct_lesion.errors import DatasetError


def read(text: object, **options: bool):
    (dataset,) = read_inputs([str(text)], **options)
    return dataset


def test_an_argument_is_parsed(tmp_path):
    json_file = tmp_path / "a=b.json"
    json_file.write_text("{}")
    spec = parse_input(f"train={json_file}:{tmp_path}")
    assert (spec.group, spec.name, spec.images) == ("train", str(json_file), tmp_path)
    spec = parse_input(str(json_file))  # no group, despite the = in its name
    assert (spec.group, spec.name) == ("a=b", str(json_file))
    assert parse_input("test=covidx_ct_test").group == "test"
    assert parse_input("covidx_ct_test").group == "covidx_ct_test"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train=nothing", "nothing: no registered dataset, file or folder.*cncb_lesion_train"),
        ("{json}:nowhere", "nowhere is not a folder"),
        ("={json}", "name the group before the ="),
        ("{json}", "neither COCO json"),
        ("{broken}", "is damaged"),
        ("{array}", "holds a list, not an object"),
        ("{empty}", "the list contains no slices"),
        ("{zip}", "Unpack it"),
        ("{folder}", "no scan found"),
    ],
)
def test_an_input_that_cannot_be_audited_gives_a_one_line_error(tmp_path, text, message):
    names = {"json": "a.json", "broken": "b.json", "array": "c.json", "empty": "d.txt"}
    paths = {key: tmp_path / name for key, name in {**names, "zip": "e.zip", "folder": "f"}.items()}
    for key, content in {
        "json": "{}",
        "broken": "{",
        "array": "[]",
        "empty": "",
        "zip": "",
    }.items():
        paths[key].write_text(content)
    paths["folder"].mkdir()
    with pytest.raises(DatasetError, match=message) as error:
        read_inputs([text.format(**paths)])
    assert "\n" not in str(error.value)


def test_a_registered_dataset_is_read_with_patients_and_annotations(datasets):
    dataset = read("train=cncb_lesion_train")
    assert (dataset.group, dataset.kind, dataset.source) == ("train", "COCO json", LESION_SOURCE)
    assert {s.patient for s in dataset.slices} == {"0", "1"}
    assert len(dataset.slices) == 6
    assert len(dataset.coco["annotations"]) == 8
    assert dataset.findings == []


def test_a_lesion_archive_is_read_with_its_label_masks(lesion_archive):
    dataset = read(lesion_archive)
    assert (dataset.kind, len(dataset.slices)) == ("lesion archive", 12)
    assert sorted(np.unique(dataset.slices[0].labels())) == [0, 1, 2, 3]


def test_an_image_without_a_mask_is_reported(tmp_path, write_pictures):
    folder = write_pictures("archive", {"image/1/a.png": textured(0), "image/1/b.png": textured(1)})
    write_pictures("archive", {"mask/1/a.png": np.zeros((64, 64))})
    (finding,) = read(folder).findings
    assert finding.code == "image_or_mask_alone"
    assert finding.where == ["image/1/b.png has no mask"]


LINES = {
    "covidx": "NCP_96_1328_0032.png 2 9 94 512 405\nCP_7_11_0001.png 1 0 0 5 5\n",
    "sample": "2_96_1328_0032.png\nCP_7_11_0001.png\n",
    "split": "96_0032.jpg\n7/0001.jpg\n",
}


@pytest.mark.parametrize(
    ("form", "kind", "source", "keys"),
    [
        ("covidx", "COVIDx-CT list", CLASS_SOURCE, ["NCP_96_1328_0032", "CP_7_11_0001"]),
        ("sample", "training sample", CLASS_SOURCE, ["NCP_96_1328_0032", "CP_7_11_0001"]),
        ("split", "lesion split list", LESION_SOURCE, ["96/0032", "7/0001"]),
    ],
)
def test_the_format_of_a_list_is_recognised_by_its_lines(tmp_path, form, kind, source, keys):
    path = tmp_path / "list.txt"
    path.write_text(LINES[form])
    dataset = read(path)
    assert (dataset.kind, dataset.source) == (kind, source)
    assert [s.key for s in dataset.slices] == keys
    assert [s.patient for s in dataset.slices] == ["96", "7"]
    assert not any(s.has_image for s in dataset.slices)
    assert dataset.not_checked[0].check == "images of list.txt"


def test_patient_ids_may_be_unique_within_a_class_only(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(LINES["covidx"])
    patients = [s.patient for s in read(path, ids_per_class=True).slices]
    assert patients == ["NCP_96", "CP_7"]


def test_faulty_and_repeated_lines_are_findings_and_the_others_are_read(tmp_path):
    path = tmp_path / "list.txt"
    first = LINES["covidx"].splitlines()[0]
    path.write_text(f"{first}\n{first}\nNCP_1_2_3.png 0 1 2 3 4\n")
    dataset = read(path)
    assert len(dataset.slices) == 1
    assert {f.code for f in dataset.findings} == {"listed_twice", "faulty_list"}
    assert any("class 0 contradicts the name" in f.where[0] for f in dataset.findings)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("covidx", {"NCP/96/1328/0032.png": 0}),
        ("sample", {"NCP_96_1328_0032.png": 0}),
        ("split", {"96/0032.jpg": 0}),
        ("split", {"image/96/0032.png": 0}),
        ("split", {"96_0032.jpg": 0}),
    ],
)
def test_a_list_finds_its_images_and_reports_missing_ones(tmp_path, write_pictures, form, names):
    path = tmp_path / "list.txt"
    path.write_text(LINES[form])
    folder = write_pictures("images", {name: textured(seed) for name, seed in names.items()})
    dataset = read(f"{path}:{folder}")
    assert [s.image for s in dataset.slices] == [folder / next(iter(names)), None]
    (finding,) = dataset.findings
    assert finding.code == "missing_files"
    assert finding.where == [dataset.slices[1].key]


def test_class_folders(tmp_path, write_pictures):
    names = ("NCP/1/2/0003.png", "NCP/1/2/0003.jpg", "Normal/4/5/0006.png", "NCP/odd.png")
    folder = write_pictures("tree", {name: textured(0) for name in names})
    dataset = read(folder)
    assert [(s.key, s.label) for s in dataset.slices] == [
        ("NCP_1_2_0003", "COVID-19"),
        ("Normal_4_5_0006", "Control"),
    ]
    findings = {f.code: f for f in dataset.findings}
    assert findings["listed_twice"].what == "tree: two files of one slice: 1."
    assert findings["unknown_names"].where == ["NCP/odd.png"]


def test_the_folder_of_a_picture_names_its_patient(write_pictures):
    names = ("ann/1.png", "ann/2.png", "bob/first/1.png", "3.png")
    dataset = read(write_pictures("scans", {name: textured(0) for name in names}))
    patients = {s.key: (s.patient, s.scan) for s in dataset.slices}
    assert patients["ann/1.png"] == ("ann", "ann")
    assert patients["bob/first/1.png"] == ("bob", "first")
    assert patients["3.png"] == (None, None)
    assert dataset.not_checked[0].check == f"patients of {dataset.name}"


def test_volumes_are_read_slice_by_slice_and_a_damaged_one_is_a_finding(tmp_path):
    write_volume(tmp_path / "scans/ann.nii.gz", toy_hu())
    (tmp_path / "scans/bob.nii.gz").write_bytes(b"damaged")
    dataset = read(tmp_path / "scans")
    assert {(s.patient, s.scan) for s in dataset.slices} == {("ann", "ann")}
    assert len(dataset.slices) == 12
    pixels = [s.pixels() for s in dataset.slices]
    assert np.array_equal(pixels, toy_grey())
    damaged = {f.code: f for f in dataset.findings}["scan_cannot_be_read"]
    assert damaged.where == [str(tmp_path / "scans/bob.nii.gz")]


def test_a_coco_json_without_patients_or_files(write_coco, tmp_path):
    images = [{"id": 1, "file_name": "gone.png", "width": 4, "height": 4}, {"id": 2}, "x"]
    dataset = read(write_coco(good_annotation(), images=images))
    findings = {f.code: f for f in dataset.findings}
    assert findings["missing_files"].where == [str(tmp_path / "gone.png")]
    assert [s.key for s in dataset.slices] == ["gone.png"]
    assert dataset.not_checked[0].why == "1 of 1 records has no patient"


def test_a_classification_json(tmp_path, write_pictures):
    write_pictures("images", {"a.png": textured(0)})
    record = {"file_name": "a.png", "image_id": "NCP_1_2_3", "label": 2, "patient": "1"}
    record |= {"scan": "2", "height": 64, "width": 64, "body_box": [1, 2, 3, 4]}
    content = {"classes": ["Control", "Common Pneumonia", "COVID-19"], "image_root": "images"}
    path = tmp_path / "train.json"
    path.write_text(json.dumps({**content, "images": [record]}))
    (ct_slice,) = read(path).slices
    assert ct_slice.label == "COVID-19"
    assert (ct_slice.size, ct_slice.body_box) == ((64, 64), (1, 2, 3, 4))
    assert Path(ct_slice.image).is_file()


def test_inputs_with_the_same_name_get_different_names(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "list.txt").write_text(LINES["split"])
    inputs = read_inputs([f"{g}={tmp_path / g / 'list.txt'}" for g in ("a", "b", "b")])
    names = [dataset.name for dataset in inputs]
    assert names == ["list.txt (a)", "list.txt (b)", "list.txt (b)-2"]
