"""The training tool and the picture tool on toy data."""

import json
import re
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from other_job import holding
from readme import readme_example
from tool_runs import TOOLS, Outcome

from ct_lesion.files import LOCK_FILE, locked_folder

CONFIG = ["--config-file", "segmentation/resnet18_t2.yaml"]
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 16, "INPUT.MIN_SIZE_TRAIN", "[64]"]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 20]
SMALL += ["INPUT.MIN_SIZE_TEST", 64, "DATALOADER.NUM_WORKERS", 0, "TEST.EVAL_PERIOD", 0]
TEST_SET = ["DATASETS.TEST", "('cncb_lesion_test',)"]
SMALL += TEST_SET


WRITTEN_BY_DETECTRON2 = ("coco_instances_results.json", "instances_predictions.pth")


@pytest.fixture
def train(run_tool, datasets):
    def run(*arguments: object) -> Outcome:
        return run_tool("train_net.py", *CONFIG, *arguments)

    return run


def test_train_resume_evaluate_and_draw(train, run_tool, tmp_path):
    run = tmp_path / "run"
    folder = ["OUTPUT_DIR", run]
    result = train(*SMALL, *folder, "SOLVER.MAX_ITER", 2)
    assert result.returncode == 0, result.stderr
    assert (run / "model_final.safetensors").is_file()
    assert f"All files of this run are in {run}" in result.stdout
    quickstart = (TOOLS / "quickstart.sh").read_text()
    for first, last in re.findall(r"show segmentation '(.+)' '(.+)'", quickstart):
        assert first in result.stdout and re.search(last, result.stdout), "it shows this part"

    result = train("--resume", *SMALL, *folder, "SOLVER.MAX_ITER", 3)
    assert result.returncode == 0, result.stderr
    assert "Starting training from iteration 2" in result.stdout

    foreign = tmp_path / "foreign"
    foreign.write_text("keep")
    links = ["log.txt", "config.yaml", "metrics.json"]
    links += [f"inference/cncb_lesion_test/{name}" for name in WRITTEN_BY_DETECTRON2]
    (tmp_path / "evaluated/inference/cncb_lesion_test").mkdir(parents=True)
    for name in links:
        (tmp_path / "evaluated" / name).symlink_to(foreign)
    weights = ["MODEL.WEIGHTS", run / "model_final.safetensors"]
    folder = ["OUTPUT_DIR", tmp_path / "evaluated"]
    augmentation = ["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64,)]
    result = train("--eval-only", *SMALL, *weights, *folder, *augmentation)
    assert result.returncode == 0, result.stderr
    assert "plain |   test-time augmentation" in result.stdout
    assert foreign.read_text() == "keep"
    assert result.stdout.count("Removed the link ") == len(links)
    evaluated = tmp_path / "evaluated/inference/cncb_lesion_test"
    trained = run / "inference/cncb_lesion_test"
    metrics = [
        json.loads((f / "segmentation_metrics.json").read_text()) for f in (evaluated, trained)
    ]
    assert metrics[0] == metrics[1]

    result = run_tool("show_predictions.py", evaluated)
    assert result.returncode == 0, result.stderr
    assert (evaluated / "predictions.png").stat().st_size > 10_000


@pytest.mark.parametrize("job", [[], ["--resume"], ["--eval-only"]])
def test_a_second_job_in_the_folder_is_refused(train, tmp_path, job):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("of the first job")
    with holding(locked_folder(run)) as pid:
        result = train(*job, *SMALL, "MODEL.WEIGHTS", "any.pth", "OUTPUT_DIR", run)
        assert result.returncode == 2, result.stdout
        assert f"Error: {run} is being written by process {pid} on " in result.stderr
        assert {path.name for path in run.iterdir()} == {"config.yaml", LOCK_FILE}
    assert (run / "config.yaml").read_text() == "of the first job"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOLVER.MAXITER", "5"], "no config key SOLVER.MAXITER. Similar keys: SOLVER.MAX_ITER"),
        (["DATASETS.TRAIN", "('nothing',)"], "'nothing', which is not registered"),
        (["MODEL.ROI_HEADS.NUM_CLASSES", "2"], "has 1 classes: Lesion"),
        (["DATASETS.TEST", "('cncb_lesion_train',)"], "share patients: patients 0, 1 are in"),
        (["MODEL.RPN.IN_FEATURES", "['p5']"], "MODEL.RPN.IN_FEATURES is ['p5']"),
        (["--eval-only", *TEST_SET], "MODEL.WEIGHTS is empty"),
        (["--eval-only", *TEST_SET, "MODEL.WEIGHTS", "gone.pth"], "gone.pth does not exist"),
        (["SOLVER.OPTIMIZER", "Magic"], "SOLVER.OPTIMIZER is 'Magic'"),
    ],
)
def test_wrong_configs_are_user_errors(train, arguments, message):
    result = train(*arguments)
    assert result.returncode == 2, result.stdout
    assert message in result.stderr


def test_a_missing_dataset_names_file_variable_and_command(run_tool, tmp_path):
    root = f"{tmp_path}/empty"
    result = run_tool("train_net.py", *CONFIG, *TEST_SET, DETECTRON2_DATASETS=root)
    assert result.returncode == 2
    assert f"{root}/cncb/annotations/cncb_lesion_train.json" in result.stderr
    assert f"DETECTRON2_DATASETS is {root}" in result.stderr
    assert "ct-lesion prepare-cncb" in result.stderr
    assert not (tmp_path / "output").exists()


def test_a_missing_test_set_stops_the_run_before_training(run_tool, lesion_root, tmp_path):
    root = shutil.copytree(lesion_root, tmp_path / "datasets")
    (root / "cncb/annotations/cncb_lesion_test.json").unlink()
    result = run_tool("train_net.py", *CONFIG, *TEST_SET, DETECTRON2_DATASETS=str(root))
    assert result.returncode == 2, result.stdout
    assert "cncb_lesion_test.json does not exist" in result.stderr
    assert not (tmp_path / "output").exists()


def test_the_readme_example_for_other_projects_runs(lesion_root, capsys):
    code = readme_example("register_cncb_lesion")
    root = lesion_root / "cncb"
    code = code.replace("lesions.json", str(root / "annotations/cncb_lesion_test.json"))
    code = code.replace('"images"', repr(str(root / "images")))
    try:
        exec(code, {})
    finally:
        DatasetCatalog.remove("my_lesions")
        MetadataCatalog.remove("my_lesions")
    assert capsys.readouterr().out.strip().endswith("6 2 ['Lesion']")
