"""How a run ends that cannot go on."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ct_lesion.errors import UserError, is_storage_error

_DETECTRON2_LOOP = "detectron2.engine.train_loop"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Detectron2 logs the traceback of what ends a training; of a user's mistake, one line."""
    log = logging.getLogger(_DETECTRON2_LOOP)
    log.addFilter(_one_line)
    try:
        yield
    finally:
        log.removeFilter(_one_line)


def _one_line(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FloatingPointError):  # becomes a TrainingDivergedError
        return False
    if isinstance(error, UserError) or is_storage_error(error):
        record.msg, record.args = f"Training stopped: {error}", ()
        record.exc_info = record.exc_text = None
    return True


def outlive_a_full_disk() -> None:
    """Let log files that cannot be written go without a traceback for each line.

    What the run then cannot write says so itself.
    """
    for name in ("detectron2", "fvcore", "ct_lesion"):
        for handler in logging.getLogger(name).handlers:
            handler.handleError = _unless_disk_is_full(handler)


def _unless_disk_is_full(handler: logging.Handler) -> Callable[[logging.LogRecord], None]:
    report = handler.handleError

    def handle(record: logging.LogRecord) -> None:
        if not is_storage_error(sys.exc_info()[1]):
            report(record)

    return handle
