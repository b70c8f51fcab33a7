"""Config values are checked together, before anything starts."""

import argparse
import re
from pathlib import Path

import pytest

from ct_lesion import load_config
from ct_lesion.config import shipped_configs
from ct_lesion.config_values import check_choice, check_values
from ct_lesion.engine.setup import checked_config, read_config
from ct_lesion.errors import ConfigError
from ct_lesion.prediction.models import load_segmenter

CONFIG = "segmentation/resnet18_t1.yaml"


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configs_are_in_range(name: str) -> None:
    check_values(load_config(name), name, "training")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SEED", "4294967296", "-1 to 2,147,483,647"),
        ("SOLVER.IMS_PER_BATCH", "0", "1 to 65,536"),
        ("SOLVER.MAX_ITER", "0", "1 to 1,000,000,000"),
        ("SOLVER.BASE_LR", "-1.0", "above 0, at most 1,000,000"),
        ("SOLVER.BASE_LR", "0.0", "above 0, at most 1,000,000"),
        ("SOLVER.BASE_LR", "1e999", "above 0, at most 1,000,000"),
        ("SOLVER.CHECKPOINT_PERIOD", "0", "1 to 1,000,000,000"),
        ("SOLVER.STEPS", "(5, 3)", "increasing iterations"),
        ("SOLVER.LR_SCHEDULER_NAME", "Cosine", "one of WarmupMultiStepLR"),
        ("DATALOADER.NUM_WORKERS", "-1", "0 to 256"),
        ("DATALOADER.SAMPLER_TRAIN", "Random", "one of TrainingSampler"),
        ("INPUT.MIN_SIZE_TRAIN", "()", "at least one number"),
        ("INPUT.MIN_SIZE_TRAIN", "('a',)", "0 to 2,048"),
        ("INPUT.MIN_SIZE_TEST", "100000", "0 to 2,048"),
        ("MODEL.PIXEL_STD", "[0.0, 1.0, 1.0]", "0.001 to 65,536"),
        ("MODEL.PIXEL_MEAN", "[100.0]", "3 numbers, one for each channel"),
        ("MODEL.PIXEL_STD", "[1.0, 1.0]", "3 numbers, one for each channel"),
        ("MODEL.PIXEL_STD", "[[1.0, 1.0, 1.0]]", "3 numbers, one for each channel"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", "[[]]", "at least one number"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", f"[{list(range(1, 18))}]", "at most 16"),
        ("MODEL.RPN.IN_FEATURES", "[]", "at least one name"),
        ("MODEL.RESNETS.DEPTH", "20", "one of 18, 34, 50"),
        ("MODEL.RPN.LOSS_WEIGHT", "1e300", "-65,536 to 65,536"),
        ("DATASETS.TRAIN", "()", "a dataset"),
        ("OUTPUT_DIR", "", "a folder"),
    ],
)
def test_a_value_out_of_range_names_its_key(key: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"{re.escape(key)} .*expected {re.escape(expected)}"):
        read_config(CONFIG, [key, value], "training")


def test_regions_channels_and_pixels_together_are_bounded() -> None:
    keys = ["MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 64, "MODEL.RPN.POST_NMS_TOPK_TEST", 12_000]
    # 12,000 regions x 256 channels x 64 x 64 pixels
    with pytest.raises(ConfigError, match=r"TOPK_TEST 12,000 .* 12,582,912,000 numbers"):
        read_config(CONFIG, keys)


def test_cosine_schedule_ends_below_its_start() -> None:
    keys = ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 1.0]
    with pytest.raises(ConfigError, match=r"BASE_LR_END is 1\.0, expected at most SOLVER\.BASE_LR"):
        read_config(CONFIG, keys)


def test_all_faults_are_reported_in_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    keys = ["SOLVER.MAX_ITER", "0", "SEED", "-2", "OUTPUT_DIR", str(file / "run")]
    args = argparse.Namespace(config_file=CONFIG, opts=keys, eval_only=False, resume=False)
    with pytest.raises(ConfigError) as caught:
        checked_config(args)
    message = str(caught.value)
    assert "\n" not in message
    assert "MAX_ITER is 0" in message
    assert "SEED is -2" in message
    assert f"{file} is not a folder" in message
    assert list(tmp_path.iterdir()) == [file]


def test_an_evaluation_needs_test_sets_and_no_training_sets() -> None:
    read_config(CONFIG, ["DATASETS.TRAIN", "()"], "evaluation")
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST is empty"):
        read_config(CONFIG, ["DATASETS.TEST", "()"], "evaluation")


def test_predictions_check_overrides_too(segmenter_file: Path) -> None:
    with pytest.raises(ConfigError, match="DETECTIONS_PER_IMAGE is 0, expected 1 to 10,000"):
        load_segmenter(segmenter_file, device="cpu", overrides=["TEST.DETECTIONS_PER_IMAGE", "0"])


def test_unknown_choice() -> None:
    with pytest.raises(ConfigError, match=r"SOLVER\.OPTIMIZER is 'Sgd', expected one of SGD, Adam"):
        check_choice("SOLVER.OPTIMIZER", "Sgd")
