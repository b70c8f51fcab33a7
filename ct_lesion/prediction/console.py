"""The terminal output of ``tools/predict.py``: the scans found, the result and the exit code."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from detectron2.utils import comm

from ct_lesion.engine.across_processes import from_main
from ct_lesion.errors import UserError, printable
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import ScanSource, find_scans

from .predictor import LesionPredictor
from .run import RunResult
from .scan_files import MASK_FILE, SUMMARY_FILE

# exit codes
INCOMPLETE_EXIT = 3  # all scans are done, but some lack slices
FAILED_EXIT = 10  # plus the number of failed scans, up to MAX_EXIT
MAX_EXIT = 100


def quiet_libraries() -> None:
    """Silence the deprecation warnings that torch and Detectron2 trigger and users cannot fix."""
    warnings.simplefilter("ignore")
    for name in ("detectron2", "fvcore"):
        logging.getLogger(name).setLevel(logging.ERROR)


def check_words(inputs: Sequence[str], opts: Sequence[str]) -> None:
    """Check the INPUTs, and that ``--opts`` did not take any of them as a key.

    Raises:
        UserError: there is no INPUT, ``--opts`` took one, or its words are not pairs.
    """
    taken = [word for word in opts[::2] if Path(word).exists()]
    if not inputs or taken or len(opts) % 2:
        raise UserError(
            f"{taken[0]} was read as a KEY of --opts. Put INPUT before --opts."
            if taken
            else "No INPUT. Name a scan or folder, before --opts, which takes all words after it."
            if not inputs
            else f"--opts {' '.join(opts)}: expected pairs of KEY and VALUE."
        )


def find_scans_to_predict(
    inputs: Sequence[str], reading: ReadOptions, output: Path
) -> list[ScanSource]:
    """Find the scans in the inputs, the same in all processes; the main process prints the count.

    Scans in the output folder, which are earlier predictions, are left out.

    Raises:
        UserError: an input cannot be used, or all scans are earlier predictions.
    """

    def find() -> list[ScanSource]:
        skipped: list[str] = []
        sources = find_scans(inputs, options=reading, notes=skipped)
        folder = output.resolve()
        sources = [
            s for s in sources if not all(f.resolve().is_relative_to(folder) for f in s.files)
        ]
        if not sources:
            raise UserError(
                f"{output}: all scans found are earlier predictions in this --output folder. Give "
                "other inputs or another --output."
            )
        print(f"{len(sources)} scan{'s' if len(sources) > 1 else ''} found")
        for note in skipped:
            print(printable(note))
        return sources

    return from_main(find)


def announce(predictor: LesionPredictor, output: Path) -> None:
    """Print the output folder and, if recorded, the models' origin; only in the main process."""
    if not comm.is_main_process():
        return
    for about in filter(None, (model.about for model in predictor.models)):
        print(f"Model:   {about.name}, trained on {about.trained_on}.")
        print(f"         Licence of the weights: {about.licence}. {DISCLAIMER}")
    print(f"Output:  {output}")


def report_result(result: RunResult, output: Path) -> int:
    """Print the counts, the failed scans and the paths of the results; return the exit code.

    Only the main process prints and returns a failure code: a failure code of another process would
    end the run.
    """
    if not comm.is_main_process():
        return 0
    total = len(result.done) + len(result.skipped) + len(result.failed)
    counts = [f"{len(result.done)} of {total} scans predicted"]
    if result.skipped:
        counts.append(f"{len(result.skipped)} already finished")
    if result.incomplete:
        counts.append(f"{len(result.incomplete)} incomplete")
    if result.failed:
        counts.append(f"{len(result.failed)} failed")
    print(f"\n{', '.join(counts)}. {DISCLAIMER}")
    for name, message in result.failed.items():
        print(printable(f"  failed: {name}: {message}"))
    if result.incomplete:
        names = ", ".join(result.incomplete)
        print(f"  incomplete, slices are missing (see qc in {SUMMARY_FILE}): {names}")
    for message in result.left_out:
        print(f"  not on the page: {message}")
    if result.done or result.skipped:
        print(printable(f"Page:    {result.page}"))
        print(f"Results: {printable(output)}/<scan>/{SUMMARY_FILE}, {MASK_FILE}, ...")
    if result.failed:
        return min(FAILED_EXIT + len(result.failed), MAX_EXIT)
    return INCOMPLETE_EXIT if result.incomplete else 0
