"""Cells of CSV files that spreadsheets show as they are."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how text begins that spreadsheets calculate


def csv_text(cell: object) -> object:
    """A cell for CSV: text that a spreadsheet would calculate is quoted with an apostrophe.

    Numbers stay; :func:`csv_original` is the inverse.
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def csv_original(text: str) -> str:
    """The text that :func:`csv_text` got."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
