import pytest

from ct_lesion.evaluation.calibration import calibration, fit_temperature
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.report.sections.calibration import calibration_blocks


def test_the_temperature_is_fitted_on_validation_and_applied_to_test_slices(
    classification_run,
):
    test = load_runs([classification_run()])[0].classification["covidx_ct_test"]
    folder = classification_run("validated", datasets=("covidx_ct_val",), seed=5)
    validation = load_runs([folder])[0].classification["covidx_ct_val"]
    picture, table = calibration_blocks({"run": (test, validation)})
    before, after = table.records()
    temperature = fit_temperature(validation.labels, validation.logits)
    assert after["temperature"] == temperature
    assert before["ECE"] == calibration(test.labels, test.logits).ece
    assert after["Brier"] == calibration(test.labels, test.logits / temperature).brier
    assert len(picture.numbers) == 2
    assert [len(axis.patches) > 0 for axis in picture.figure.axes] == [True, True]


@pytest.mark.parametrize("validation", ["none", "the test set"])
def test_no_temperature_is_fitted_on_test_slices(classification_run, validation):
    test = load_runs([classification_run()])[0].classification["covidx_ct_test"]
    _, table = calibration_blocks({"run": (test, None if validation == "none" else test)})
    assert len(table.rows) == 1
    assert "no temperature" in table.notes[-1]
