"""The HTML page of a prediction: a table of the scans, and a viewer of each scan."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ct_lesion.files import write_together
from ct_lesion.pages.environment import page_environment
from ct_lesion.pages.palette import LINE_STYLES

from .view import VIEW_FILE

PAGE = "index.html"
SCRIPTS = ("format.js", "table.js", "stage.js", "charts.js", "panels.js", "scan.js", "main.js")


def write_index(
    output: Path, summaries: Sequence[dict], *, model: Mapping[str, str], generated: str
) -> Path:
    """Write ``index.html``, which loads only files of the ``<scan>/view`` folders beside it.

    Args:
        output: folder that holds a folder per scan.
        summaries: contents of the scans' ``summary.json``, in the order of the table.
        model: facts about the model, such as its weights file, by their name.
        generated: date and time of the prediction, as text.

    Returns:
        The page's path.

    Raises:
        ValueError: a scan's name is not a valid folder name or occurs twice, or a number is not
            finite.
    """
    _check_names([summary["scan"] for summary in summaries])
    output = Path(output)
    text = _render(list(summaries), model, generated)
    write_together({output / PAGE: text})
    return output / PAGE


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"{name!r} is not the name of a folder beside the page")
        name.encode("utf-8")  # a lone surrogate, invalid in a URL, raises UnicodeEncodeError
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice among {names}")


def _render(summaries: list[dict], model: Mapping[str, str], generated: str) -> str:
    template = page_environment("ct_lesion.prediction").get_template("index.html")
    return template.render(
        title="Lesion predictions",
        scripts=SCRIPTS,
        model=model,
        generated=generated,
        data={
            "scans": summaries,
            "model": dict(model),
            "generated": generated,
            "view_file": VIEW_FILE,
            "line_styles": [asdict(style) for style in LINE_STYLES],
        },
    )
