import json
import re

import numpy as np
import pytest
from scipy.stats import ks_2samp

from ct_lesion.report.paper.paper import DATA, load_paper


def test_printed_cells_become_numbers():
    paper = load_paper()
    size = paper.size("classification", "ResNet34_T1+FPN")
    assert (size.total, size.trainable) == (11.74, 0.6)
    assert size.splits == "3K/20.6K/21.1K (7.06)"
    assert paper.size("segmentation", "ResNet34_T1+FPN").trainable is None
    assert paper.segmentation[4].values == {"AP50": 0.5988, "AP75": 0.4506, "AP": 0.4476}
    assert paper.classification[-1].values["COVID-19"] == 93.88
    assert paper.region_counts["Control", 0.5] == "0.016 ± 0.32"
    assert paper.ks_tests["Common Pneumonia", "Control", 0.9] == "N/A"
    assert paper.size("segmentation", "ResNet101+FPN") is None


def test_every_table_has_all_rows():
    paper = load_paper()
    assert [len(x) for x in (paper.sizes, paper.segmentation, paper.classification)] == [17, 8, 8]
    assert [len(x) for x in (paper.region_counts, paper.ks_tests)] == [9, 9]
    assert sum(size.released is not None for size in paper.sizes) == 14


def test_notes_are_found_by_table_or_figure():
    paper = load_paper()
    assert any("0.4269" in note for note in paper.notes_on("Table 2"))
    assert not any("0.4269" in note for note in paper.notes_on("Table 3"))
    assert paper.notes_on("Table 9") == []
    for table in paper.citation["tables"]:
        assert paper.notes_on(table)


# ---- against the paper's text -------------------------------------------------------------------
def lines_of(shared, first: str, last: str) -> list[list[str]]:
    """Rows of a table in the paper's text, from its heading to its caption, split at tabs."""
    text = (shared / "paper" / "lightweight_model_paper.txt").read_text(encoding="utf-8")
    text = re.sub(r" _\{(T\d)\} ", r"_\1", text).replace(" ⁺ ", "⁺")
    body = text[text.index(first) : text.index(last)]
    rows = [line.split("\t") for line in body.strip().splitlines()[1:] if line.strip()]
    return [[cell.strip() for cell in row] for row in rows]


def rows_of(part: str, *keys: str) -> list[list[str | None]]:
    rows = json.loads(DATA.read_text(encoding="utf-8"))[part]["rows"]
    return [[row[key] for key in keys] for row in rows]


@pytest.mark.parametrize(
    ("first", "last", "part", "keys"),
    [
        (
            "Model\tAP@0.5IoU",
            "Table 2: Average",
            "segmentation",
            ["printed", "AP50", "AP75", "AP", "minutes"],
        ),
        (
            "Model\tCOVID-19\tPneumonia",
            "Table 3: Class",
            "classification",
            ["printed", "COVID-19", "Pneumonia", "Normal", "Overall", "minutes"],
        ),
    ],
)
def test_tables_2_and_3_are_as_printed(shared, first, last, part, keys):
    assert rows_of(part, *keys) == lines_of(shared, first, last)


def test_tables_4_and_5_are_as_printed(shared):
    keys = ("printed", "0.2", "0.5", "0.9")
    counts = lines_of(shared, "Class\t0.2", "Table 4: Mean")
    assert rows_of("region_counts", *keys) == counts
    text = (shared / "paper" / "lightweight_model_paper.txt").read_text(encoding="utf-8")
    for row in rows_of("ks_tests", *keys):
        assert "\t".join(row) in text


def test_table_1_is_as_printed_and_merged_cells_repeat_the_row_above(shared):
    keys = ("total", "trainable", "training", "validation", "test", "ratio")
    rows = json.loads(DATA.read_text(encoding="utf-8"))["sizes"]["rows"]
    printed = lines_of(shared, "Model\t#Total", "Table 1: Comparison")
    above = None
    for row, (name, *cells) in zip(rows, printed, strict=True):
        assert row["printed"] == name
        cells += [""] * (len(keys) - len(cells))
        for key, cell in zip(keys, cells, strict=True):
            if key in row["merged"]:
                assert (cell, row[key]) == ("", above[key])
            else:
                assert (row[key] or "") == cell
        above = row


def test_released_parameter_counts_match_the_facts(shared):
    facts = (shared / "paper" / "released_system.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in facts.splitlines() if "| ResNet" in line]
    paper = load_paper()
    for name, _, segmentation, _, classification in rows:
        model = name.replace("FPN, merged", "FPN (merged masks)")
        for task, text in (("segmentation", segmentation), ("classification", classification)):
            assert f"{paper.size(task, model).released / 1e6:.6f}" == text.split()[0]
    assert len(rows) == 7


@pytest.mark.parametrize(("statistic", "p"), [(0.18, "2e-07"), (0.067, "0.12")])
def test_the_note_on_p_values_holds_in_scipy(statistic, p):
    shift = round(statistic * 475)
    found = ks_2samp(np.arange(475) + shift, np.arange(475), alternative="less")
    assert found.statistic == pytest.approx(statistic, abs=0.002)
    digits = len(p.partition(".")[2]) or 1
    assert f"{found.pvalue:.{digits}g}" == p
    assert any(p in note for note in load_paper().notes_on("Table 5"))


def test_a_spread_of_61_cannot_be_a_standard_deviation():
    """The largest spread of counts in 0..128 with Table 4's mean: all counts are 0 or 128."""
    mean, spread = map(float, load_paper().region_counts["COVID-19", 0.2].split("±"))
    assert np.sqrt(mean * (128 - mean) * 475 / 474) < spread
