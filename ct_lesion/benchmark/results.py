"""Measured rows as JSON and Markdown, with the machine they were measured on."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ct_lesion.checkpoint import library_versions
from ct_lesion.engine.run_record import hardware
from ct_lesion.files import write_together
from ct_lesion.pages.tables import Table

from .row import RowResult, Settings
from .timing import Spread

JSON_FILE, MARKDOWN_FILE = "benchmark.json", "benchmark.md"


def results_json(
    results: Sequence[RowResult], settings: Settings, command: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything about a benchmark in plain values."""
    return {
        "command": " ".join(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": settings.rounds,
        "hardware": hardware(),
        "versions": {"python": sys.version.split()[0], **library_versions()},
        "rows": [result.to_json() for result in results],
    }


def results_table(results: Sequence[RowResult]) -> Table:
    """The table that a reader sees: a row a piece of work."""
    return Table(
        "benchmark",
        "Speed",
        ["work", "compared", "first", "second", "ratio", "rounds' ratios", "target", "met"],
        [_cells(result) for result in results],
    )


def _cells(result: RowResult) -> list[str | None]:
    row, timing = result.row, result.comparison
    compared = f"{row.first} / {row.second}" if row.second else row.first
    met = "not measured" if result.skipped else {None: None, True: "yes", False: "no"}[result.met]
    return [
        row.work,
        compared,
        _time(timing.first, row.unit) if timing else None,
        _time(timing.second, row.unit) if timing else None,
        None if result.value is None else result.shown,
        f"{timing.ratio.smallest:.2f} to {timing.ratio.largest:.2f}" if timing else None,
        str(row.target) if row.target else None,
        met,
    ]


def _time(spread: Spread, unit: str) -> str:
    """``62.1 ms a slice (60.0 to 70.2)``."""
    factor, name = (1e3, "ms") if spread.median < 1 else (1.0, "s")
    low, middle, high = (
        f"{x:.0f}" if x >= 100 else f"{x:.3g}"
        for x in (v * factor for v in (spread.smallest, spread.median, spread.largest))
    )
    return f"{middle} {name} a {unit} ({low} to {high})"


def to_markdown(content: Mapping[str, Any], table: Table, results: Sequence[RowResult]) -> str:
    """The table, the machine, and what is to be known about each row."""
    machine, versions = content["hardware"], content["versions"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    lines = [
        table.to_markdown().strip(),
        "",
        f"- Machine: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['torch_threads']} threads of torch, {gpus}.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
        f"- {content['rounds']} rounds in turn; medians, smallest and largest in brackets. "
        f"Finished {content['finished']}.",
    ]
    if content["command"]:
        lines.append(f"- Command: `{content['command']}`")
    lines += [f"- {result.row.name}: {_remarks(result)}" for result in results if _remarks(result)]
    return "\n".join(lines) + "\n"


def _remarks(result: RowResult) -> str:
    if result.skipped:
        return f"not measured: {result.skipped}"
    return "; ".join(f"{name}: {_plain(value)}" for name, value in result.facts.items())


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_results(
    folder: str | Path,
    results: Sequence[RowResult],
    settings: Settings,
    command: Sequence[str] = (),
) -> list[Path]:
    """Write ``benchmark.json`` and ``benchmark.md``; both or neither.

    Returns:
        their paths.
    """
    content = results_json(results, settings, command)
    paths = [Path(folder) / name for name in (JSON_FILE, MARKDOWN_FILE)]
    texts = [
        json.dumps(content, indent=2) + "\n",
        to_markdown(content, results_table(results), results),
    ]
    write_together(dict(zip(paths, texts, strict=True)))
    return paths
