import numpy as np
import pytest

from ct_lesion.evaluation.region_statistics import describe_counts, ks_tests
from ct_lesion.report.paper.region_tables import region_count_table, region_test_table

CLASSES = ("Control", "Common Pneumonia", "COVID-19")
LABELS = np.repeat([0, 1, 2], 4)
PATIENTS = np.array([f"{i // 2}" for i in range(12)])
COUNTS = {0.2: np.array([0, 1, 0, 1, 2, 2, 3, 3, 9, 9, 8, 8]), 0.9: np.array([0] * 11 + [1])}


def rows_by(table, *keys):
    return {tuple(row[key] for key in keys): row for row in table.records()}


def test_table_4_has_mean_spread_and_interval_beside_the_paper():
    summaries = describe_counts(COUNTS, LABELS, CLASSES, PATIENTS, LABELS == 1, resamples=50)
    table = region_count_table({"a": summaries})
    rows = rows_by(table, "class", "score above")
    assert len(rows) == 6
    row = rows["Common Pneumonia", 0.2]
    assert [row[key] for key in ("run", "slices", "patients", "mean")] == ["a", 4, 2, 2.5]
    assert row["padded slices"] == 4
    assert rows["Control", 0.2]["padded slices"] == 0
    assert row["1.96 SD"] == pytest.approx(1.96 * np.std([2, 2, 3, 3], ddof=1))
    assert row["95 % CI of the mean: low"] >= 2 and row["95 % CI of the mean: high"] <= 3
    assert row["mean ± 1.96 SD, paper"] == "0.65 ± 3.15"
    assert any("61.06" in note for note in table.notes)


def test_a_class_without_slices_and_one_patient_have_no_numbers():
    summaries = describe_counts(
        COUNTS, np.zeros(12, int), CLASSES, ["p"] * 12, LABELS == 1, resamples=20
    )
    rows = rows_by(region_count_table({"a": summaries}), "class", "score above")
    assert rows["COVID-19", 0.2]["mean"] is None and rows["COVID-19", 0.2]["slices"] == 0
    assert rows["Control", 0.2]["mean"] is not None
    assert rows["Control", 0.2]["95 % CI of the mean: low"] is None


def test_table_5_has_holm_the_alternative_and_the_paper():
    table = region_test_table({"a": ks_tests(COUNTS, LABELS, CLASSES)})
    rows = rows_by(table, "pair", "score above")
    assert len(rows) == 6
    row = rows["Common Pneumonia / Control", 0.2]
    assert row["statistic"] == 1 and row["p, Holm"] >= row["p"] > 0
    # with 4 against 4 a full separation has p = 1 / C(8, 4)
    assert row["p"] == pytest.approx(1 / 70)
    assert row["p < 0.01"] is False
    assert row["alternative"] == "Common Pneumonia slices have more such RoIs than Control slices"
    assert row["statistic/p, paper"] == "0.18/2e-08"


def test_constant_samples_are_not_tested():
    table = region_test_table({"a": ks_tests(COUNTS, LABELS, CLASSES)})
    row = rows_by(table, "pair", "score above")["COVID-19 / Control", 0.9]
    assert row["statistic"] == "N/A: constant"
    assert row["p"] is None and row["p, Holm"] is None and row["p < 0.01"] is None
    assert row["statistic/p, paper"] == "N/A"


def test_several_runs_and_other_thresholds():
    tests = ks_tests({0.3: COUNTS[0.2]}, LABELS, CLASSES)
    table = region_test_table({"a": tests, "b": tests})
    assert [row["run"] for row in table.records()] == ["a"] * 3 + ["b"] * 3
    assert {row["statistic/p, paper"] for row in table.records()} == {None}
