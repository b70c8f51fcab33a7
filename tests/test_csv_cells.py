import csv
import io

import pytest

from ct_lesion.csv_cells import csv_original, csv_text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
        ("a=1", "a=1"),
        ("'a", "'a"),
        ("", ""),
    ],
)
def test_formulas_are_quoted_and_read_back(text, cell):
    assert csv_text(text) == cell
    assert csv_original(cell) == text


def test_numbers_stay_numbers():
    assert (csv_text(-1.5), csv_text(None), csv_text(True)) == (-1.5, None, True)


def test_a_quoted_cell_survives_csv():
    line = io.StringIO()
    csv.writer(line).writerow([csv_text('=HYPERLINK("x")')])
    (row,) = csv.reader(io.StringIO(line.getvalue()))
    assert row == ['\'=HYPERLINK("x")']
