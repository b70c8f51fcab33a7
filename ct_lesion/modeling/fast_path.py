"""The key that chooses between the plain and the fast path."""

from detectron2.config import CfgNode

from ct_lesion.errors import ConfigError

from .fast_roi_align import numba_is_installed
from .roi_batch import check_choice

FAST_PATHS = ("auto", "on", "half", "off")


def fast_path(cfg: CfgNode) -> str:
    """``MODEL.FAST_PATH``.

    Raises:
        ConfigError: it is none of the choices, or "on" for a CPU without Numba.
    """
    choice = cfg.MODEL.FAST_PATH
    check_choice("MODEL.FAST_PATH", choice, FAST_PATHS)
    if choice == "on" and cfg.MODEL.DEVICE == "cpu" and not numba_is_installed():
        raise ConfigError(
            "MODEL.FAST_PATH is on, but Numba is not installed: pip install numba, or choose auto."
        )
    return choice
