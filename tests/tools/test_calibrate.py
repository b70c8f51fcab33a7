"""The calibration tool on a toy run."""

import json

from toy_runs import make_classification_run, toy_slices

from ct_lesion.checkpoint import read_checkpoint, read_description


def test_only_the_temperature_changes_in_the_weights_file(run_tool, tmp_path):
    run = make_classification_run(tmp_path / "run", datasets=("covidx_ct_test", "covidx_ct_val"))
    path = run / "model_final.safetensors"
    before = read_checkpoint(path)
    result = run_tool("calibrate.py", run)
    assert result.returncode == 0, result.stderr
    assert str(path) in result.stdout
    after = read_checkpoint(path)
    assert all((after.model[name] == tensor).all() for name, tensor in before.model.items())
    temperature = json.loads(read_description(path)["temperature"])
    assert temperature["fitted_on"] == "covidx_ct_val"
    assert 0.05 <= temperature["value"] <= 20
    assert read_description(path)["config"] == before.description["config"]
    assert run_tool("calibrate.py", run).returncode == 0, "repeatable"


def test_a_run_without_validation_is_refused(run_tool, tmp_path):
    run = make_classification_run(tmp_path / "run", toy_slices())
    result = run_tool("calibrate.py", run)
    assert result.returncode == 2
    assert "no evaluation of a classifier on a validation set" in result.stderr
