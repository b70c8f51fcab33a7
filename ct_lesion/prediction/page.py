"""The HTML page of a prediction: a table of the scans, and a viewer of each scan."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Real
from pathlib import Path

from ct_lesion.errors import UserError, printable
from ct_lesion.files import write_together
from ct_lesion.json_files import NUMBER, read_json, schema_problem, without_nan
from ct_lesion.pages.environment import page_environment
from ct_lesion.pages.palette import HIDDEN, LESION_COLOURS, LINE_STYLES

from .pictures.scan_pictures import REPORT_FILE, THUMBNAIL_FILE
from .scan_files import SUMMARY_FILE
from .view import VIEW_FILE

PAGE = "index.html"
ADVICE = "Move the folder away, or delete it and predict the scan again."
# the items of a summary that the page reads, see ct_lesion.json_files.schema_problem
SUMMARY_SCHEMA = {
    "scan": str,
    "source?": str,
    "patient?": str,
    "slices": int,
    "size": [int],
    "incomplete?": bool,
    "spacing_mm?": [NUMBER],
    "class?": str,
    "probabilities?": {"*": Real},
    "rule?": str,
    "deciding_slices?": [int],
    "class_names?": [str],
    "lesions": int,
    "detections": int,
    "slices_with_lesion": int,
    "lesion_slice_range?": [int],
    "most_lesion_slice?": int,
    "lesion_volume_ml?": Real,
    "lesion_share_of_lung?": Real,
    "lungs?": {
        "volume_ml?": {"*": NUMBER},
        "lesion_share?": {"*": NUMBER},
        "lesion_share_of_thirds?": {"*": {"*": NUMBER}},
        "severity_score?": int,
    },
    "score_thresh": Real,
    "lesion_class_names": [str],
    "pictures?": [str],
    "notes": [str],
    "qc": [{"code": str, "message": str}],
}
SCRIPTS = (
    *("format.js", "table.js", "stage.js", "charts.js", "panels.js", "lesions.js"),
    *("scan.js", "main.js"),
)


def read_summary(folder: Path) -> dict:
    """The ``summary.json`` in the folder of a finished scan.

    Raises:
        UserError: the file cannot be read, is not a summary of ct_lesion, or names another scan
            than the folder.
    """
    path = folder / SUMMARY_FILE
    summary = read_json(path, dict, UserError, ADVICE)
    if problem := schema_problem(summary, SUMMARY_SCHEMA):
        raise UserError(f"{path} is not a summary of ct_lesion ({problem}). {ADVICE}")
    if summary["scan"] != folder.name:
        raise UserError(
            f"{path} is the summary of scan {summary['scan'][:80]}, so the folder was copied or "
            "renamed. Rename the folder to the scan's name, or move it away."
        )
    return without_nan(summary)


def finished_scans(output: Path) -> tuple[list[dict], list[str]]:
    """The summaries of the finished scans in a folder, and the reasons for skipped folders."""
    summaries, left_out = [], []
    for path in sorted(output.glob(f"*/{SUMMARY_FILE}")):
        if path.parent.name.startswith("."):
            continue
        try:
            summaries.append(read_summary(path.parent))
        except UserError as error:
            if os.path.lexists(path):  # otherwise another process is replacing the scan's folder
                left_out.append(printable(error))
    return summaries, left_out


def write_index(
    output: Path, summaries: Sequence[dict], *, model: Mapping[str, str], generated: str
) -> Path:
    """Write ``index.html``, which loads only files in the scans' folders beside it.

    Args:
        output: folder that holds a folder per scan.
        summaries: contents of the scans' ``summary.json``, in the order of the table.
        model: facts about the models by label, see :func:`.models.describe_models`.
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
            raise ValueError(f"{name!r} is not a valid folder name")
        name.encode("utf-8")  # a lone surrogate, invalid in a URL, raises UnicodeEncodeError
    if len(set(names)) < len(names):
        raise ValueError(f"a scan's name occurs twice: {names}")


def _without_list(summary: dict) -> dict:
    """A summary without its lesions, which may be many and are in each scan's view."""
    return {key: value for key, value in summary.items() if key != "lesion_list"}


def _render(summaries: list[dict], model: Mapping[str, str], generated: str) -> str:
    template = page_environment("ct_lesion.prediction").get_template("index.html")
    return template.render(
        title="Lesion predictions",
        scripts=SCRIPTS,
        model=model,
        generated=generated,
        data={
            "scans": [_without_list(summary) for summary in summaries],
            "model": dict(model),
            "generated": generated,
            "view_file": VIEW_FILE,
            "thumbnail": THUMBNAIL_FILE,
            "report": REPORT_FILE,
            "lesion_colours": LESION_COLOURS,
            "hidden_colour": HIDDEN,
            "line_styles": [asdict(style) for style in LINE_STYLES],
        },
    )
