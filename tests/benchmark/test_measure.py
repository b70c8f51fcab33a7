"""Alternating rounds, targets, and cases that cannot be measured."""

import pytest

from ct_lesion.benchmark.measure import (
    Case,
    Measured,
    NotMeasurable,
    Result,
    Settings,
    Spread,
    Timed,
    compare,
    compared,
    measure,
)


def test_spread_of_values() -> None:
    assert Spread.of([3.0, 1.0, 7.0]) == Spread(3.0, 1.0, 7.0)


def test_ways_alternate_after_a_warm_up_round() -> None:
    calls = []
    compare(lambda: calls.append("a") or 1, lambda: calls.append("b") or 1, 3)
    assert calls == ["a", "b"] * 4


def test_ratios_compare_times_per_unit() -> None:
    first = iter([(1, 9.0), (2, 8.0), (2, 6.0), (1, 5.0)])  # the first is the warm-up
    comparison = compare(lambda: Timed(*next(first)), lambda: Timed(4, 4.0), rounds=3)
    assert comparison.first == Spread(4.0, 3.0, 5.0)
    assert comparison.second == Spread(1.0, 1.0, 1.0)
    assert comparison.ratio == Spread(4.0, 3.0, 5.0)
    assert comparison.to_json()["ratio_of_medians"] == 4.0


def test_time_is_divided_by_units(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 16.0])
    monkeypatch.setattr("ct_lesion.benchmark.measure.time.perf_counter", lambda: next(clock))
    assert measure(lambda: 3)[0] == 2.0


def test_work_without_units_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 units"):
        measure(lambda: 0)


def speed_up(settings: Settings) -> Measured:
    return compared(lambda: Timed(2, 6.0), lambda: Timed(1, 1.0), settings, {"detections": 4})


def test_a_case_of_two_ways() -> None:
    result = Case("toy", "work", speed_up, "plain", "fast", at_least=2.5).run(Settings(rounds=2))
    assert (result.measured.value, result.shown, result.met) == (3.0, "3.00x", True)
    assert result.measured.facts == {"detections": 4}
    assert result.measured.comparison.rounds == 2


@pytest.mark.parametrize(
    ("target", "met"),
    [({"at_least": 3.1}, False), ({"at_most": 1.6}, False), ({"at_most": 3}, True), ({}, None)],
)
def test_targets(target, met) -> None:
    assert Case("toy", "work", speed_up, "plain", **target).run(Settings(rounds=1)).met is met


def test_a_case_of_one_value() -> None:
    case = Case("toy", "work", lambda _: Measured(2.5), "memory", unit="GiB", at_most=3)
    result = case.run(Settings())
    assert (result.shown, result.met) == ("2.50 GiB", True)
    assert result.to_json()["target"] == "at most 3 GiB"


def test_a_case_that_cannot_be_measured_says_why() -> None:
    def no_gpu(_: Settings) -> Measured:
        raise NotMeasurable("there is no GPU here")

    case = Case("toy", "work", no_gpu, "plain", at_least=10)
    result = case.run(Settings())
    assert result == Result(case, skipped="there is no GPU here")
    assert result.met is None
    assert result.to_json()["skipped"] == "there is no GPU here"
