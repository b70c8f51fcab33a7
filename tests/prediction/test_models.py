"""Class names and temperature of checkpoints of other origin."""

import json
from pathlib import Path

import pytest

from ct_lesion.errors import CheckpointError
from ct_lesion.prediction.models import _class_names, _temperature


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["GGO", "a\nb\t c"], ("GGO", "a b c")),
        (["GGO", "\x1b[31m\udcff"], ("GGO", "\\x1b[31m\\udcff")),
        (["GGO", "GGO"], ("class 1", "class 2")),
        (["GGO", " \n"], ("class 1", "class 2")),
        (["GGO"], ("class 1", "class 2")),
        (["GGO", 5], ("class 1", "class 2")),
        ("ab", ("class 1", "class 2")),
    ],
)
def test_class_names_are_unique_printable_lines(names, expected):
    assert _class_names({"class_names": json.dumps(names)}, ["x", "y"], 2) == expected


@pytest.mark.parametrize("value", [5e-324, 0, -1, 1e300, float("nan"), "2", None, True])
def test_a_temperature_outside_the_limits_of_the_fit_is_refused(value):
    description = {"temperature": json.dumps({"value": value})}
    with pytest.raises(CheckpointError, match=r"a.pth: its temperature is .* from 0.05 to 20"):
        _temperature(Path("a.pth"), description)


def test_the_limits_of_the_fit_are_allowed():
    for value in (0.05, 1, 20):
        assert _temperature("a", {"temperature": json.dumps({"value": value})}) == value
    assert _temperature("a", {}) == 1
