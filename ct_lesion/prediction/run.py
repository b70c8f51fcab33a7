"""Prediction of many scans into an output folder.

A scan's folder appears when the scan is finished, so rerunning an interrupted command predicts only
the unfinished scans. Several processes share the scans; the main process checks the output folder.
"""

import json
import sys
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from tqdm import tqdm

from ct_lesion.engine.across_processes import from_main, locked_by_all, share_of_this_process
from ct_lesion.errors import UserError, printable
from ct_lesion.files import atomic_folder, write_new
from ct_lesion.lesions.lung_source import LungSource
from ct_lesion.scans.sources import ScanSource

from .input_window import with_window_remarks
from .lung_results import LungResults
from .manifest import (
    MANIFEST_FILE,
    check_unchanged,
    made_from,
    manifest,
    read_manifest,
    stamps_of,
)
from .models import describe_models
from .page import finished_scans, read_summary, write_index
from .predictor import LesionPredictor
from .scan_files import ScanWriter

PAGE_SHARE = 0.05
"""Largest share of a run's time for updates of the page."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run.

    Attributes:
        save_score_maps: write the combined mask logits of each slice.
        lungs: where the lungs of the scans come from.
        overwrite: replace finished scans, also those of other inputs, models or options.
        reading: the :class:`~ct_lesion.scans.scan.ReadOptions` as a dict, for the manifest.
        arguments: the command line's arguments, for the manifest.
    """

    save_score_maps: bool = False
    lungs: LungSource = field(default_factory=LungSource)
    overwrite: bool = False
    reading: dict[str, Any] = field(default_factory=dict)
    arguments: Sequence[str] = ()


@dataclass
class RunResult:
    """Names of the predicted, skipped and failed scans, and the page that shows the scans.

    Attributes:
        done: scans predicted in this run.
        skipped: scans finished by an earlier run.
        failed: error messages by scan name.
        incomplete: predicted or skipped scans that lack slices.
        page: path of ``index.html``.
        left_out: why other folders in the output folder are not on the page, a line each.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    page: Path | None = None
    left_out: list[str] = field(default_factory=list)


def predict_scans(
    sources: Sequence[ScanSource],
    predictor: LesionPredictor,
    output: str | Path,
    options: RunOptions,
) -> RunResult:
    """Predict each scan into ``output/<name>`` and write ``output/index.html``.

    A scan that cannot be read or written is reported, and the run continues with the next scan.
    Scans already finished from the same input, weights and options are skipped. When several
    processes call this together, each predicts its share, and all get the whole result.

    Args:
        sources: the scans to predict, the same in all processes.
        predictor: finds the lesions and classes.
        output: folder; may hold finished scans.
        options: see :class:`RunOptions`.

    Raises:
        UserError: before any prediction, if another job writes into the folder, it cannot be
            created, or it holds other predictions of these scans and ``overwrite`` is not set.
    """
    with locked_by_all(Path(output)):
        return _predict_all(sources, predictor, Path(output), options)


def _predict_all(
    sources: Sequence[ScanSource], predictor: LesionPredictor, output: Path, options: RunOptions
) -> RunResult:
    made, stamps, failed = _made_from_all(sources, predictor, options)
    skipped = from_main(lambda: _finished(output, made, options.overwrite))
    finished = {*skipped}
    todo = [s for s in sources if s.name in made and s.name not in finished]
    numbers = {source.name: number for number, source in enumerate(sources, start=1)}
    done = []
    with _page_of_finished(output, predictor) as update_page:
        for source in share_of_this_process(todo):
            title = f"scan {numbers[source.name]}/{len(sources)} {source.name}"
            try:
                origin = made[source.name], stamps[source.name]
                _predict_scan(source, predictor, output, origin, options, title)
                done.append(source.name)
            except (UserError, OSError) as error:  # OSError: e.g. a full disk
                failed[source.name] = str(error)
                tqdm.write(printable(f"{title}: {error}"), file=sys.stderr)
            update_page()
    done = sorted(chain.from_iterable(comm.all_gather(done)), key=numbers.get)
    failed = dict(ChainMap(*comm.all_gather(failed)))
    failed = {source.name: failed[source.name] for source in sources if source.name in failed}
    page, left_out, lack_slices = from_main(lambda: _write_page(output, predictor))
    incomplete = [name for name in numbers if name in {*done, *skipped} & lack_slices]
    return RunResult(done, skipped, failed, incomplete, page, left_out)


def _made_from_all(
    sources: Sequence[ScanSource], predictor: LesionPredictor, options: RunOptions
) -> tuple[dict[str, dict], dict[str, tuple], dict[str, str]]:
    """Each scan's ``made_from`` and file stamps, and the errors of unreadable scans, by name."""
    made, stamps, failed = {}, {}, {}
    quiet = None if comm.is_main_process() else True
    share = share_of_this_process(sources)
    for source in tqdm(share, desc="hashing inputs", unit="scan", disable=quiet, leave=False):
        try:
            files = _files_of(source, options)
            stamps[source.name] = stamps_of(files)
            made[source.name] = made_from(
                files, predictor.models, _result_options(options, predictor), source.lost
            )
        except UserError as error:
            failed[source.name] = str(error)
            print(printable(f"{source.name}: {error}"), file=sys.stderr)
    made, stamps, failed = (
        dict(ChainMap(*comm.all_gather(part))) for part in (made, stamps, failed)
    )
    return {s.name: made[s.name] for s in sources if s.name in made}, stamps, failed


def _files_of(source: ScanSource, options: RunOptions) -> list[Path]:
    """The files that the results of a scan depend on."""
    return [*source.files, *options.lungs.files(source.name)]


def _result_options(options: RunOptions, predictor: LesionPredictor) -> dict[str, Any]:
    return {
        **options.reading,
        "score_thresh": predictor.score_thresh,
        "top_slices": predictor.top_slices,
        "save_score_maps": options.save_score_maps,
        **options.lungs.record(),
    }


def _finished(output: Path, made: dict[str, dict], overwrite: bool) -> list[str]:
    """Names of the scans that are finished and up to date.

    Raises:
        UserError: folders of these scans hold something else, which must not be replaced.
    """
    finished, others = [], []
    for name, wanted in made.items():
        folder = output / name
        found = read_manifest(folder)
        if found is not None and found["made_from"] == wanted and not overwrite:
            try:
                read_summary(folder)
                finished.append(name)
            except UserError as error:
                others.append(f"{name} (damaged: {error})")
        elif folder.exists() and (found is None or not overwrite):
            others.append(f"{name} ({_difference(found, wanted)})")
    if others:
        raise UserError(
            f"{output} already contains {', '.join(others)}. Choose another --output, or replace "
            "earlier predictions with --overwrite."
        )
    return finished


def _difference(found: dict | None, wanted: dict) -> str:
    """How a manifest differs from the wanted ``made_from``, in words."""
    if found is None:  # --overwrite does not replace it either
        return "not a prediction: move this folder away"
    words = {
        "input_sha256": "another input",
        "lost": "other unreadable files beside it",
        "models": "other models",
        "options": "other options",
        "ct_lesion": "another version of ct_lesion",
    }
    earlier = found["made_from"]
    return ", ".join(w for key, w in words.items() if earlier.get(key) != wanted.get(key))


def _predict_scan(
    source: ScanSource,
    predictor: LesionPredictor,
    output: Path,
    origin: tuple[dict[str, Any], tuple],
    options: RunOptions,
    title: str,
) -> None:
    began = time.perf_counter()
    scan = with_window_remarks(source.open(), predictor.models)
    for line in (*(f"warning: {f.message}" for f in scan.qc), *scan.notes):
        tqdm.write(printable(f"{title}: {line}"))
    row = comm.get_rank()  # of the terminal: each process has its own progress bar
    lung_bar = partial(
        tqdm, desc=f"{title}: lungs", unit="slice", disable=None, position=row, leave=False
    )
    lungs = LungResults(scan, options.lungs.of(scan, lung_bar), options.lungs)
    bar = tqdm(total=scan.shape[0], desc=title, unit="slice", disable=None, position=row)
    with atomic_folder(output / source.name) as folder, bar:
        score_map = partial(predictor.score_map, scan) if options.save_score_maps else None
        writer = ScanWriter(folder, scan, predictor, lungs=lungs, score_map=score_map)
        for prediction, grey in predictor.predict_slices(scan):
            writer.add(prediction, grey)
            bar.update()
        summary = writer.finish()
        notes = summary["notes"]
        for line in notes[len(scan.notes) :]:
            tqdm.write(printable(f"{title}: {line}"))
        made, stamps = origin
        check_unchanged(_files_of(source, options), stamps, made["input_sha256"])
        seconds = time.perf_counter() - began
        record = manifest(made, source.files, predictor.models, options.arguments, seconds)
        record["qc"] = [{"code": f.code, "message": f.message} for f in scan.qc]
        record["notes"] = notes
        record["pictures"] = summary["pictures"]
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_new(folder / MANIFEST_FILE, text)


@contextmanager
def _page_of_finished(output: Path, predictor: LesionPredictor) -> Iterator[Callable[[], None]]:
    """Yield a function that updates the page, to be called after each scan.

    The page lists all scans, so writing it takes longer with each. Updates take at most
    :data:`PAGE_SHARE` of the time; an interrupted run still writes the page before it ends.
    """
    due, is_behind = 0.0, False

    def update() -> None:
        nonlocal due, is_behind
        began = time.monotonic()
        is_behind = began < due
        if comm.is_main_process() and not is_behind:
            _write_page(output, predictor)
            now = time.monotonic()
            due = now + (now - began) / PAGE_SHARE

    try:
        yield update
    except BaseException:  # also Ctrl-C
        if is_behind and comm.is_main_process():
            _write_page(output, predictor)
        raise


def _write_page(output: Path, predictor: LesionPredictor) -> tuple[Path, list[str], set[str]]:
    """Write the page of all finished scans in the output folder, including those of earlier runs.

    Returns:
        The page's path, why other folders are not on it, and the names of the incomplete scans.
    """
    summaries, left_out = finished_scans(output)
    facts = describe_models(predictor.models, predictor.score_thresh)
    if left_out:
        facts["Left out"] = " ".join(left_out)
    generated = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    page = write_index(output, summaries, model=facts, generated=generated)
    return page, left_out, {s["scan"] for s in summaries if s.get("incomplete")}
