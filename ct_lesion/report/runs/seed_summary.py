"""Runs of one config with different seeds: mean and spread of their metrics.

The t-interval describes the mean over seeds on these test slices. It says nothing about other
patients; the bootstrap over patients in a run's report does.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from ct_lesion.files import write_together
from ct_lesion.pages.tables import Table

from .run_checks import RunError
from .runs import Run

MAY_DIFFER = ("SEED", "OUTPUT_DIR")  # config keys that may differ between the runs
MOST_KEYS = 5  # named in a message
CONFIDENCE = 0.95
UNITS = (
    "Units as in the evaluation files: COCO AP and metrics of classifiers are in percent, metrics "
    "in paper_table_2 are from 0 to 1, lesions are counts."
)


def summarize(runs: Sequence[Run], may_differ: Sequence[str] = ()) -> Table:
    """Mean, standard deviation, range and interval of each metric, by dataset.

    Args:
        runs: runs of one config, with training records.
        may_differ: config keys that may differ, in addition to SEED and OUTPUT_DIR.

    Raises:
        RunError: fewer than two runs, a run without a training record, two runs with the same
            seed, different configs or test data, or no dataset on which all were evaluated.
    """
    _check(runs, (*MAY_DIFFER, *may_differ))
    evaluated = [run.segmentation | run.classification for run in runs]
    shared = [d for d in evaluated[0] if all(d in results for results in evaluated)]
    if not shared:
        raise RunError("The runs have no test set in common. Evaluate them on the same dataset.")
    rows = []
    for dataset in shared:
        results = [of_run[dataset] for of_run in evaluated]
        hashes = {r.record.get("dataset_sha256", {}).get(dataset) for r in results} - {None}
        if len(hashes) > 1:
            raise RunError(
                f"The runs were evaluated on different versions of {dataset}. Evaluate them again."
            )
        metrics = [dict(_test_set_metrics(result.metrics)) for result in results]
        rows += [
            (dataset, name, *_spread([of_run.get(name, math.nan) for of_run in metrics]))
            for name in metrics[0]
        ]
    left_out = sorted({d for results in evaluated for d in results} - set(shared))
    notes = [UNITS, f"Seeds: {', '.join(_seed(run) for run in runs)}."]
    if left_out:
        notes.append(f"Left out, because not all runs were evaluated on it: {', '.join(left_out)}.")
    columns = ["dataset", "metric", "n", "mean", "SD", "min", "max"]
    interval = [f"{CONFIDENCE:.0%} low", f"{CONFIDENCE:.0%} high"]
    formats = dict.fromkeys([*columns[3:], *interval], ".4g")
    title = f"{len(runs)} runs that differ in their seed; t-interval of the mean"
    columns += interval
    return Table("seeds", title, columns, rows, formats, notes, {"mean": tuple(interval)})


def _test_set_metrics(content: Mapping) -> Iterator[tuple[str, float]]:
    """Names, e.g. "segm/AP", and values of the metrics of the whole test set; null is NaN."""
    if "segm" in content:
        table = {k: v for k, v in content["paper_table_2"].items() if k != "score_threshold"}
        content = {k: v for k, v in content.items() if k != "patients"} | {"paper_table_2": table}
    else:
        content = content["metrics"]
    for name, value in _flat(content, "/"):
        if value is None or isinstance(value, int | float):
            yield name, math.nan if value is None else float(value)


def _flat(values: Mapping, separator: str, parent: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, separator, f"{parent}{key}{separator}")
        else:
            yield f"{parent}{key}", value


def _spread(values: Sequence[float]) -> tuple[int | float, ...]:
    """n, mean, SD (n - 1), min, max and both ends of the t-interval; NaN is left out."""
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


def _check(runs: Sequence[Run], may_differ: Sequence[str]) -> None:
    """Refuse runs with the same seed, and runs that differ in more than the seed."""
    if len(runs) < 2:
        raise RunError("A summary over seeds needs at least two runs. Give their folders.")
    for run in runs:
        if not run.training:
            raise RunError(
                f"{run.folder} holds no training record (training.json). Train the run again with "
                "this version of ct_lesion."
            )
    counts = Counter(run.training.get("seed") for run in runs)
    for seed, count in counts.items():
        if count > 1 and seed is not None:
            same = [str(run.folder) for run in runs if run.training.get("seed") == seed]
            raise RunError(
                f"{' and '.join(same)} have the same SEED, {seed}, so they say nothing about the "
                "spread. Leave one out, or train it with another SEED."
            )
    configs = [dict(_flat(run.training_cfg, ".")) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        keys = [
            key
            for key in sorted(configs[0].keys() | config.keys())
            if key not in may_differ and configs[0].get(key) != config.get(key)
        ]
        if keys:
            shown = "; ".join(
                f"{k} is {configs[0].get(k)!r} and {config.get(k)!r}" for k in keys[:MOST_KEYS]
            )
            more = f"; and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
            raise RunError(
                f"{runs[0].folder} and {run.folder} differ in more than their seed: {shown}{more}. "
                "If that is intended, allow the keys with --may-differ."
            )


def _seed(run: Run) -> str:
    seed = run.training.get("seed")
    return "not recorded" if seed is None else str(seed)


def write_summary(table: Table, runs: Sequence[Run], folder: str | Path) -> list[Path]:
    """Write ``seeds.json``, ``seeds.csv`` and ``seeds.md``, and return their paths."""
    stem = Path(folder) / table.name
    content = {
        **table.to_json(),
        "runs": [{"folder": str(run.folder), "seed": run.training.get("seed")} for run in runs],
    }
    texts = {
        stem.with_suffix(".json"): json.dumps(content, indent=2) + "\n",
        stem.with_suffix(".csv"): table.to_csv(),
        stem.with_suffix(".md"): table.to_markdown(),
    }
    write_together(texts)
    return list(texts)
