import json
import math
import os

import numpy as np
import pytest

from ct_lesion.errors import UserError
from ct_lesion.report.runs.results import choose_test, choose_validation
from ct_lesion.report.runs.run_checks import RunError
from ct_lesion.report.runs.runs import load_runs


def test_a_classification_run_is_read_back(classification_run):
    folder = classification_run(datasets=("covidx_ct_test", "covidx_ct_val"))
    (run,) = load_runs([folder])
    result = choose_test(run.classification)
    assert result.class_names == ("Control", "Common Pneumonia", "COVID-19")
    assert result.logits.shape == (18, 3)
    assert result.roi_batches.roi_batch.shape == (18, 6, 5)
    assert result.roi_batches.patient.tolist() == result.patients.tolist()
    accuracy = (result.logits.argmax(1) == result.labels).mean()
    assert 100 * accuracy == pytest.approx(result.metrics["metrics"]["accuracy"])
    assert choose_validation(run.classification).dataset == "covidx_ct_val"
    assert run.curves[0] == {"iteration": 0, "total_loss": 1.0}
    assert run.minutes is None


def test_a_segmentation_run_is_read_back_and_its_weights_are_found(segmentation_run):
    (run,) = load_runs([segmentation_run()])
    result = choose_test(run.segmentation)
    assert len(result.truth.imgs) == 6
    assert result.detections
    assert result.image_file(1).is_file()
    assert [f.name for f in run.weights_files(result.record)] == ["model_final.safetensors"]


def test_runs_have_the_shortest_unique_names(classification_run):
    folders = [classification_run("a/x"), classification_run("b/x")]
    assert [run.name for run in load_runs(folders)] == ["a/x", "b/x"]
    assert [run.name for run in load_runs(folders[:1])] == ["x"]


def damage(folder, name: str, text: str) -> None:
    (folder / "inference/covidx_ct_test" / name).write_text(text)


def test_faulty_folders_are_refused(classification_run, tmp_path):
    folder = classification_run()
    with pytest.raises(RunError, match="given twice"):
        load_runs([folder, folder])
    with pytest.raises(RunError, match=r"Give an OUTPUT_DIR of ct-lesion train"):
        load_runs([tmp_path])
    damage(folder, "predictions.csv", "file,patient\nx,y\n")
    with pytest.raises(RunError, match=r"predictions.csv is incomplete"):
        load_runs([folder])
    damage(folder, "predictions.csv", "")
    with pytest.raises(RunError, match=r"predictions.csv is incomplete"):
        load_runs([folder])


def test_a_run_without_predictions_is_refused_with_the_command_to_evaluate_it(classification_run):
    folder = classification_run()
    for path in (folder / "inference/covidx_ct_test").iterdir():
        path.unlink()
    with pytest.raises(RunError, match=r"holds no predictions. Evaluate it first: ct-lesion train"):
        load_runs([folder])


def test_roi_batches_of_other_slices_are_refused(classification_run):
    a = classification_run("a")
    b = classification_run("b", slices=None)
    name = "inference/covidx_ct_test/predictions.csv"
    lines = (b / name).read_text().splitlines()
    (a / name).write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(RunError, match="holds other slices than"):
        load_runs([a])


def test_missing_weights_are_reported(segmentation_run):
    folder = segmentation_run()
    (run,) = load_runs([folder])
    (folder / "model_final.safetensors").unlink()
    with pytest.raises(RunError, match=r"holds no .safetensors file with the weights"):
        run.weights_files(choose_test(run.segmentation).record)


def test_detections_in_unknown_images_are_refused(segmentation_run):
    folder = segmentation_run()
    path = folder / "inference/cncb_lesion_test/coco_instances_results.json"
    detections = json.loads(path.read_text())
    path.write_text(json.dumps([{**detections[0], "image_id": 77}]))
    with pytest.raises(RunError, match=r"e.g. image 77"):
        load_runs([folder])


def test_the_wanted_dataset_is_chosen(classification_run):
    folder = classification_run(datasets=("covidx_ct_train", "covidx_ct_val"))
    (run,) = load_runs([folder])
    with pytest.raises(RunError, match="Several datasets were evaluated"):
        choose_test(run.classification)
    assert choose_test(run.classification, "covidx_ct_train").dataset == "covidx_ct_train"
    assert choose_test(run.classification, "other") is None
    assert choose_test({}) is None


def test_a_line_that_a_killed_run_left_incomplete_is_skipped(classification_run):
    folder = classification_run()
    with (folder / "metrics.json").open("a") as file:
        file.write('\n{"iteration": 3, "total')
    (run,) = load_runs([folder])
    assert [line["iteration"] for line in run.curves] == [0, 1, 2]
    assert np.isfinite(run.curves[-1]["total_loss"])


def test_values_of_curves_that_are_not_numbers_are_counted_in_a_note(classification_run):
    folder = classification_run()
    lines = [
        '{"iteration": 0, "total_loss": 2.5, "name": "x", "loss_a": null}',
        '{"iteration": 1, "total_loss": NaN, "loss_a": 1e999}',
        '{"iteration": "2", "total_loss": 1}',
    ]
    (folder / "metrics.json").write_text("\n".join(lines))
    (run,) = load_runs([folder])
    assert run.curves[0] == {"iteration": 0, "total_loss": 2.5}
    assert len(run.curves) == 2
    assert math.isnan(run.curves[1]["total_loss"]) and math.isnan(run.curves[1]["loss_a"])
    assert run.notes == [
        "classification: 3 values in metrics.json are not numbers and are not drawn."
    ]


def test_a_config_in_the_training_record_that_cannot_be_read_names_the_file(classification_run):
    folder = classification_run()
    (folder / "training.json").write_text(json.dumps({"seconds": 1, "config": "a: ["}))
    (run,) = load_runs([folder])
    with pytest.raises(RunError, match=r"training.json: its config cannot be read"):
        run.training_cfg  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        "training.json",
        "metrics.json",
        "inference/covidx_ct_test/predictions.csv",
        "inference/covidx_ct_test/roi_batches.npz",
    ],
)
def test_a_pipe_in_place_of_a_file_is_named_and_not_read(classification_run, name):
    folder = classification_run()
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="is a pipe or a device"):
        load_runs([folder])
