"""The display window, against values worked out by hand."""

import argparse
import json
import math

import cv2
import numpy as np
import pytest

from ct_lesion import load_config
from ct_lesion.errors import ConfigError, DatasetError
from ct_lesion.scans.window_options import add_window_options, window_from_options
from ct_lesion.scans.windows import UNKNOWN, WINDOWS, Window, window_to_uint8

EQUALISED = Window(1023.5, 4095, clahe=7, side=256)


def test_lung_window_ends_and_middle():
    # -600/1500 runs from -1350 to 150 HU; -1000 is 350/1500 of the way: 59.5, to even 60.
    hu = np.array([[-2000, -1350, -1000], [-600, 150, 3000]], np.int16)
    assert window_to_uint8(hu).tolist() == [[0, 0, 60], [128, 255, 255]]


def test_presets_are_level_and_width():
    level, width = WINDOWS["mediastinum"].level, WINDOWS["mediastinum"].width
    assert (level, width) == (40, 400)
    assert window_to_uint8(np.array([-160.0, 240.0]), level, width).tolist() == [0, 255]
    assert WINDOWS["lung"] == Window(-600, 1500)


def test_input_is_not_changed_and_shape_is_kept():
    hu = np.linspace(-1024, 400, 24, dtype=np.float32).reshape(2, 3, 4)
    before = hu.copy()
    out = window_to_uint8(hu)
    assert out.dtype == np.uint8 and out.shape == hu.shape
    assert np.array_equal(hu, before)
    assert (np.diff(out.ravel().astype(int)) >= 0).all()


def test_infinities_saturate():
    assert window_to_uint8(np.array([-np.inf, np.inf])).tolist() == [0, 255]


@pytest.mark.parametrize("width", [0, -1, np.nan, np.inf])
def test_bad_width_is_refused(width):
    with pytest.raises(ValueError, match="width"):
        window_to_uint8(np.zeros(3), width=width)


def test_nan_and_non_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        window_to_uint8(np.array([0.0, np.nan]))
    with pytest.raises(TypeError, match="bool"):
        window_to_uint8(np.zeros(3, bool))


def test_a_label_names_every_step():
    assert WINDOWS["lung"].label == "lung (level -600, width 1500)"
    assert EQUALISED.label == "level 1023.5, width 4095, CLAHE with clip limit 7, shrunk to 256 px"
    assert Window(kind="range", clahe=2.5).label == (
        "range (minimum to maximum of each slice), CLAHE with clip limit 2.5"
    )
    assert UNKNOWN.label == "unknown"


def test_range_is_that_of_the_slice_without_padding():
    # -1000 to 200 HU in 255 steps: -400 is the middle, 127.5, rounded to even
    hu = np.array([[-3024, -1024, -1000], [-400, 200, 200]], np.int16)
    assert Window(kind="range").grey(hu).tolist() == [[0, 0, 0], [128, 255, 255]]
    flat, padding = np.full((2, 2), 40, np.int16), np.full((2, 2), -3024, np.int16)
    for constant in (flat, padding):
        assert not Window(kind="range").grey(constant).any()


def test_slices_are_made_like_those_of_a_public_set():
    """Whole range to 0..255, CLAHE on the full-size slice, cubic shrinking: OpenCV's own calls."""
    hu = np.random.default_rng(0).integers(-1024, 3072, (512, 512)).astype(np.int16)
    grey = np.rint((hu + 1024.0) * 255 / 4095).astype(np.uint8)
    grey = cv2.createCLAHE(clipLimit=7, tileGridSize=(8, 8)).apply(grey)
    np.testing.assert_array_equal(EQUALISED.grey(hu), grey)
    small = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(EQUALISED.shrink(EQUALISED.grey(hu)), small)


def test_the_shorter_side_is_shrunk_and_never_enlarged():
    window = Window(10, 20, side=32)
    for shape, expected in {
        (64, 96): (32, 48),
        (96, 64): (48, 32),
        (32, 96): (32, 96),
        (20, 30): (20, 30),
    }.items():
        assert window.shrink(np.zeros(shape, np.uint8)).shape == expected
    checks = np.zeros((64, 64), np.uint8)
    checks[::2] = 3
    assert set(np.unique(window.shrink(checks, cv2.INTER_NEAREST))) <= {0, 3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "lung"}, "kind is 'lung'"),
        ({}, "width is 0"),
        ({"level": 1, "width": -3}, "width is -3"),
        ({"level": math.nan, "width": 3}, "level is nan"),
        ({"level": "1", "width": 3}, "level is '1'"),
        ({"width": True}, "width is True"),
        ({"kind": "range", "width": 5}, "must be 0 for kind 'range'"),
        ({"kind": "unknown", "side": 256}, "must be 0 for kind 'unknown'"),
        ({"kind": "range", "clahe": -1}, "clahe is -1"),
        ({"kind": "range", "side": 256.5}, "side is 256.5"),
        ({"kind": "range", "side": 8}, "side is 8"),
    ],
)
def test_invalid_windows_are_refused_everywhere(values, message):
    with pytest.raises(ValueError, match=message):
        Window(**values)
    with pytest.raises(DatasetError, match=f"a.json: its window is faulty .*{message}"):
        Window.from_json(values, "a.json")


def test_json_and_config_hold_the_same_window():
    assert Window.from_json(json.loads(json.dumps(EQUALISED.as_dict())), "a.json") == EQUALISED
    assert Window.from_json(None, "a.json") == UNKNOWN
    for faulty in ("lung", [1], {"kind": "range", "colour": 1}):
        with pytest.raises(DatasetError, match=r"a\.json: its window is faulty"):
            Window.from_json(faulty, "a.json")
    cfg = load_config("segmentation/resnet18_t1.yaml")
    assert Window.from_config(cfg) == UNKNOWN
    EQUALISED.into_config(cfg)
    assert (cfg.INPUT.WINDOW.KIND, cfg.INPUT.WINDOW.SIDE) == ("fixed", 256)
    assert Window.from_config(cfg) == EQUALISED
    cfg.INPUT.WINDOW.WIDTH = 0.0
    with pytest.raises(ConfigError, match=r"INPUT\.WINDOW: width is 0"):
        Window.from_config(cfg)


def options(*arguments: str) -> Window | None:
    parser = argparse.ArgumentParser()
    add_window_options(parser, "window")
    return window_from_options(parser.parse_args(arguments))


def test_options_describe_a_window():
    assert options() is None
    assert options("--window", "bone") == WINDOWS["bone"]
    assert options("--window-level", "10", "--window-width", "20") == Window(10, 20)
    extra = ("--window-clahe", "7", "--window-side", "256")
    assert options("--window", "range", *extra) == Window(kind="range", clahe=7, side=256)
    assert options("--window-level", "1023.5", "--window-width", "4095", *extra) == EQUALISED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--window lung --window-level 3", "not both"),
        ("--window-level 3", "give both"),
        ("--window-level 3 --window-width 0", "width is 0"),
        ("--window-level nan --window-width 5", "level is nan"),
        ("--window-clahe 7", "give a window with them"),
        ("--window lung --window-side 3", "side is 3"),
    ],
)
def test_contradicting_options_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        options(*arguments.split())
