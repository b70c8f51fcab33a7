"""Two ways in turn: what is called when, and what is made of the times."""

import pytest

from ct_lesion.benchmark.timing import Spread, Timed, compare, measure


def test_spread_of_values() -> None:
    assert Spread.of([3.0, 1.0, 7.0]) == Spread(3.0, 1.0, 7.0)


def test_ways_take_turns_after_a_round_that_does_not_count() -> None:
    calls = []
    rounds = []
    compare(
        lambda: calls.append("a") or 1, lambda: calls.append("b") or 1, 3, progress=rounds.append
    )
    assert calls == ["a", "b"] * 4
    assert rounds == [1, 2, 3]


def test_ratios_are_of_the_times_a_unit() -> None:
    first = iter([(1, 9.0), (2, 8.0), (2, 6.0), (1, 5.0)])  # the first is the warm-up
    comparison = compare(lambda: Timed(*next(first)), lambda: Timed(4, 4.0), rounds=3)
    assert comparison.first == Spread(4.0, 3.0, 5.0)
    assert comparison.second == Spread(1.0, 1.0, 1.0)
    assert comparison.ratio == Spread(4.0, 3.0, 5.0)
    assert comparison.ratio_of_medians == 4.0
    assert comparison.to_json()["ratio_of_medians"] == 4.0


def test_the_clock_runs_while_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 16.0])
    monkeypatch.setattr("ct_lesion.benchmark.timing.time.perf_counter", lambda: next(clock))
    assert measure(lambda: 3).seconds == 2.0


def test_work_without_units_and_no_rounds_are_errors() -> None:
    with pytest.raises(ValueError, match="0 units"):
        measure(lambda: 0)
    with pytest.raises(ValueError, match="rounds is 0"):
        compare(lambda: 1, lambda: 1, 0)
