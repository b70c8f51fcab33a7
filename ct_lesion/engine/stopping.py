"""How a run ends that cannot go on."""

import logging
from collections.abc import Iterator
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
