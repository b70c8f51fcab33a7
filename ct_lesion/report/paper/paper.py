"""The values of the paper's Tables 1 to 5, which reports show beside those of a run.

``paper_results.json`` holds them as printed. Tables 1 to 3 are parsed into numbers; cells of
Tables 4 and 5 stay text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("paper_results.json")
SEGMENTATION, CLASSIFICATION, THIRD_PARTY = "segmentation", "classification", "third party"
AP_KEYS = ("AP50", "AP75", "AP")
ACCURACY_KEYS = ("COVID-19", "Pneumonia", "Normal", "Overall")


@dataclass(frozen=True)
class PaperSize:
    """A row of Table 1.

    Attributes:
        task: "segmentation", "classification" or "third party".
        printed: the model's name in the table.
        model: the architecture, named by
            :func:`ct_lesion.report.paper.model_names.model_name`.
        total, trainable: parameters in millions; ``None`` where the cell is empty.
        training, validation, test, ratio: the splits in slices and test / train, as printed.
        released: parameters of the model in the paper's release; ``None`` for third parties.
        background: how many of ``released`` belong to the background rows of the box regressor
            and mask predictor, which Detectron2's heads do not have.
        explanation: why the printed values differ from the release.
    """

    task: str
    printed: str
    model: str
    total: float
    trainable: float | None
    training: str | None
    validation: str | None
    test: str | None
    ratio: str | None
    released: int | None
    background: int | None
    explanation: str

    @property
    def splits(self) -> str:
        """Training / validation / test and the ratio in one cell."""
        parts = [part or "-" for part in (self.training, self.validation, self.test)]
        return f"{'/'.join(parts)} ({self.ratio})"


@dataclass(frozen=True)
class PaperScores:
    """A row of Table 2 or 3.

    Attributes:
        printed: the model's name in the table.
        model: the architecture, named by
            :func:`ct_lesion.report.paper.model_names.model_name`.
        values: Table 2: mask AP in 0..1 by :data:`AP_KEYS`; Table 3: percent by
            :data:`ACCURACY_KEYS`.
        minutes: training time.
    """

    printed: str
    model: str
    values: Mapping[str, float]
    minutes: float


@dataclass(frozen=True)
class PaperResults:
    """All tables.

    Attributes:
        citation: ``title``, ``author``, ``affiliation``, ``tables``.
        sizes: Table 1.
        segmentation: Table 2.
        classification: Table 3.
        region_counts: Table 4, text by (class name, threshold), e.g. "0.65 ± 3.15".
        ks_tests: Table 5, text by (first class, second class, threshold), e.g. "0.18/2e-08".
        notes: inconsistencies in the paper, by the table or figure they concern, e.g. "Table 1".
    """

    citation: Mapping[str, Any]
    sizes: tuple[PaperSize, ...]
    segmentation: tuple[PaperScores, ...]
    classification: tuple[PaperScores, ...]
    region_counts: Mapping[tuple[str, float], str]
    ks_tests: Mapping[tuple[str, str, float], str]
    notes: Mapping[str, tuple[str, ...]]

    def size(self, task: str, model: str) -> PaperSize | None:
        """The row of Table 1 of a model; ``None`` if Table 1 lacks the model."""
        return next((s for s in self.sizes if (s.task, s.model) == (task, model)), None)

    def notes_on(self, what: str) -> list[str]:
        """Inconsistencies in the paper that concern a table or figure, e.g. "Table 1"."""
        return [f"On the paper: {text}" for text in self.notes.get(what, ())]

    def reference(self, what: str) -> str:
        """The citation of a table or figure, as a note below a table of the report."""
        return f"Paper: {self.citation['author']}, {self.citation['title']}, {what}."


@cache
def load_paper() -> PaperResults:
    """Read ``paper_results.json``."""
    data = json.loads(DATA.read_text(encoding="utf-8"))
    notes: dict[str, tuple[str, ...]] = {}
    for note in data["notes"]:
        for what in note["concerns"]:
            notes[what] = (*notes.get(what, ()), note["text"])
    return PaperResults(
        citation=data["citation"],
        sizes=tuple(_size(row) for row in data["sizes"]["rows"]),
        segmentation=tuple(_scores(row, AP_KEYS) for row in data["segmentation"]["rows"]),
        classification=tuple(_scores(row, ACCURACY_KEYS) for row in data["classification"]["rows"]),
        region_counts={
            (row["class"], threshold): text
            for row in data["region_counts"]["rows"]
            for threshold, text in _thresholds(row)
        },
        ks_tests={
            (*row["classes"], threshold): text
            for row in data["ks_tests"]["rows"]
            for threshold, text in _thresholds(row)
        },
        notes=notes,
    )


def _size(row: Mapping[str, Any]) -> PaperSize:
    cells = {key: value for key, value in row.items() if key != "merged"}
    millions = {key: _millions(row[key]) for key in ("total", "trainable")}
    return PaperSize(**cells | millions)


def _scores(row: Mapping[str, str], keys: tuple[str, ...]) -> PaperScores:
    values = {key: float(row[key].removesuffix("%")) for key in keys}
    return PaperScores(row["printed"], row["model"], values, float(row["minutes"]))


def _millions(text: str | None) -> float | None:
    return None if text is None else float(text.removesuffix("M"))


def _thresholds(row: Mapping[str, Any]) -> list[tuple[float, str]]:
    return [(float(key), text) for key, text in row.items() if _is_number(key)]


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()
