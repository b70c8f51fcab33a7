import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from toy_runs import toy_slices

from ct_lesion.evaluation.run_comparison import SliceMismatch
from ct_lesion.evaluation.subgroups import MetadataError
from ct_lesion.pages.tables import Table
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.runs.results import choose_test
from ct_lesion.report.runs.run_checks import RunError
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.report.sections.classification import (
    at_level,
    cautions,
    check_comparable,
    comparison_table,
    confusion_table,
    level_table,
    subgroup_tables,
    worst_blocks,
)

OPTIONS = ReportOptions(resamples=50)


@pytest.fixture
def load(classification_run):
    def make(**arguments):
        return {"run": choose_test(load_runs([classification_run(**arguments)])[0].classification)}

    return make


def test_the_logits_of_a_patient_are_the_mean_of_its_slices(load):
    result = load()["run"]
    labels, logits, patients, mixed = at_level(result, "patients")
    assert patients.tolist() == ["0", "1", "2", "3", "4", "5"]
    np.testing.assert_allclose(logits[2], result.logits[result.patients == "2"].mean(axis=0))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert mixed == ()


def test_metrics_of_each_level_match_scikit_learn(load):
    results = load()
    table = level_table(results, OPTIONS)
    accuracy = dict(zip(table.columns, table.rows[0], strict=True))
    for level in ("slices", "scans", "patients"):
        labels, logits, _, _ = at_level(results["run"], level)
        expected = 100 * accuracy_score(labels, logits.argmax(axis=1))
        assert accuracy[f"{level}, %"] == pytest.approx(expected)
        assert accuracy[f"{level}: low"] <= expected <= accuracy[f"{level}: high"]


def test_confusions_add_up_to_all_slices(load):
    table = confusion_table(load())
    assert sum(sum(row[2:]) for row in table.rows) == 18


def test_warnings_about_a_missing_class_and_a_single_patient(load):
    slices = [{**s, "label": s["label"] % 2} for s in toy_slices(classes=2)]
    (caution,) = cautions(load(name="two", slices=slices))
    assert "no slice of COVID-19" in caution.text
    (first, second) = cautions(load(name="one", slices=toy_slices(patients=1)))
    assert "no slice of Common Pneumonia or COVID-19" in first.text
    assert "only one patient" in second.text
    level_table(load(name="again", slices=toy_slices(patients=1)), OPTIONS)


def test_subgroups_come_from_columns_of_a_file(load, tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text("patient,sex\n0,f\n1,f\n2,f\n3,m\n4,m\n5,m\n")
    (table,) = subgroup_tables(
        load(), ReportOptions(resamples=20, metadata=path, subgroups=["sex"])
    )
    rows = [row[1:4] for row in table.rows if row[4] == "accuracy"]
    assert rows == [["f", 9, 3], ["m", 9, 3]]
    assert " to " in table.shown()[0][5]
    with pytest.raises(MetadataError, match="has no column age"):
        subgroup_tables(load(name="b"), ReportOptions(metadata=path, subgroups=["age"]))


def test_worst_slices_without_their_images_are_a_table(load):
    sentence, table = worst_blocks(load())
    assert isinstance(table, Table)
    assert all(row[2] != row[3] for row in table.rows)
    assert "were moved or deleted" in sentence


# ---- comparison of runs ------------------------------------------------------------------------
def results_of(*folders) -> dict:
    return {run.name: choose_test(run.classification) for run in load_runs(folders)}


def test_every_pair_of_runs_is_compared(classification_run):
    results = results_of(*(classification_run(name, seed=i) for i, name in enumerate("abc")))
    check_comparable(results)
    table = comparison_table(results, ReportOptions(resamples=20))
    assert [row[:2] for row in table.rows] == [["a", "b"], ["a", "c"], ["b", "c"]]
    first = table.records()[0]
    assert first["both right"] + first["only A right"] == round(18 * first["accuracy A, %"] / 100)
    assert first["A - B"] == pytest.approx(first["accuracy A, %"] - first["accuracy B, %"])


def test_a_single_run_is_not_compared(classification_run):
    assert comparison_table(results_of(classification_run()), ReportOptions()) is None


def test_different_slices_are_refused(classification_run):
    a = classification_run("a")
    b = classification_run("b", slices=toy_slices(patients=5))
    with pytest.raises(SliceMismatch, match=r"3 are only in a, e\.g\. covidx_ct_test_5_0"):
        check_comparable(results_of(a, b))


def test_different_numbers_of_regions_are_refused(classification_run):
    with pytest.raises(RunError, match="6 regions per slice in a and 4 regions per slice in b"):
        check_comparable(results_of(classification_run("a"), classification_run("b", n=4)))


def test_different_true_classes_are_refused(classification_run):
    other = [{**s, "label": 2 - s["label"]} for s in toy_slices()]
    with pytest.raises(RunError, match="have different true classes"):
        check_comparable(results_of(classification_run("a"), classification_run("b", slices=other)))
