"""The key that chooses between the plain and the fast path."""

from detectron2.config import CfgNode

from ct_lesion.config import check_choice

FAST_PATHS = ("auto", "half", "off")


def fast_path(cfg: CfgNode) -> str:
    """``MODEL.FAST_PATH``.

    Raises:
        ConfigError: it is none of the choices.
    """
    choice = cfg.MODEL.FAST_PATH
    check_choice("MODEL.FAST_PATH", choice, FAST_PATHS)
    return choice
