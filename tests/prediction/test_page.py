import json
import os
import re
from pathlib import Path

import pytest
from predicted_scans import summary, write_plain_scan

from ct_lesion.prediction.page import finished_scans, write_index


def write(output: Path, *scans: dict, **model: str) -> str:
    path = write_index(output, scans, model=model, generated="2026-11-24 12:00")
    assert path == output / "index.html"
    return path.read_text("utf-8")


def embedded(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_the_page_holds_the_summaries_and_loads_nothing_from_elsewhere(tmp_path):
    scan = {"scan": "a", "probabilities": {"Z": 0.25, "A": 0.75}}
    page = write(tmp_path / "new folder", scan, segmentation="best.pth")
    data = embedded(page)
    assert data["scans"] == [scan]
    assert list(data["scans"][0]["probabilities"]) == ["Z", "A"], "the order of the classes"
    assert "best.pth" in page and "2026-11-24 12:00" in page and "Not for clinical use" in page
    # test_browser.py checks which files a browser requests
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)|@import|https?://(?!www.w3.org)""", page)
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["index.html"]


def test_markup_in_names_stays_text(tmp_path):
    name = "</script><b>\u2028&amp;{{ 1 }}"
    page = write(tmp_path, {"scan": "a", "notes": [name]}, **{name: name})
    assert embedded(page)["scans"][0]["notes"] == [name]
    assert page.count("</script>") == 2  # of the data and of the code
    assert "<b>" not in page


def test_an_earlier_page_is_replaced_and_survives_a_failure(tmp_path):
    first = write(tmp_path, {"scan": "a"})
    with pytest.raises(ValueError, match="Out of range float"):
        write(tmp_path, {"scan": "a", "lesion_volume_ml": float("nan")})
    assert (tmp_path / "index.html").read_text("utf-8") == first
    assert embedded(write(tmp_path, {"scan": "b"}))["scans"] == [{"scan": "b"}]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "\udc80"])
def test_invalid_folder_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError):
        write(tmp_path, {"scan": name})
    with pytest.raises(ValueError, match="twice"):
        write(tmp_path, {"scan": "a"}, {"scan": "a"})


def test_a_page_without_scans(tmp_path):
    assert embedded(write(tmp_path))["scans"] == []


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """An output folder with a finished scan."""
    write_plain_scan(tmp_path, "good", 2)
    (tmp_path / "good/summary.json").write_text(json.dumps(summary("good", 2)))
    return tmp_path


def test_finished_scans_are_found(scans):
    (scans / ".hidden").mkdir()
    (scans / ".hidden/summary.json").write_text("{")
    assert finished_scans(scans) == ([summary("good", 2)], [])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{}", "it has no scan"),
        ("[1]", "holds a list"),
        ("{", "is damaged"),
        (json.dumps(summary("good", 2)), "is the summary of scan good, so the folder was copied"),
        (json.dumps(summary("other", 2, size="x")), "size is not a list"),
        (json.dumps(summary("other", 2, score_thresh=float("nan"))), "score_thresh is nan"),
        (json.dumps(summary("other", 2, notes=[5])), "notes item is 5"),
        (None, "is a folder, a pipe or a device"),
    ],
)
def test_foreign_and_damaged_summaries_are_left_out_with_a_reason(scans, content, why):
    path = scans / "other/summary.json"
    path.parent.mkdir()
    os.mkfifo(path) if content is None else path.write_text(content)
    found, (reason,) = finished_scans(scans)
    assert [scan["scan"] for scan in found] == ["good"]
    assert reason.startswith(str(path)) and why in reason
