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


def test_numbers_are_rounded_for_readers_only(table):
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
    assert Table("t", "", ["a", "b"], []).numeric() == [False, False]
