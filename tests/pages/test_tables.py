import csv
import io

import pytest

from ct_lesion.pages.tables import Table


@pytest.fixture
def table() -> Table:
    return Table(
        "t",
        "A title",
        ["model", "AP", "slices", "best"],
        [["a, b", 1 / 3, 12000, True], ["c", float("nan"), None, False]],
        {"AP": ".3f", "slices": ","},
        ["A note."],
    )


def test_numbers_are_rounded_for_display_only(table):
    assert table.shown() == [["a, b", "0.333", "12,000", "yes"], ["c", "-", "-", "no"]]
    assert table.records()[0]["AP"] == 1 / 3
    assert float(list(csv.reader(io.StringIO(table.to_csv())))[1][1]) == 1 / 3


def test_missing_values_are_empty_fields_and_null(table):
    assert list(csv.reader(io.StringIO(table.to_csv())))[2] == ["c", "", "", "False"]
    assert table.records()[1]["AP"] is None


def test_markdown_holds_title_table_and_notes(table):
    lines = table.to_markdown().splitlines()
    assert lines[0] == "**A title**"
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == [
        "a, b",
        "0.333",
        "12,000",
        "yes",
    ]
    assert lines[-1] == "- A note."


def test_a_row_of_wrong_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 values for 2 columns"):
        Table("t", "", ["a", "b"], [["x"]])


def test_columns_with_numbers_are_numeric(table):
    # text, numbers and NaN, numbers and None, booleans
    assert table.numeric() == [False, True, True, False]
    assert Table("t", "", ["a", "b"], [], {"b": "d"}).numeric() == [False, True]


def test_html_and_bars_are_escaped_in_markdown():
    table = Table("t", "<b>&", ["a|b"], [["<img src=x>\nx"]], notes=["1 < 2"])
    lines = table.to_markdown().splitlines()
    assert lines[0] == "**&lt;b>&amp;**"
    assert lines[2].strip("| ") == "a\\|b"
    assert lines[4].strip("| ") == "&lt;img src=x> x"
    assert lines[-1] == "- 1 &lt; 2"


def test_formulas_are_quoted_in_csv():
    table = Table("t", "", ["=a", "n"], [["=1+1", -2.5]])
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [["'=a", "n"], ["'=1+1", "-2.5"]]


def test_an_interval_is_one_displayed_column_and_three_in_files():
    table = Table(
        "t",
        "",
        ["run", "AP", "AP: low", "AP: high", "slices"],
        [["a", 0.4949, 0.4612, 0.531, 9], ["b", 0.5, None, float("nan"), 1], ["c", None, 0, 1, 2]],
        {"AP": ".2f"},
        intervals={"AP": ("AP: low", "AP: high")},
    )
    assert table.shown_columns() == ["run", "AP", "slices"]
    assert [row[1] for row in table.shown()] == ["0.49 (0.46 to 0.53)", "0.50", "-"]
    assert table.numeric() == [False, True, True]
    assert table.to_csv().splitlines()[:2] == ["run,AP,AP: low,AP: high,slices"] + [
        "a,0.4949,0.4612,0.531,9"
    ]
    assert "| AP " in table.to_markdown() and "low" not in table.to_markdown()


def test_neighbouring_headings_that_begin_alike_share_a_group():
    columns = ["run", "AP, paper", "AP, run, all", "F1, run", "slices, %", "minutes, paper"]
    assert Table("t", "", columns, []).heading_groups() == [
        ("run", []),
        ("AP", ["paper", "run, all"]),
        ("F1, run", []),
        ("slices, %", []),
        ("minutes, paper", []),
    ]
