import csv
import json
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from ct_lesion.errors import UserError
from ct_lesion.pages.blocks import Caution, Picture, Section
from ct_lesion.pages.tables import Table
from ct_lesion.report.page import write_report


def sections() -> list[Section]:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    table = Table("scores", "Scores <of> runs", ["run", "AP"], [["a&b", 0.123456]], {"AP": ".2f"})
    return [
        Section("first", "First", ["A paragraph.", Caution("Mind this."), table]),
        Section("second", "Second", [Picture("line", figure, "A line.", {"y": [0, 1]})]),
    ]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "report"


def test_everything_is_written_and_the_page_needs_no_network(output):
    paths = write_report(output, "A report", sections(), {"Date": "today"})
    assert paths[0] == output / "report.html"
    page = paths[0].read_text("utf-8")
    assert "Not for clinical use" in page
    assert "Scores &lt;of&gt; runs" in page and "a&amp;b" in page and "0.12<" in page
    assert 'src="data:image/png;base64,' in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    with (output / "tables/scores.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["run", "AP"], ["a&b", "0.123456"]]
    assert {p.name for p in output.rglob("*") if p.is_file()} == {
        "report.html",
        "report.json",
        *(f"scores.{ending}" for ending in ("csv", "json", "md")),
        *(f"line.{ending}" for ending in ("png", "svg")),
    }


def test_every_number_is_in_the_json_file(output):
    write_report(output, "A report", sections(), {"Date": "today"})
    numbers = json.loads((output / "report.json").read_text("utf-8"))
    first, second = numbers["sections"]["first"], numbers["sections"]["second"]
    assert first["tables"]["scores"]["rows"] == [{"run": "a&b", "AP": 0.123456}]
    assert first["warnings"] == ["Mind this."]
    assert second["figures"]["line"]["numbers"] == {"y": [0, 1]}


def test_an_earlier_report_is_replaced_only_with_overwrite(output):
    write_report(output, "One", sections(), {})
    with pytest.raises(UserError, match="already holds a report"):
        write_report(output, "Two", sections(), {})
    write_report(output, "Two", sections(), {}, overwrite=True)
    assert "<h1>Two</h1>" in (output / "report.html").read_text("utf-8")


def test_other_folders_are_never_replaced(output):
    output.mkdir(parents=True)
    (output / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a report"):
        write_report(output, "One", sections(), {}, overwrite=True)
    assert (output / "thesis.tex").read_text() == "years of work"


def test_predictions_beside_an_earlier_report_are_not_replaced(output):
    write_report(output, "One", sections(), {})
    (output / "scan").mkdir()
    (output / "scan/manifest.json").touch()
    with pytest.raises(UserError, match="holds predictions of scans"):
        write_report(output, "Two", sections(), {}, overwrite=True)


def test_a_failure_leaves_only_the_earlier_report(output):
    write_report(output, "One", sections(), {})
    broken = Section("third", "Third", [Picture("bad", Figure(), "", {"no": object()})])
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_report(output, "Two", [*sections(), broken], {}, overwrite=True)
    assert "<h1>One</h1>" in (output / "report.html").read_text("utf-8")
    assert [p.name for p in output.parent.iterdir()] == ["report"]
