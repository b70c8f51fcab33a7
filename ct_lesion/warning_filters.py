"""Silences known warnings of Detectron2 and torch that users cannot act on, each by its text.

All other warnings stay.
"""

import logging
import re
import warnings

_LOGGED = {
    # Detectron2's poolers ask torch whether a model is being traced
    "torch.fx._symbolic_trace": "is_fx_tracing will return true for both fx.symbolic_trace and",
    # a CUDA toolkit without a GPU
    "torch.utils.cpp_extension": "No CUDA runtime is found, using CUDA_HOME",
}
"""Logger and beginning of the message."""
_WARNED = {
    # Detectron2's anchors
    "torch.meshgrid: in an upcoming release, it will be required": r"torch\.functional",
    # Detectron2's and fvcore's transforms, which only read the array
    "The given NumPy array is not writable, and PyTorch": r"(detectron2|fvcore)\.",
}
"""Beginning of a UserWarning and pattern of the module that raises it."""


def silence_library_warnings() -> None:
    """Ignore the warnings of :data:`_LOGGED` and :data:`_WARNED` in this process."""
    for name, message in _LOGGED.items():
        logging.getLogger(name).addFilter(_Without(message))
    for message, module in _WARNED.items():
        warnings.filterwarnings("ignore", re.escape(message), UserWarning, module)


class _Without(logging.Filter):
    """Drops the records whose message begins with a text."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self._beginning)
