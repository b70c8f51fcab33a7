"""Several runs of one config with different seeds: mean and spread of what they measured.

A t-interval of the mean says how well the mean over seeds is known on these test slices. It says
nothing about other patients: for that see the bootstrap over patients of a run's report.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import t as student_t

from ct_lesion.engine.run_record import EVALUATION_RECORD, TRAINING_RECORD
from ct_lesion.evaluation.classification import CLASSIFICATION_METRICS_FILE
from ct_lesion.evaluation.lesion_evaluator import SEGMENTATION_METRICS_FILE
from ct_lesion.files import write_together
from ct_lesion.json_files import read_json
from ct_lesion.pages.tables import Table

from .runs import RunError

# what runs of one config may differ in
MAY_DIFFER = ("SEED", "OUTPUT_DIR")
CONFIDENCE = 0.95
UNITS = (
    "Numbers as the evaluations left them: COCO AP and a classifier's metrics in percent, those in "
    "the form of the paper's Table 2 from 0 to 1, lesions counted."
)


@dataclass(frozen=True)
class SeedRun:
    """What one run was and measured.

    Attributes:
        folder: of the run.
        seed: of its training; None if it was not recorded.
        config: keys with dots, and their values.
        metrics: by dataset and name.
        data: SHA-256 of each dataset's file, where it was recorded.
    """

    folder: Path
    seed: int | None
    config: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    data: dict[str, str]


def read_seed_run(folder: str | Path) -> SeedRun:
    """Read training record and evaluations of a run.

    Raises:
        RunError: the folder holds no training, no evaluation, or a damaged file.
    """
    folder = Path(folder)
    record = _read(folder / TRAINING_RECORD)
    config = dict(_flat(yaml.safe_load(record.get("config", "")) or {}))
    metrics: dict[str, dict[str, float]] = {}
    data: dict[str, str] = {}
    for evaluation in sorted(folder.glob("inference/*")):
        found = _metrics(evaluation)
        if found:
            metrics[evaluation.name] = found
            path = evaluation / EVALUATION_RECORD
            hashes = _read(path).get("dataset_sha256", {}) if path.is_file() else {}
            data |= {evaluation.name: hashes[evaluation.name]} if evaluation.name in hashes else {}
    if not metrics:
        raise RunError(f"{folder}: holds no evaluation. Evaluate the run first.")
    return SeedRun(folder, record.get("seed"), config, metrics, data)


def _read(path: Path) -> dict:
    return read_json(path, dict, RunError, "Name folders of tools/train_net.py.")


def _metrics(folder: Path) -> dict[str, float]:
    """The numbers of an evaluation that describe the whole test set."""
    path = folder / SEGMENTATION_METRICS_FILE
    if path.is_file():
        content = _read(path)
        content.pop("patients", None)
        content.get("paper_table_2", {}).pop("score_threshold", None)
        return dict(_numbers(content))
    path = folder / CLASSIFICATION_METRICS_FILE
    return dict(_numbers(_read(path)["metrics"])) if path.is_file() else {}


def _flat(values: Mapping, parent: str = "", separator: str = ".") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{parent}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}{separator}", separator)
        else:
            yield name, value


def _numbers(content: Mapping) -> Iterator[tuple[str, float]]:
    """Numbers by their path; what an evaluation could not compute is NaN."""
    for name, value in _flat(content, separator="/"):
        if value is None or isinstance(value, int | float):
            yield name, math.nan if value is None else float(value)


def summarize(runs: Sequence[SeedRun], may_differ: Sequence[str] = ()) -> Table:
    """Mean, standard deviation, range and interval of each metric that all runs have.

    Args:
        runs: of one config.
        may_differ: keys that may differ beside SEED and OUTPUT_DIR.

    Raises:
        RunError: fewer than two runs, two with the same seed, configs or test data that differ, or
            no evaluation that all runs have.
    """
    _check(runs, (*MAY_DIFFER, *may_differ))
    shared = [d for d in runs[0].metrics if all(d in run.metrics for run in runs)]
    if not shared:
        raise RunError("The runs were evaluated on different datasets: there is none in common.")
    for dataset in shared:
        if len({run.data[dataset] for run in runs if dataset in run.data}) > 1:
            raise RunError(f"The runs were evaluated on different versions of {dataset}.")
    rows = [
        (dataset, name, *_spread([run.metrics[dataset].get(name, math.nan) for run in runs]))
        for dataset in shared
        for name in runs[0].metrics[dataset]
    ]
    left_out = sorted({d for run in runs for d in run.metrics} - set(shared))
    notes = [UNITS, f"Seeds: {', '.join(_seed(run) for run in runs)}."]
    if left_out:
        notes.append(f"Left out, because not all runs have it: {', '.join(left_out)}.")
    columns = ["dataset", "metric", "n", "mean", "SD", "min", "max"]
    interval = [f"{CONFIDENCE:.0%} low", f"{CONFIDENCE:.0%} high"]
    formats = dict.fromkeys([*columns[3:], *interval], ".4g")
    title = f"{len(runs)} runs that differ in their seed; t-interval of the mean"
    return Table("seeds", title, [*columns, *interval], rows, formats, notes)


def _spread(values: Sequence[float]) -> tuple[int | float, ...]:
    """n, mean, SD (n - 1), min, max and both ends of the t-interval, without NaN."""
    known = np.array([v for v in values if math.isfinite(v)])
    n = len(known)
    if n == 0:
        return (0, *[math.nan] * 6)
    mean = float(known.mean())
    if n == 1:
        return (1, mean, math.nan, mean, mean, math.nan, math.nan)
    sd = float(known.std(ddof=1))
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    return (n, mean, sd, float(known.min()), float(known.max()), mean - half, mean + half)


def _check(runs: Sequence[SeedRun], may_differ: Sequence[str]) -> None:
    if len(runs) < 2:
        raise RunError("A spread needs at least two runs; give their folders.")
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise RunError("A run is given twice.")
    counts = Counter(run.seed for run in runs if run.seed is not None)
    for seed, count in counts.items():
        if count > 1:
            same = [str(run.folder) for run in runs if run.seed == seed]
            raise RunError(
                f"{' and '.join(same)} have the same SEED, {seed}: they say nothing about the "
                "spread. Leave one out, or train it with another SEED."
            )
    first = runs[0]
    for other in runs[1:]:
        keys = [
            key
            for key in sorted(first.config.keys() | other.config.keys())
            if key not in may_differ and first.config.get(key) != other.config.get(key)
        ]
        if keys:
            shown = "; ".join(
                f"{k} is {first.config.get(k)!r} and {other.config.get(k)!r}" for k in keys[:5]
            )
            more = f"; and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise RunError(
                f"{first.folder} and {other.folder} differ in more than their seed: {shown}{more}. "
                "Keys that may differ are named with --may-differ."
            )


def _seed(run: SeedRun) -> str:
    return "not recorded" if run.seed is None else str(run.seed)


def write_summary(table: Table, runs: Sequence[SeedRun], folder: str | Path) -> list[Path]:
    """Write ``seeds.json``, ``seeds.csv`` and ``seeds.md``; returns their paths."""
    stem = Path(folder) / table.name
    content = {
        **table.to_json(),
        "runs": [{"folder": str(run.folder), "seed": run.seed} for run in runs],
    }
    texts = {
        stem.with_suffix(".json"): json.dumps(content, indent=2) + "\n",
        stem.with_suffix(".csv"): table.to_csv(),
        stem.with_suffix(".md"): table.to_markdown(),
    }
    write_together(texts)
    return list(texts)
