"""The CSV tables of a predicted scan. Slices and lesions are numbered as in ``summary.json``."""

import csv
import io
from collections.abc import Iterable, Sequence

from ct_lesion.csv_cells import csv_text
from ct_lesion.lesions.measures import ScanLesion

from .scan_summary import in_mm2
from .slices import SlicePrediction

DETECTION_COLUMNS = (
    *("slice", "lesion", "class", "score", "x0", "y0", "x1", "y1", "area_px", "area_mm2"),
)


def csv_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; floats are written with seven significant digits, as precise as float32."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def lesion_table(records: Sequence[dict]) -> str:
    """``lesions.csv``: a row for each lesion of the scan."""
    first = ("number", "class")
    names = [
        name for name in ScanLesion.__dataclass_fields__ if name not in (*first, "class_index")
    ]
    header = [*first, *names]
    return csv_table(header, [[record[name] for name in header] for record in records])


def detection_table(
    slices: Sequence[SlicePrediction],
    numbers: Sequence[Sequence[int]],
    class_names: Sequence[str],
    spacing_mm: Sequence[float | None] | None,
) -> str:
    """``detections.csv``: a row for each detection in a slice, with the number of its lesion.

    Args:
        slices: predictions of all slices.
        numbers: for each slice, the lesion number of each detection; 0, an empty cell, for a
            detection hidden by others.
        class_names: the lesion classes.
        spacing_mm: z, y, x; ``None`` if unknown.
    """
    rows = [
        [
            *(prediction.index, number or None, class_names[found.class_index], found.score),
            *(*found.box, found.area_px, in_mm2(found.area_px, spacing_mm)),
        ]
        for prediction, slice_numbers in zip(slices, numbers, strict=True)
        for found, number in zip(prediction.detections, slice_numbers, strict=True)
    ]
    return csv_table(DETECTION_COLUMNS, rows)


def _cell(value: object) -> object:
    value = csv_text(value)
    return f"{value:.7g}" if isinstance(value, float) else value
