"""Mean and spread over seeds; numbers by hand and from SciPy."""

import json
from pathlib import Path

import pytest
import yaml
from scipy import stats

from ct_lesion.report.runs.runs import RunError
from ct_lesion.report.runs.seed_summary import read_seed_run, summarize, write_summary

APS = (40.0, 43.0, 46.0)


def make_run(folder: Path, seed: int | None, ap: float, data: str = "d", **keys: object) -> Path:
    config = {"SEED": seed, "OUTPUT_DIR": str(folder), "SOLVER": {"BASE_LR": 0.1, **keys}}
    evaluation = folder / "inference/cncb_lesion_test"
    evaluation.mkdir(parents=True)
    record = {"seed": seed, "config": yaml.safe_dump(config)}
    (folder / "training.json").write_text(json.dumps(record))
    metrics = {
        "segm": {"AP": ap, "APl": None},
        "paper_table_2": {"score_threshold": 0.75, "coco": {"AP": ap / 100}},
        "patients": {"7": {"AP": 1.0}},
    }
    (evaluation / "segmentation_metrics.json").write_text(json.dumps(metrics))
    hashes = {"dataset_sha256": {"cncb_lesion_test": data}}
    (evaluation / "evaluation.json").write_text(json.dumps(hashes))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / str(i), i, ap) for i, ap in enumerate(APS)]


def test_numbers(folders: list[Path], tmp_path: Path) -> None:
    runs = [read_seed_run(folder) for folder in folders]
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
    assert paths[1].read_text().splitlines()[1].startswith("cncb_lesion_test,segm/AP,3,43.0,3.0")
    assert "| segm/AP" in paths[2].read_text()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 0}, "have the same SEED, 0"),
        ({"seed": 5, "BASE_LR": 0.2}, r"SOLVER\.BASE_LR is 0\.1 and 0\.2"),
        ({"seed": 5, "data": "other"}, "different versions of cncb_lesion_test"),
    ],
)
def test_runs_that_do_not_belong_together(folders, tmp_path, other, message) -> None:
    runs = [read_seed_run(f) for f in (folders[0], make_run(tmp_path / "x", ap=1.0, **other))]
    with pytest.raises(RunError, match=message) as error:
        summarize(runs)
    assert "\n" not in str(error.value)
    if "BASE_LR" in message:
        assert summarize(runs, ["SOLVER.BASE_LR"]).records()[0]["n"] == 2


def test_too_few_twice_and_no_run(folders, tmp_path) -> None:
    run = read_seed_run(folders[0])
    with pytest.raises(RunError, match="at least two runs"):
        summarize([run])
    with pytest.raises(RunError, match="given twice"):
        summarize([run, run])
    with pytest.raises(RunError, match=r"training\.json: cannot be read"):
        read_seed_run(tmp_path)
    (folders[1] / "training.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        read_seed_run(folders[1])


def test_only_evaluations_that_all_have(folders, tmp_path) -> None:
    (folders[1] / "inference/cncb_lesion_test").rename(folders[1] / "inference/other")
    runs = [read_seed_run(folder) for folder in folders]
    with pytest.raises(RunError, match="none in common"):
        summarize(runs[:2])
    assert len(summarize([runs[0], runs[2]]).rows) == 3
