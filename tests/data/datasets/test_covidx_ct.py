"""COVIDx-CT datasets: loading, registering."""

import importlib
import json
import os
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from ct_lesion.data.datasets import covidx_ct
from ct_lesion.data.datasets.catalog import window_of
from ct_lesion.data.datasets.covidx_ct import load_covidx_ct, register_covidx_ct
from ct_lesion.data.prepare.covidx_ct import CovidxSource, prepare_covidx_ct
from ct_lesion.errors import DatasetError
from ct_lesion.scans.windows import UNKNOWN, Window

RANGE = Window(kind="range")


def test_shipped_datasets_are_found_where_the_variable_points(images, lists, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError) as caught:
        DatasetCatalog.get("covidx_ct_val")
    message = str(caught.value)
    assert str(tmp_path / "nowhere/covidx_ct/annotations/val.json") in message
    assert f"DETECTRON2_DATASETS is {tmp_path / 'nowhere'}" in message
    assert "ct-lesion prepare-covidx-ct --image-root" in message
    # the variable counts when a dataset is loaded, not when it is registered
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    prepare_covidx_ct(CovidxSource(images, lists, per_class=2), tmp_path / "covidx_ct")
    sizes = {
        name: len(DatasetCatalog.get(f"covidx_ct_{name}"))
        for name in ("train", "train_full", "val", "test")
    }
    assert sizes == {"train": 6, "train_full": 12, "val": 6, "test": 6}
    assert window_of("covidx_ct_train") == UNKNOWN
    # as Detectron2's data loaders ask for it
    assert len(get_detection_dataset_dicts(["covidx_ct_train", "covidx_ct_val"])) == 12


def test_the_message_says_that_the_variable_is_not_set(tmp_path, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=r"not set, so \./datasets is used"):
        DatasetCatalog.get("covidx_ct_train")


@pytest.mark.parametrize("name", ["train", "train_full", "val", "test"])
def test_class_names_are_known_before_loading(name):
    metadata = MetadataCatalog.get(f"covidx_ct_{name}")
    assert metadata.image_classes == ["Control", "Common Pneumonia", "COVID-19"]
    assert metadata.evaluator_type == "classification"


def test_reloading_the_module_is_harmless():
    before = DatasetCatalog["covidx_ct_val"]
    importlib.reload(covidx_ct)
    assert DatasetCatalog["covidx_ct_val"] is not before
    assert DatasetCatalog["covidx_ct_val"].args == ("val",)


def test_a_name_can_only_be_registered_for_one_dataset(images, lists, tmp_path):
    source = CovidxSource(images, lists, per_class=1, window=RANGE)
    prepare_covidx_ct(source, tmp_path / "out")
    json_file = tmp_path / "out/annotations/val.json"
    try:
        register_covidx_ct("my_scans", json_file)
        register_covidx_ct("my_scans", json_file)
        assert len(DatasetCatalog.get("my_scans")) == 6
        assert MetadataCatalog.get("my_scans").image_classes[2] == "COVID-19"
        assert window_of("my_scans") == RANGE
        with pytest.raises(DatasetError, match="'my_scans' is already registered"):
            register_covidx_ct("my_scans", tmp_path / "out/annotations/test.json")
        with pytest.raises(DatasetError, match="'covidx_ct_val' is already registered"):
            register_covidx_ct("covidx_ct_val", json_file)
    finally:
        DatasetCatalog.remove("my_scans")
        MetadataCatalog.remove("my_scans")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist. Make it with: ct-lesion prepare-covidx-ct"),
        ('{"images": [', "is damaged"),
        ('{"images": []}', "is not a classification dataset"),
        ("[]", "holds a list, not an object"),
        ('{"classes": ["A"], "image_root": ".", "images": []}', r"its classes \['A'\] are not"),
        (
            '{"classes": ["Control", "Common Pneumonia", "COVID-19"], "image_root": ".", '
            '"images": []}',
            "contains no slices",
        ),
        (
            '{"classes": ["Control", "Common Pneumonia", "COVID-19"], "image_root": ".", '
            '"images": [{"file_name": "a.png", "label": 3}]}',
            "the label 3 is not 0, 1 or 2",
        ),
        (
            '{"classes": ["Control", "Common Pneumonia", "COVID-19"], "image_root": ".", '
            '"images": [{"file_name": "a.png", "label": 1.0}]}',
            "the label 1.0 is not 0, 1 or 2",
        ),
    ],
)
def test_an_invalid_file_is_named(tmp_path, content, message):
    path = tmp_path / "my.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=message) as caught:
        load_covidx_ct(path)
    assert str(path) in str(caught.value)


def test_the_file_records_its_sources_without_absolute_paths(images, lists, tmp_path):
    home = images.parent
    prepare_covidx_ct(CovidxSource(images, lists, per_class=1, seed=3), home)
    text = (home / "annotations/train.json").read_text()
    info = json.loads(text)["info"]
    assert str(tmp_path) not in text and os.fspath(Path.home()) not in text
    assert (info["dataset"], info["seed"], info["per_class"]) == ("covidx_ct_train", 3, 1)
    assert info["lists"]["val"]["file"] == "val.txt" and len(info["lists"]["val"]["sha256"]) == 64
