"""Tables as data; numbers are rounded for display only, never in CSV and JSON."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from ct_lesion.csv_cells import csv_text
from ct_lesion.json_files import without_nan

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """A table as data.

    Attributes:
        name: stem of its files and its id on the page, e.g. "table_3".
        title: one line above it.
        columns: headings.
        rows: one value per column; ``None`` or NaN if it is missing.
        formats: format specification of a column's numbers, e.g. ``{"AP": ".4f"}``; CSV and JSON
            keep all digits.
        notes: sentences below the table.
        intervals: names of the columns with the ends of an interval, by the column of the estimate.
            All three are displayed as one column, e.g. "0.49 (0.46 to 0.53)".

    Raises:
        ValueError: a row has more or fewer values than there are columns.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    formats: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    intervals: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.name}: a row of {len(row)} values for {len(self.columns)} columns: "
                    f"{list(row)}"
                )

    def shown_columns(self) -> list[str]:
        """The displayed headings, i.e. all but the ends of intervals."""
        ends = {end for pair in self.intervals.values() for end in pair}
        return [column for column in self.columns if column not in ends]

    def heading_groups(self) -> list[tuple[str, list[str]]]:
        """The displayed headings in two rows: each group with the headings below it.

        Neighbouring headings with the same text before a comma form a group, e.g. "AP, paper" and
        "AP, run". A heading without a group is ``(heading, [])``.
        """
        groups: list[tuple[str, list[str]]] = []
        for column in self.shown_columns():
            start, _, rest = column.partition(", ")
            if rest and groups and groups[-1][0] == start and groups[-1][1]:
                groups[-1][1].append(rest)
            else:
                groups.append((start, [rest] if rest else []))
        return [
            (f"{group}, {below[0]}", []) if len(below) == 1 else (group, below)
            for group, below in groups
        ]

    def shown(self) -> list[list[str]]:
        """The rows as displayed: numbers rounded, intervals joined, missing values as a dash."""
        columns = self.shown_columns()
        rows = (dict(zip(self.columns, row, strict=True)) for row in self.rows)
        return [[self._shown_cell(row, column) for column in columns] for row in rows]

    def _shown_cell(self, row: Mapping[str, Cell], column: str) -> str:
        form = self.formats.get(column, "")
        cells = [row[name] for name in (column, *self.intervals.get(column, ()))]
        texts = [_show(cell, form) for cell in cells]
        if len(texts) == 1 or any(map(_absent, cells)):
            return texts[0]
        return "{} ({} to {})".format(*texts)

    def numeric(self) -> list[bool]:
        """Whether each displayed column holds numbers, which a page aligns to the right.

        A column without values counts if it has a format.
        """
        return [self._is_numeric(column) for column in self.shown_columns()]

    def _is_numeric(self, column: str) -> bool:
        cells = [row[self.columns.index(column)] for row in self.rows]
        if any(map(_is_number, cells)):
            return True
        return bool(self.formats.get(column)) and all(map(_absent, cells))

    def records(self) -> list[dict[str, Cell]]:
        """The rows for JSON, by column; missing values are ``None``."""
        return without_nan([dict(zip(self.columns, row, strict=True)) for row in self.rows])

    def to_json(self) -> dict:
        """Title, rows and notes as plain values."""
        return {"title": self.title, "rows": self.records(), "notes": list(self.notes)}

    def to_csv(self) -> str:
        """CSV with a header; missing values are empty fields, see :func:`csv_text`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(csv_text, self.columns))
        writer.writerows(["" if _absent(v) else csv_text(v) for v in row] for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Title, table and notes in GitHub's Markdown, with HTML escaped."""
        rows = [[_markdown(cell) for cell in row] for row in self.shown()]
        headers = [_markdown(column) for column in self.shown_columns()]
        body = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
        notes = "".join(f"\n- {_markdown(note)}" for note in self.notes)
        return f"**{_markdown(self.title)}**\n\n{body}\n{notes}"


def _markdown(text: str) -> str:
    """The text escaped, so that it cannot start HTML, a new cell or a new row."""
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        text = text.replace(character, escaped)
    return " ".join(text.splitlines())


def _absent(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _show(cell: Cell, form: str) -> str:
    if _absent(cell):
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return format(cell, form)
    return cell
