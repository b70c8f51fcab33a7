"""The files that a benchmark writes."""

import json
from pathlib import Path

import torch

from ct_lesion.benchmark.measure import Case, Measured, Result, Settings, Timed, compared
from ct_lesion.benchmark.results import write_results


def test_json_and_markdown(tmp_path: Path) -> None:
    def count(settings: Settings) -> Measured:
        facts = {"differ by": 1.23456e-6}
        return compared(lambda: Timed(1, 1.5), lambda: Timed(1, 0.3), settings, facts)

    case = Case("toy", "count slices", count, "slowly", "quickly", at_least=4)
    settings = Settings(rounds=2)
    results = [case.run(settings), Result(case, skipped="there is no GPU here")]
    paths = write_results(tmp_path / "new", results, settings, ["python", "tools/benchmark.py"])
    assert [path.name for path in paths] == ["benchmark.json", "benchmark.md"]

    content = json.loads(paths[0].read_text())
    first, second = content["rows"]
    assert first["value"] == 5.0 and first["met"] is True
    assert first["timing"]["first"] == {"median": 1.5, "smallest": 1.5, "largest": 1.5}
    assert second["value"] is None and second["skipped"] == "there is no GPU here"
    assert content["hardware"]["torch_threads"] == torch.get_num_threads()
    assert content["versions"]["torch"] == torch.__version__
    assert content["command"] == "python tools/benchmark.py"

    text = paths[1].read_text()
    assert "| 1.5 s per slice (1.5 to 1.5)" in text
    assert "| 300 ms per slice (300 to 300)" in text
    assert "5.00x" in text and "at least 4x" in text
    assert "differ by: 1.23e-06" in text
    assert "toy: not measured: there is no GPU here" in text
    assert content["hardware"]["processor"] in text and torch.__version__ in text
    assert "`python tools/benchmark.py`" in text
