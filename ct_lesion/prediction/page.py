"""The page of a prediction: a table of the scans, and a view of each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ct_lesion.files import write_together
from ct_lesion.pages.lesion_style import LINE_STYLES

from .view import VIEW_FILE

PAGE = "index.html"
DISCLAIMER = "Research use only. Not for clinical use."
SCRIPTS = ("format.js", "table.js", "stage.js", "charts.js", "panels.js", "scan.js", "main.js")


def write_index(
    output: Path, summaries: Sequence[dict], *, model: Mapping[str, str], generated: str
) -> Path:
    """Write ``index.html``, which needs nothing but the ``<scan>/view`` folders beside it.

    Args:
        output: folder with a folder for each scan.
        summaries: contents of the scans' ``summary.json``, in the order to list them.
        model: what made the predictions, as name and value.
        generated: date and time, as text.

    Returns:
        The page's path.

    Raises:
        ValueError: a scan's name is no folder name, occurs twice, or a number is not finite.
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
        name.encode("utf-8")  # what is no text cannot be part of a URL: UnicodeEncodeError
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice among {names}")


def _render(summaries: list[dict], model: Mapping[str, str], generated: str) -> str:
    loader = PackageLoader("ct_lesion.prediction")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    # classes keep their order; NaN is not JSON
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}

    def source(name: str) -> str:
        return loader.get_source(environment, name)[0]  # as it is: its braces are not Jinja's

    return environment.get_template("index.html").render(
        style=source("page.css"),
        script="\n".join(source(name) for name in SCRIPTS),
        model=model,
        generated=generated,
        disclaimer=DISCLAIMER,
        data={
            "scans": summaries,
            "model": dict(model),
            "generated": generated,
            "view_file": VIEW_FILE,
            "line_styles": [asdict(style) for style in LINE_STYLES],
        },
    )
