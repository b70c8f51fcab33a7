"""Mean and spread over seeds, against hand-computed values and SciPy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from ct_lesion import load_config
from ct_lesion.report.runs.results import SegmentationResult
from ct_lesion.report.runs.run_checks import RunError
from ct_lesion.report.runs.runs import Run
from ct_lesion.report.runs.seed_summary import summarize, write_summary

APS = (40.0, 43.0, 46.0)
DATASET = "cncb_lesion_test"


def make_run(name: str, seed: int | None, ap: float, data: str = "d", lr: float = 0.1) -> Run:
    overrides = ["SEED", -1 if seed is None else seed, "SOLVER.BASE_LR", lr, "OUTPUT_DIR", name]
    cfg = load_config("segmentation/resnet18_t1.yaml", overrides)
    metrics = {
        "segm": {"AP": ap, "APl": None},
        "paper_table_2": {"score_threshold": 0.75, "coco": {"AP": ap / 100}},
        "patients": {"7": {"AP": 1.0}},
    }
    record = {"dataset_sha256": {DATASET: data}}
    result = SegmentationResult(DATASET, None, [], metrics, record)
    training = {"seconds": 1.0, "seed": seed}
    return Run(Path(name), name, cfg, training, [], {DATASET: result})


@pytest.fixture
def runs() -> list[Run]:
    return [make_run(f"run{i}", i, ap) for i, ap in enumerate(APS)]


def test_numbers(runs, tmp_path):
    table = summarize(runs)
    rows = {row["metric"]: row for row in table.records()}
    assert list(rows) == ["segm/AP", "segm/APl", "paper_table_2/coco/AP"]
    row = rows["segm/AP"]
    assert [row[k] for k in ("n", "mean", "SD", "min", "max")] == [3, 43.0, 3.0, 40.0, 46.0]
    low, high = stats.t.interval(0.95, 2, loc=43, scale=stats.sem(APS))
    assert (row["95% low"], row["95% high"]) == pytest.approx((low, high))
    assert rows["segm/APl"]["n"] == 0
    assert rows["segm/APl"]["mean"] is None
    paths = write_summary(table, runs, tmp_path / "out")
    assert [p.name for p in paths] == ["seeds.json", "seeds.csv", "seeds.md"]
    content = json.loads(paths[0].read_text())
    assert [run["seed"] for run in content["runs"]] == [0, 1, 2]
    assert paths[1].read_text().splitlines()[1].startswith(f"{DATASET},segm/AP,3,43.0,3.0")
    assert "| segm/AP" in paths[2].read_text()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 0}, "run0 and x have the same SEED, 0"),
        ({"seed": 5, "lr": 0.2}, r"SOLVER\.BASE_LR is 0\.1 and 0\.2"),
        ({"seed": 5, "data": "other"}, f"different versions of {DATASET}"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(runs, other, message):
    pair = [runs[0], make_run("x", ap=1.0, **other)]
    with pytest.raises(RunError, match=message) as error:
        summarize(pair)
    assert "\n" not in str(error.value)


def test_keys_named_by_the_user_may_differ(runs):
    table = summarize([runs[0], make_run("x", 5, 1.0, lr=0.2)], ["SOLVER.BASE_LR"])
    assert table.records()[0]["n"] == 2


def test_seeds_that_were_not_recorded_are_not_equal():
    table = summarize([make_run("a", None, 1.0), make_run("b", None, 3.0)])
    assert table.records()[0]["mean"] == 2.0
    assert "Seeds: not recorded, not recorded." in table.notes


def test_too_few_runs_and_runs_without_training_record_are_refused(runs):
    with pytest.raises(RunError, match="at least two runs"):
        summarize(runs[:1])
    with pytest.raises(RunError, match=r"run0 holds no training record \(training\.json\)"):
        summarize([replace(runs[0], training={}), runs[1]])


def test_only_datasets_that_all_runs_have_are_summarized(runs):
    result = runs[1].segmentation[DATASET]
    other = replace(runs[1], segmentation={"other": result})
    with pytest.raises(RunError, match="no test set in common"):
        summarize([runs[0], other])
    both = replace(runs[1], segmentation={DATASET: result, "other": result})
    table = summarize([runs[0], both])
    assert len(table.rows) == 3
    assert "Left out, because not all runs were evaluated on it: other." in table.notes
