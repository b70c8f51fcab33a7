"""Rows: targets, what is chosen, what is skipped."""

import pytest

from ct_lesion.benchmark.row import (
    Pair,
    Row,
    RowResult,
    Settings,
    SkipRow,
    Value,
    all_rows,
    at_least,
    at_most,
    choose_rows,
    register_row,
)
from ct_lesion.benchmark.timing import Timed
from ct_lesion.errors import UserError


def make_row(prepare, target=None) -> Row:
    return Row("toy", "work", "slice", "plain", "fast", target, prepare)


def pair(_: Settings) -> Pair:
    return Pair(lambda: Timed(2, 6.0), lambda: Timed(1, 1.0), {"detections": 4})


def test_a_row_compares_two_ways() -> None:
    result = make_row(pair, at_least(2.5)).run(Settings(rounds=2))
    assert result.value == 3.0
    assert result.shown == "3.00x"
    assert result.met is True
    assert result.facts == {"detections": 4}
    assert result.comparison.rounds == 2


@pytest.mark.parametrize(
    ("target", "met"),
    [(at_least(3.1), False), (at_most(1.6), False), (at_most(3), True), (None, None)],
)
def test_targets(target, met) -> None:
    assert make_row(pair, target).run(Settings(rounds=1)).met is met


def test_a_row_of_one_value() -> None:
    result = make_row(lambda _: Value(2.5, "GiB"), at_most(3, "GiB")).run(Settings())
    assert (result.value, result.shown, result.met) == (2.5, "2.50 GiB", True)
    assert result.to_json()["target"] == "at most 3 GiB"


def test_a_row_that_cannot_be_measured_says_why() -> None:
    def no_gpu(_: Settings) -> Pair:
        raise SkipRow("there is no GPU here")

    result = make_row(no_gpu, at_least(10)).run(Settings())
    assert result == RowResult(result.row, skipped="there is no GPU here")
    assert result.met is None
    assert result.to_json()["skipped"] == "there is no GPU here"


def test_rows_are_chosen_by_name() -> None:
    names = [row.name for row in all_rows()]
    assert len(names) == len(set(names))
    chosen = choose_rows(["floor-resnet18_t1", "classify-resnet18_t1"])
    assert [row.name for row in chosen] == ["floor-resnet18_t1", "classify-resnet18_t1"]
    with pytest.raises(UserError, match=r"No row nonsense\. There are: .*floor-resnet"):
        choose_rows(["nonsense"])


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="two rows 'classify-resnet18_t1'"):
        all_rows()
        register_row("classify-resnet18_t1")(pair)
