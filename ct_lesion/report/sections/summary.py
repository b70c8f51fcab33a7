"""The summary above the first table: what was evaluated, the main numbers, the warnings."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ct_lesion.evaluation.mask_ap import patients_of
from ct_lesion.pages.blocks import Caution, Section
from ct_lesion.pages.tables import Table

from ..runs.results import ClassificationResult, SegmentationResult

MOST_RUNS = 3  # runs per result of the summary
LEVELS = {"slices": "slice", "scans": "scan", "patients": "patient"}
NO_DOUBT = "no check gave a warning; the model card lists the limits of the method."


def summary_facts(
    runs: Sequence[str],
    segmentation: Mapping[str, SegmentationResult],
    classification: Mapping[str, ClassificationResult],
    sections: Sequence[Section],
) -> dict[str, str]:
    """The five facts of the summary, by their labels; a fact without results is left out.

    Args:
        runs: names of all runs of the report.
        segmentation, classification: the evaluations, by the name of the run.
        sections: sections of the report, whose tables hold the numbers.
    """
    tables = {table.name: table for section in sections for table in section.of(Table)}
    sizes = dict(_sizes(segmentation, classification))
    doubts = dict.fromkeys(c.text for section in sections for c in section.of(Caution))
    facts = {
        "Runs": ", ".join(runs),
        "Evaluated on": "; ".join(f"{name}: {size}" for name, size in sizes.items()),
        "Lesion masks": _joined(dict(_masks(tables)) if segmentation else {}),
        "Classes": _joined(dict(_classes(tables)) if classification else {}),
        "Doubts": " ".join(doubts) or NO_DOUBT,
    }
    return {name: text for name, text in facts.items() if text}


def _sizes(
    segmentation: Mapping[str, SegmentationResult],
    classification: Mapping[str, ClassificationResult],
) -> Iterator[tuple[str, str]]:
    for result in segmentation.values():
        patients = len(set(patients_of(result.truth)))
        yield result.dataset, _size(len(result.truth.imgs), patients)
    for result in classification.values():
        yield result.dataset, _size(len(result.labels), len(np.unique(result.patients)))


def _size(slices: int, patients: int) -> str:
    return f"{slices:,} slices of {patients:,} patient{'s' * (patients != 1)}"


def _masks(tables: Mapping[str, Table]) -> Iterator[tuple[str, str]]:
    table_2 = {row["run"]: row for row in tables["table_2"].records()}
    for row in _displayed(tables["ap_intervals"]):
        lesions = table_2[row["run"]]
        yield (
            row["run"],
            f"mask AP {row['AP']}, AP50 {row['AP50']}; {lesions['lesions found']} lesions found "
            f"with {lesions['false detections']:,} false detections (Table 2)",
        )


def _classes(tables: Mapping[str, Table]) -> Iterator[tuple[str, str]]:
    for row in _displayed(tables["classification_levels"]):
        if row["metric"] == "accuracy":
            levels = (f"{row[f'{many}, %']} % by {one}" for many, one in LEVELS.items())
            yield row["run"], f"accuracy {', '.join(levels)}"


def _displayed(table: Table) -> Iterator[dict[str, str]]:
    for row in table.shown():
        texts = ("undefined" if text == "-" else text for text in row)
        yield dict(zip(table.shown_columns(), texts, strict=True))


def _joined(texts: Mapping[str, str]) -> str:
    if len(texts) == 1:
        return f"{next(iter(texts.values()))}."
    parts = [f"{run}: {text}." for run, text in texts.items()]
    more = len(parts) - MOST_RUNS
    return "\n".join(parts[:MOST_RUNS] + ([f"{more} more in the tables."] if more > 0 else []))
