"""The files of a report: tables, figures, a page with all of them, and every number as JSON."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from ct_lesion.errors import UserError
from ct_lesion.files import atomic_folder, write_new
from ct_lesion.folders import check_replaceable
from ct_lesion.json_files import without_nan
from ct_lesion.pages.blocks import Caution, Picture, Section
from ct_lesion.pages.environment import DISCLAIMER, page_environment
from ct_lesion.pages.figures import plain_texts
from ct_lesion.pages.tables import Table

PAGE, NUMBERS = "report.html", "report.json"
SCREEN_DPI, FILE_DPI = 110, 200


def write_report(
    output: str | Path,
    title: str,
    sections: Sequence[Section],
    facts: Mapping[str, str],
    overwrite: bool = False,
) -> list[Path]:
    """Write ``report.html``, ``report.json``, ``tables/`` and ``figures/``: all of them or none.

    Args:
        output: folder to create.
        title: heading of the page.
        sections: its sections, in order.
        facts: lines at the top of the page, by their label, e.g. the date.
        overwrite: replace an earlier report in ``output``.

    Returns:
        The paths written, the page first.

    Raises:
        UserError: see :func:`check_output`.
    """
    output = Path(output)
    check_output(output, overwrite)
    with plain_texts(), atomic_folder(output) as folder:
        for table in _all(sections, Table):
            _write_table(folder / "tables", table)
        images = {}
        for picture in tqdm(_all(sections, Picture), desc="figures", unit="figure", disable=None):
            images[picture.name] = _write_picture(folder / "figures", picture)
        numbers = json.dumps(_numbers(title, sections, facts), indent=1, allow_nan=False)
        write_new(folder / NUMBERS, numbers + "\n")
        write_new(folder / PAGE, render(title, sections, facts, images))
    return [output / PAGE, output / NUMBERS, output / "tables", output / "figures"]


def check_output(output: Path, overwrite: bool) -> None:
    """Check that a report can be written to a folder.

    Raises:
        UserError: the folder holds other files, or a report and ``overwrite`` is false.
    """
    if any(output.glob("*/manifest.json")):  # --overwrite would delete them
        raise UserError(f"{output} holds predictions of scans. Choose another folder.")
    check_replaceable(output, PAGE, "report", overwrite)


def _all(sections: Sequence[Section], kind: type) -> list:
    blocks = [block for section in sections for block in section.of(kind)]
    names = [block.name for block in blocks]
    if len(set(names)) < len(names):
        raise ValueError(f"duplicate names among {names}")
    return blocks


def _write_table(folder: Path, table: Table) -> None:
    texts = {
        "csv": table.to_csv(),
        "json": json.dumps(table.to_json(), indent=1, allow_nan=False) + "\n",
        "md": table.to_markdown() + "\n",
    }
    for ending, text in texts.items():
        write_new(folder / f"{table.name}.{ending}", text)


def _write_picture(folder: Path, picture: Picture) -> str:
    """Write PNG and SVG files, and return the picture as a data URI for the page."""
    folder.mkdir(exist_ok=True)
    picture.figure.savefig(folder / f"{picture.name}.svg")
    picture.figure.savefig(folder / f"{picture.name}.png", dpi=FILE_DPI)
    screen = io.BytesIO()
    picture.figure.savefig(screen, format="png", dpi=SCREEN_DPI)
    return "data:image/png;base64," + base64.b64encode(screen.getvalue()).decode("ascii")


def _numbers(title: str, sections: Sequence[Section], facts: Mapping[str, str]) -> dict:
    return {
        "title": title,
        "disclaimer": DISCLAIMER,
        "facts": dict(facts),
        "sections": {
            section.name: {
                "title": section.title,
                "paragraphs": section.of(str),
                "warnings": [warning.text for warning in section.of(Caution)],
                "tables": {table.name: table.to_json() for table in section.of(Table)},
                "figures": {
                    p.name: {"caption": p.caption, "numbers": without_nan(p.numbers)}
                    for p in section.of(Picture)
                },
            }
            for section in sections
        },
    }


def render(
    title: str,
    sections: Sequence[Section],
    facts: Mapping[str, str],
    images: Mapping[str, str],
) -> str:
    """Render the page as a single HTML file.

    Args:
        title, sections, facts: see :func:`write_report`.
        images: data URIs of the pictures, by name.
    """
    template = page_environment("ct_lesion.report").get_template("report.html")
    return template.render(title=title, sections=sections, facts=facts, images=images)
