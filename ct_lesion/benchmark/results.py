"""Writes results as JSON and Markdown, with the machine they were measured on."""

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

from .measure import Result, Settings, Spread

JSON_FILE, MARKDOWN_FILE = "benchmark.json", "benchmark.md"


def write_results(
    folder: str | Path, results: Sequence[Result], settings: Settings, command: Sequence[str]
) -> list[Path]:
    """Write ``benchmark.json`` and ``benchmark.md``, both or neither.

    Args:
        folder: receives the files.
        results: results of the cases so far.
        settings: the user's choices.
        command: words of the command line, for the record.

    Returns:
        The paths of the files.
    """
    content = {
        "command": " ".join(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": settings.rounds,
        "hardware": hardware(),
        "versions": {"python": sys.version.split()[0], **library_versions()},
        "rows": [result.to_json() for result in results],
    }
    texts = {
        Path(folder) / JSON_FILE: json.dumps(content, indent=2) + "\n",
        Path(folder) / MARKDOWN_FILE: _markdown(content, results),
    }
    write_together(texts)
    return list(texts)


def _markdown(content: Mapping[str, Any], results: Sequence[Result]) -> str:
    """The table, the machine and the facts of each case."""
    table = Table(
        "benchmark",
        "Speed",
        ["work", "compared", "first", "second", "ratio", "rounds' ratios", "target", "met"],
        [_cells(result) for result in results],
    )
    machine, versions = content["hardware"], content["versions"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    lines = [
        table.to_markdown().strip(),
        "",
        f"- Machine: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['torch_threads']} threads of torch, {gpus}.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
        f"- {content['rounds']} alternating rounds; medians, smallest and largest in brackets. "
        f"Finished {content['finished']}.",
        f"- Command: `{content['command']}`",
    ]
    lines += [f"- {r.case.name}: {_remarks(r)}" for r in results if _remarks(r)]
    return "\n".join(lines) + "\n"


def _cells(result: Result) -> list[str | None]:
    case = result.case
    timing = result.measured.comparison if result.measured else None
    met = "not measured" if result.skipped else {None: None, True: "yes", False: "no"}[result.met]
    return [
        case.work,
        f"{case.first} / {case.second}" if case.second else case.first,
        _time(timing.first, case.per) if timing else None,
        _time(timing.second, case.per) if timing else None,
        result.shown if result.measured else None,
        f"{timing.ratio.smallest:.2f} to {timing.ratio.largest:.2f}" if timing else None,
        case.target,
        met,
    ]


def _time(spread: Spread, unit: str) -> str:
    """E.g. ``62.1 ms per slice (60.0 to 70.2)``."""
    factor, name = (1e3, "ms") if spread.median < 1 else (1.0, "s")
    low, middle, high = (
        f"{x:.0f}" if x >= 100 else f"{x:.3g}"
        for x in (v * factor for v in (spread.smallest, spread.median, spread.largest))
    )
    return f"{middle} {name} per {unit} ({low} to {high})"


def _remarks(result: Result) -> str:
    if result.skipped:
        return f"not measured: {result.skipped}"
    facts = result.measured.facts
    return "; ".join(f"{name}: {_plain(value)}" for name, value in facts.items())


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
