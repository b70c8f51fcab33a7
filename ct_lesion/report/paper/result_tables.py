"""Results of runs beside the paper's Tables 2 and 3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode

from ct_lesion.evaluation.classification import PAPER_COLUMNS
from ct_lesion.evaluation.classification_metrics import PER_CLASS
from ct_lesion.pages.tables import Cell, Table

from .model_names import model_name, paper_row
from .paper import ACCURACY_KEYS, AP_KEYS, PaperScores, load_paper

AP_WORDS = {"AP50": "AP@0.5", "AP75": "AP@0.75", "AP": "AP@[0.5:0.95]"}
MINUTES = ("minutes, paper", "minutes, run")
MINUTES_FORMATS = {"minutes, paper": "g", "minutes, run": ".1f"}
FIRST = ("model", "run", "data")
ROW_NOTE = (
    "A run shares the row of the paper's model with the same backbone and mask classes; the model "
    "name lists other differences. Only runs on the paper's data can be compared with the paper."
)


@dataclass(frozen=True)
class RunMetrics:
    """An evaluation of a run.

    Attributes:
        name: name of the run.
        cfg: config of its model.
        metrics: content of ``segmentation_metrics.json`` or ``classification_metrics.json``.
        minutes: training time; ``None`` if unknown.
        dataset: name of the evaluated dataset.
        region_classes: names of the lesion classes, if known; see
            :func:`ct_lesion.report.paper.model_names.model_name`.
    """

    name: str
    cfg: CfgNode
    metrics: Mapping[str, Any]
    minutes: float | None = None
    dataset: str = ""
    region_classes: tuple[str, ...] | None = None


def segmentation_table(runs: Sequence[RunMetrics]) -> Table:
    """The paper's Table 2: mask AP in 0..1 and training time, paper and run side by side.

    For detections above the score threshold, runs have COCO AP and AP as computed by the paper's
    release; for all detections, COCO AP. Rows of the paper without a run come last.
    """
    paper = load_paper()
    kinds = ("paper", "run by COCO", "run as released")
    ap_columns = [f"{AP_WORDS[key]}, {kind}" for key in AP_KEYS for kind in kinds]
    every = f"{AP_WORDS['AP']}, run by COCO, all detections"
    columns = [*FIRST, *ap_columns, every, "lesions found", "false detections", *MINUTES]
    rows = []
    for run in runs:
        printed = _paper_scores(paper.segmentation, run)
        table, lesions = run.metrics["paper_table_2"], run.metrics["lesions"]
        percent = run.metrics["segm"]["AP"]
        ap = [
            value
            for key in AP_KEYS
            for value in (_value(printed, key), table["coco"][key], table["release"][key])
        ]
        rows.append(
            [
                *_first(run),
                *ap,
                None if percent is None else percent / 100,
                f"{lesions['found']} of {lesions['lesions']}",
                lesions["false"],
                printed.minutes if printed else None,
                run.minutes,
            ]
        )
    rows += _paper_rows(paper.segmentation, runs, columns)
    thresholds = sorted({run.metrics["paper_table_2"]["score_threshold"] for run in runs})
    scores = " or ".join(f"{threshold:g}" for threshold in thresholds)
    notes = [
        f"Average precision of masks, 0 to 1, of detections with a score above {scores}. "
        '"As released": the mean AP of single slices, which the paper\'s release computes; "by '
        'COCO": pycocotools, over all slices together. A lesion counts as found if such a '
        "detection overlaps it with IoU > 0.5. Compare the COCO AP of all detections with other "
        "work, because AP needs low-scored detections too."
        if runs
        else "No run.",
        ROW_NOTE,
        paper.reference("Table 2"),
        *paper.notes_on("Table 2"),
    ]
    formats = dict.fromkeys([*ap_columns, every], ".4f") | MINUTES_FORMATS
    title = "Table 2: average precision of segmentation and training time"
    return Table("table_2", title, columns, rows, formats, notes)


def classification_table(runs: Sequence[RunMetrics]) -> Table:
    """The paper's Table 3, with its class names: sensitivity and accuracy in %, training time.

    Rows of the paper without a run come last. Classes that a run lacks have no value.
    """
    paper = load_paper()
    value_columns = [f"{key}, {kind}" for key in ACCURACY_KEYS for kind in ("paper", "run")]
    columns = [*FIRST, *value_columns, *MINUTES]
    keys = {word: f"sensitivity/{name}" for name, word in PAPER_COLUMNS.items()}
    keys["Overall"] = "accuracy"
    rows, notes = [], []
    for run in runs:
        printed, metrics = _paper_scores(paper.classification, run), run.metrics["metrics"]
        values = [
            value
            for key in ACCURACY_KEYS
            for value in (_value(printed, key), metrics.get(keys[key]))
        ]
        minutes = printed.minutes if printed else None
        rows.append([*_first(run), *values, minutes, run.minutes])
        other = [name for name in run.metrics["classes"] if name not in PAPER_COLUMNS]
        if other:
            notes.append(f"{run.name} has classes that are not in the paper: {', '.join(other)}.")
    rows += _paper_rows(paper.classification, runs, columns)
    notes = [
        "In % of slices. COVID-19, Pneumonia and Normal: the sensitivity of the class COVID-19, "
        "Common Pneumonia and Control; overall: accuracy.",
        *notes,
        ROW_NOTE,
        paper.reference("Table 3"),
        *paper.notes_on("Table 3"),
    ]
    formats = dict.fromkeys(value_columns, ".2f") | MINUTES_FORMATS
    title = "Table 3: class sensitivity, accuracy and training time"
    return Table("table_3", title, columns, rows, formats, notes)


def class_metrics_table(runs: Sequence[RunMetrics]) -> Table:
    """Sensitivity, specificity, PPV, F1 and AUC in % of each class of each run."""
    rows, notes = [], []
    for run in runs:
        metrics = run.metrics["metrics"]
        for name in run.metrics["classes"]:
            values = [metrics[f"{metric}/{name}"] for metric in PER_CLASS]
            rows.append([model_name(run.cfg, run.region_classes), run.name, name, *values])
        notes += [
            f"{run.name}: {key} is undefined, because {reason}."
            for key, reason in run.metrics["undefined"].items()
        ]
    return Table(
        "table_3_classes",
        "Each class against the others",
        ["model", "run", "class", *PER_CLASS],
        rows,
        dict.fromkeys(PER_CLASS, ".2f"),
        [
            "In % of slices. Sensitivity: share of the slices of the class that are predicted as "
            "it. Specificity (true negative rate): share of the slices of other classes that are "
            "not predicted as it. PPV: share of the slices predicted as the class that belong to "
            "it. AUC: of the logit of the class.",
            *notes,
        ],
    )


def _first(run: RunMetrics) -> list[Cell]:
    return [model_name(run.cfg, run.region_classes), run.name, run.dataset or None]


def _paper_scores(rows: Sequence[PaperScores], run: RunMetrics) -> PaperScores | None:
    wanted = paper_row(run.cfg, run.region_classes)
    return next((row for row in rows if row.model == wanted), None)


def _value(row: PaperScores | None, key: str) -> float | None:
    return row.values[key] if row else None


def _paper_rows(
    rows: Sequence[PaperScores],
    runs: Sequence[RunMetrics],
    columns: Sequence[str],
) -> list[list[Cell]]:
    """Rows of the paper that no run shares, with values in the columns "..., paper"."""
    taken = {paper_row(run.cfg, run.region_classes) for run in runs}
    result = []
    for row in rows:
        if row.model not in taken:
            values = row.values.items()
            cells = {f"{AP_WORDS.get(key, key)}, paper": value for key, value in values}
            cells |= {"model": row.printed, MINUTES[0]: row.minutes}
            result.append([cells.get(column) for column in columns])
    return result
