"""All slices of a run have the same window, which its config and its weights record."""

import argparse
import json
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion import LesionPredictor, load_config
from ct_lesion.checkpoint import describe, write_weights
from ct_lesion.data.datasets.splits import split_by_patients
from ct_lesion.data.prepare.cncb import find_slices, prepare_cncb
from ct_lesion.data.prepare.cncb_archive import Archive
from ct_lesion.engine.checks import window_of_weights, window_remarks, with_window
from ct_lesion.engine.setup import checked_config, start_run
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError
from ct_lesion.scans.windows import UNKNOWN, WINDOWS, Window

LUNG, RANGE = WINDOWS["lung"], Window(kind="range", clahe=7, side=256)


@pytest.fixture
def cfg_of():
    """Makes a config of datasets with these windows, named a, b, ... for training and x, y, ..."""
    names = []

    def register(name: str, window: Window) -> str:
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(window=window)
        names.append(name)
        return name

    def make(train: list[Window], test: list[Window], given: Window = UNKNOWN) -> CfgNode:
        cfg = load_config("segmentation/resnet18_t2.yaml")
        cfg.DATASETS.TRAIN = tuple(map(register, "abc", train))
        cfg.DATASETS.TEST = tuple(map(register, "xyz", test))
        given.into_config(cfg)
        return cfg

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("train", "test", "given", "expected"),
    [
        ([RANGE], [RANGE], UNKNOWN, RANGE),
        ([RANGE, RANGE], [UNKNOWN], UNKNOWN, RANGE),
        ([RANGE], [RANGE], RANGE, RANGE),
        ([UNKNOWN], [UNKNOWN], RANGE, RANGE),
        ([UNKNOWN, RANGE], [], RANGE, RANGE),
        ([UNKNOWN, RANGE], [], UNKNOWN, UNKNOWN),
        ([UNKNOWN], [RANGE], UNKNOWN, UNKNOWN),
    ],
)
def test_a_run_has_the_window_of_its_training_sets_or_its_config(
    cfg_of, train, test, given, expected
):
    cfg = cfg_of(train, test, given)
    assert Window.from_config(with_window(cfg)) == expected
    assert Window.from_config(cfg) == given, "the config is copied"


@pytest.mark.parametrize(
    ("train", "test", "given", "first", "second"),
    [
        ([RANGE], [LUNG], UNKNOWN, "a", "x"),
        ([RANGE, LUNG], [], UNKNOWN, "a", "b"),
        ([UNKNOWN, RANGE], [RANGE, LUNG], UNKNOWN, "b", "y"),
        ([LUNG], [], RANGE, "INPUT.WINDOW", "a"),
        ([UNKNOWN], [LUNG], RANGE, "INPUT.WINDOW", "x"),
    ],
)
def test_known_windows_that_differ_are_refused(cfg_of, train, test, given, first, second):
    with pytest.raises(ConfigError) as error:
        with_window(cfg_of(train, test, given))
    message = str(error.value)
    assert message.startswith(f"The windows of {first} (")
    assert f") and {second} (" in message
    assert LUNG.label in message and RANGE.label in message


def test_unrecorded_and_changed_windows_are_remarked(cfg_of, tmp_path):
    cfg = cfg_of([UNKNOWN], [UNKNOWN])
    (remark,) = window_remarks(with_window(cfg))
    assert remark.startswith("a, x: the dataset does not record its window and INPUT.WINDOW is un")
    RANGE.into_config(cfg)
    cfg.MODEL.WEIGHTS = str(write_described(tmp_path / "first.safetensors", LUNG))
    unrecorded, other = window_remarks(with_window(cfg))
    assert "a, x: the dataset does not record its window. INPUT.WINDOW is assumed:" in unrecorded
    assert RANGE.label in unrecorded
    assert f"trained on slices made with the window {LUNG.label}" in other


def write_described(path: Path, window: Window) -> Path:
    cfg = load_config("segmentation/resnet18_t2.yaml")
    window.into_config(cfg)
    write_weights(path, {}, describe(cfg))
    return path


def test_an_evaluation_takes_the_window_of_the_weights(cfg_of, tmp_path):
    cfg = cfg_of([LUNG], [RANGE])
    cfg.MODEL.WEIGHTS = str(write_described(tmp_path / "range.safetensors", RANGE))
    assert Window.from_config(with_window(cfg, training=False)) == RANGE
    cfg.MODEL.WEIGHTS = str(write_described(tmp_path / "lung.safetensors", LUNG))
    with pytest.raises(
        ConfigError, match=r"lung\.safetensors \(.*\) and x \(.*\) differ\. To eval"
    ):
        with_window(cfg, training=False)
    RANGE.into_config(cfg)
    assert Window.from_config(with_window(cfg, training=False)) == RANGE


@pytest.fixture
def windowed_root(datasets, lesion_archive, tmp_path, monkeypatch) -> Path:
    """The toy datasets with a recorded window."""
    archive = Archive(lesion_archive)
    pairs = find_slices(archive)
    split = split_by_patients([p.id for p in pairs], ["2", "3"])
    root = tmp_path / "datasets"
    prepare_cncb(archive, pairs, split, root / "cncb", ["merge"], min_area=20, window=RANGE)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    return root


def test_prediction_uses_the_window_that_the_json_records(windowed_root, toy_cfg, tmp_path):
    json_file = windowed_root / "cncb/annotations/cncb_lesion_train.json"
    assert json.loads(json_file.read_text())["info"]["window"] == RANGE.as_dict()
    config = tmp_path / "toy.yaml"
    config.write_text(toy_cfg(**{"SOLVER.MAX_ITER": 1, "TEST.EVAL_PERIOD": 0}).dump())
    args = argparse.Namespace(
        config_file=str(config), opts=[], eval_only=False, resume=False, num_gpus=1
    )
    cfg, remarks = checked_config(args)
    start_run(cfg, args, remarks)
    assert Window.from_config(load_config(str(tmp_path / "run/config.yaml"))) == RANGE
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    predictor = LesionPredictor.from_checkpoint(
        tmp_path / "run/model_final.safetensors", device="cpu"
    )
    assert predictor.segmenter.window == RANGE


def test_a_trainer_built_without_the_tool_copies_the_window(windowed_root, toy_cfg):
    assert Window.from_config(LesionTrainer(toy_cfg()).cfg) == RANGE


def test_weights_of_earlier_versions_have_an_unknown_window(tmp_path):
    path = tmp_path / "old.safetensors"
    config = load_config("segmentation/resnet18_t2.yaml")
    del config.INPUT["WINDOW"]
    write_weights(path, {}, {**describe(config)})
    assert window_of_weights(path) == UNKNOWN
    assert window_of_weights(tmp_path / "gone.pth") == window_of_weights("") == UNKNOWN
    (tmp_path / "other.safetensors").write_bytes(b"no weights")
    assert window_of_weights(tmp_path / "other.safetensors") == UNKNOWN


def test_datasets_are_compared_with_the_window_of_a_shipped_start_model(cfg_of):
    shipped = "ct_lesion://public_ct_resnet18_t1"
    assert window_of_weights(shipped) == Window(1023.5, 4095.0, clahe=7.0, side=256)
    cfg = with_window(cfg_of([LUNG], [LUNG]))
    cfg.MODEL.WEIGHTS = shipped
    [remark] = window_remarks(cfg)
    assert shipped in remark and "level 1023.5, width 4095, CLAHE" in remark


def test_invalid_keys_are_refused_before_the_first_step(toy_cfg):
    with pytest.raises(ConfigError, match=r"INPUT\.WINDOW: width is 0"):
        with_window(toy_cfg(**{"INPUT.WINDOW.KIND": "fixed"}))
