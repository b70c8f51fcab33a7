"""The training tool and the picture tool, on toy data."""

import json
import shutil
import subprocess
import sys

import pytest
from readme import readme_example

CONFIG = "segmentation/resnet18_t2.yaml"
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 16, "INPUT.MIN_SIZE_TRAIN", "[64]"]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
SMALL += ["INPUT.MIN_SIZE_TEST", 64, "DATALOADER.NUM_WORKERS", 0, "TEST.EVAL_PERIOD", 0]


@pytest.fixture
def train(run_script, lesion_root):
    def run(*arguments: object) -> subprocess.CompletedProcess:
        environment = {"DETECTRON2_DATASETS": str(lesion_root)}
        return run_script("train_net.py", "--config-file", CONFIG, *arguments, **environment)

    return run


def test_train_resume_evaluate_and_draw(train, run_script, lesion_root, tmp_path):
    run = tmp_path / "run"
    folder = ["OUTPUT_DIR", run]
    result = train(*SMALL, *folder, "SOLVER.MAX_ITER", 2)
    assert result.returncode == 0, result.stderr
    assert (run / "model_final.safetensors").is_file()
    assert f"All files of this run are in {run}" in result.stdout

    result = train("--resume", *SMALL, *folder, "SOLVER.MAX_ITER", 3)
    assert result.returncode == 0, result.stderr
    assert "Starting training from iteration 2" in result.stdout

    weights = ["MODEL.WEIGHTS", run / "model_final.safetensors"]
    result = train("--eval-only", *SMALL, *weights, "OUTPUT_DIR", tmp_path / "evaluated")
    assert result.returncode == 0, result.stderr
    evaluated = tmp_path / "evaluated/inference/cncb_lesion_test"
    trained = run / "inference/cncb_lesion_test"
    metrics = [
        json.loads((f / "segmentation_metrics.json").read_text()) for f in (evaluated, trained)
    ]
    assert metrics[0] == metrics[1]

    result = run_script("show_predictions.py", evaluated, DETECTRON2_DATASETS=str(lesion_root))
    assert result.returncode == 0, result.stderr
    assert (evaluated / "predictions.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOLVER.MAXITER", "5"], "Non-existent key: SOLVER.MAXITER"),
        (["DATASETS.TRAIN", "('nothing',)"], "'nothing', which is not registered"),
        (["MODEL.ROI_HEADS.NUM_CLASSES", "2"], "has 1 classes: Lesion"),
        (["DATASETS.TEST", "('cncb_lesion_train',)"], "share patients: patients 0, 1 are in"),
        (["MODEL.RPN.IN_FEATURES", "['p5']"], "MODEL.RPN.IN_FEATURES is ['p5']"),
        (["--eval-only"], "MODEL.WEIGHTS is empty"),
        (["--eval-only", "MODEL.WEIGHTS", "gone.pth"], "gone.pth does not exist"),
        (["SOLVER.OPTIMIZER", "Magic"], "SOLVER.OPTIMIZER is 'Magic'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(train, arguments, message):
    result = train(*arguments)
    assert result.returncode == 2, result.stdout
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_dataset_names_file_variable_and_command(run_script, tmp_path):
    result = run_script(
        "train_net.py", "--config-file", CONFIG, DETECTRON2_DATASETS=str(tmp_path / "empty")
    )
    assert result.returncode == 2
    assert f"{tmp_path}/empty/cncb/annotations/cncb_lesion_train.json" in result.stderr
    assert f"DETECTRON2_DATASETS is {tmp_path}/empty" in result.stderr
    assert "tools/prepare_cncb.py" in result.stderr
    assert not (tmp_path / "output").exists()


def test_a_missing_test_set_is_no_surprise_at_the_end(run_script, lesion_root, tmp_path):
    root = shutil.copytree(lesion_root, tmp_path / "datasets")
    (root / "cncb/annotations/cncb_lesion_test.json").unlink()
    result = run_script("train_net.py", "--config-file", CONFIG, DETECTRON2_DATASETS=str(root))
    assert result.returncode == 2, result.stdout
    assert "cncb_lesion_test.json does not exist" in result.stderr
    assert not (tmp_path / "output").exists()


def test_the_readmes_example_for_other_projects_runs(lesion_root):
    code = readme_example("register_cncb_lesion")
    root = lesion_root / "cncb"
    code = code.replace("lesions.json", str(root / "annotations/cncb_lesion_test.json"))
    code = code.replace('"images"', repr(str(root / "images")))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("6 2 ['Lesion']")
