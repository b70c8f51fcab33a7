import json
from pathlib import Path

from ct_lesion.engine.hooks.metrics_files import cut_metrics
from ct_lesion.report.figures.curves import series


def test_lines_after_the_checkpoint_and_incomplete_lines_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    lines = [{"iteration": i, "total_loss": 1 / (i + 1)} for i in (19, 39, 45, 59)]
    whole = [json.dumps(line) for line in lines]
    path.write_text("\n".join(whole) + '\n{"iteration": 7')
    assert cut_metrics(path, 45) == 3
    assert path.read_text() == f"{whole[0]}\n{whole[1]}\n"
    assert cut_metrics(path, 45) == 0
    curves = [json.loads(line) for line in path.read_text().splitlines()]
    assert series(curves, "total_loss") == ([19, 39], [1 / 20, 1 / 40])


def test_a_new_run_cuts_all_lines_of_a_file_if_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    assert cut_metrics(path, 0) == 0
    path.write_text('{"iteration": 0}\n')
    assert cut_metrics(path, 0) == 1
    assert path.read_text() == ""
