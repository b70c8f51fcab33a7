"""CSV cells that spreadsheets do not evaluate as formulas."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # the beginning of a formula


def csv_text(cell: object) -> object:
    """A cell for CSV: an apostrophe is put before text that a spreadsheet would evaluate.

    Numbers are unchanged. :func:`csv_original` is the inverse.
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def csv_original(text: str) -> str:
    """The original text of a cell from :func:`csv_text`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
