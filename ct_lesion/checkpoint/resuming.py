"""Which checkpoint a run resumes from: the last one, or if it is damaged, the one before."""

import logging
import re
from pathlib import Path

from ct_lesion.errors import CheckpointError, reason

from .weight_files import read_checkpoint

LAST_CHECKPOINT = "last_checkpoint"
_PERIODIC = re.compile(r"model_(\d+)\.pth")
_FINAL = "model_final.pth"
logger = logging.getLogger(__name__)


def find_complete(folder: Path, run: str | None = None) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, or the newest complete one before it.

    Args:
        folder: of the run.
        run: name of the run, if it is known; what an earlier run left in the folder is passed over.

    Returns:
        None if there is no checkpoint of the run.

    Raises:
        CheckpointError: there are checkpoints of the run, but none that can be resumed from; or
            ``last_checkpoint`` does not name a file beside it.
    """
    named = read_tag(folder)
    last = folder / named
    problems = []
    for path in [*([last] if named else []), *_earlier(folder, named)]:
        try:
            writer = _run_of(path)
        except CheckpointError as error:
            problems.append(str(error))
            logger.warning("%s An earlier checkpoint is looked for.", error)
            continue
        if run and writer and writer != run:
            continue
        if path != last:
            logger.warning("Resuming from %s, the newest checkpoint that is complete.", path)
        return path
    if problems:
        raise CheckpointError(
            f"No checkpoint in {folder} can be resumed from; the last one: {problems[0]} Start "
            "anew without --resume, or from a file of weights in MODEL.WEIGHTS."
        )
    return None


def read_tag(folder: Path) -> str:
    """The name in ``last_checkpoint``; empty if there is no such file, or nothing in it.

    Raises:
        CheckpointError: it is not the name of a file in the folder.
    """
    path = folder / LAST_CHECKPOINT
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({reason(error)}).") from None
    if name and (Path(name).name != name or "\0" in name):
        raise CheckpointError(
            f"{path} should hold the name of a checkpoint in this folder, not {name[:80]!r}: "
            "write one into it, e.g. model_0000999.pth."
        )
    return name


def _earlier(folder: Path, named: str) -> list[Path]:
    """Checkpoints of the folder before the named one, the newest first."""
    limit = _PERIODIC.fullmatch(named)
    numbered = [(int(m[1]), p) for p in folder.glob("*.pth") if (m := _PERIODIC.fullmatch(p.name))]
    before = sorted((n, p) for n, p in numbered if limit is None or n < int(limit[1]))
    paths = [path for _, path in reversed(before)]
    if not named and (folder / _FINAL).is_file():
        paths.insert(0, folder / _FINAL)
    return paths


def _run_of(path: Path) -> str | None:
    """Name of the run that wrote a checkpoint, which is read whole to see that it is complete.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    state = read_checkpoint(path).rest.get("trainer")
    return state.get("run") if isinstance(state, dict) else None
