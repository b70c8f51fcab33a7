import json

from toy_runs import make_classification_run

from ct_lesion.engine.run_record import TRAINING_RECORD


def make_run(folder, seed):
    make_classification_run(folder, seed=seed)
    config = (folder / "config.yaml").read_text()
    (folder / TRAINING_RECORD).write_text(
        json.dumps({"seconds": 1.0, "seed": seed, "config": config})
    )
    return folder


def test_runs_of_three_seeds(run_tool, tmp_path):
    runs = [make_run(tmp_path / f"seed_{seed}", seed) for seed in (1, 2, 3)]
    result = run_tool("summarize_seeds.py", *runs, "--output", tmp_path / "seeds")
    assert result.returncode == 0, result.stderr
    assert "Seeds: 1, 2, 3." in result.stdout
    rows = json.loads((tmp_path / "seeds/seeds.json").read_text())["rows"]
    accuracy = next(row for row in rows if row["metric"] == "accuracy")
    assert accuracy["n"] == 3
    assert accuracy["min"] <= accuracy["mean"] <= accuracy["max"]
