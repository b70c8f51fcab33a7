"""The display window, against values worked out by hand."""

import numpy as np
import pytest

from ct_lesion.errors import DatasetError
from ct_lesion.scans.windows import WINDOWS, Window, choose_window, window_to_uint8


def test_lung_window_ends_and_middle():
    # -600/1500 runs from -1350 to 150 HU; -1000 is 350/1500 of the way: 59.5, to even 60.
    hu = np.array([[-2000, -1350, -1000], [-600, 150, 3000]], np.int16)
    assert window_to_uint8(hu).tolist() == [[0, 0, 60], [128, 255, 255]]


def test_presets_are_level_and_width():
    level, width = WINDOWS["mediastinum"]
    assert (level, width) == (40, 400)
    assert window_to_uint8(np.array([-160.0, 240.0]), level, width).tolist() == [0, 255]
    assert WINDOWS["lung"] == (-600, 1500)


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


def test_window_is_chosen_by_name_or_by_numbers():
    assert choose_window() is None
    assert choose_window("bone") == WINDOWS["bone"]
    assert choose_window(level=10, width=20) == (10, 20)
    assert WINDOWS["lung"].label == "lung (level -600, width 1500)"
    assert Window(10, 20).label == "level 10, width 20"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "liver"}, "unknown name 'liver'; choose lung"),
        ({"name": "lung", "level": 3}, "not both"),
        ({"level": 3}, "give both"),
        ({"level": 3, "width": 0}, "greater than 0"),
        ({"level": float("nan"), "width": 5}, "finite"),
    ],
)
def test_bad_choices_of_a_window_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        choose_window(**arguments)
