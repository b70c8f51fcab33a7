import pytest
from toy_runs import toy_slices

from ct_lesion.evaluation.run_comparison import SliceMismatch
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.runs.runs import RunError, choose_test, load_runs
from ct_lesion.report.sections.comparison_section import check_comparable, comparison_table


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


def test_one_run_has_nothing_to_be_compared_with(classification_run):
    assert comparison_table(results_of(classification_run()), ReportOptions()) is None


def test_other_slices_are_refused(classification_run):
    a = classification_run("a")
    b = classification_run("b", slices=toy_slices(patients=5))
    with pytest.raises(SliceMismatch, match=r"3 are only in a, e\.g\. covidx_ct_test_5_0"):
        check_comparable(results_of(a, b))


def test_another_number_of_regions_is_refused(classification_run):
    with pytest.raises(RunError, match="6 regions a slice in a and 4 regions a slice in b"):
        check_comparable(results_of(classification_run("a"), classification_run("b", n=4)))


def test_other_true_classes_are_refused(classification_run):
    other = [{**s, "label": 2 - s["label"]} for s in toy_slices()]
    with pytest.raises(RunError, match="with other true classes"):
        check_comparable(results_of(classification_run("a"), classification_run("b", other)))
