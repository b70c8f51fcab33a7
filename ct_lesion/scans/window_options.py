"""Command-line options for the window that makes, or made, 8-bit slices from HU."""

import argparse
import math

from ct_lesion.errors import DatasetError

from .windows import WINDOWS, Window

RANGE = "range"


def add_window_options(add: argparse._ActionsContainer, purpose: str) -> None:
    """Add ``--window``, ``--window-level``, ``--window-width``, ``--window-clahe`` and
    ``--window-side``.

    Args:
        add: a parser or a group of its options.
        purpose: beginning of the help of ``--window``: what it is for, and its default.
    """
    text = f"{purpose}; range: the minimum to the maximum of each slice"
    add.add_argument("--window", choices=[*WINDOWS, RANGE], help=text)
    text = "centre of a custom window, instead of --window"
    add.add_argument("--window-level", type=float, metavar="HU", help=text)
    text = "full width of the custom window"
    add.add_argument("--window-width", type=float, metavar="HU", help=text)
    text = "clip limit of OpenCV's CLAHE (8 x 8 tiles), applied after the window (default: none)"
    add.add_argument("--window-clahe", type=float, metavar="LIMIT", help=text)
    text = "shorter side to which larger slices are finally shrunk (default: not shrunk)"
    add.add_argument("--window-side", type=int, metavar="PX", help=text)


def hu_offset(text: str) -> float:
    """Parse the value of ``--hu``, the stored value of 0 HU.

    Raises:
        argparse.ArgumentTypeError: not a finite number, e.g. an input that follows a bare ``--hu``.
    """
    try:
        offset = float(text)
    except ValueError:
        offset = math.nan
    if not math.isfinite(offset):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a finite number. Put INPUT before --hu, or give an offset: --hu 0"
        )
    return offset


def window_from_options(args: argparse.Namespace) -> Window | None:
    """The window that the options describe.

    Returns:
        None if no option was given.

    Raises:
        DatasetError: the options contradict each other or are incomplete.
    """
    name, level, width = args.window, args.window_level, args.window_width
    extra = {"clahe": args.window_clahe or 0.0, "side": args.window_side or 0}
    if name is None and level is None and width is None:
        if any(extra.values()):
            raise DatasetError(
                "--window-clahe and --window-side: give a window with them, e.g. --window lung."
            )
        return None
    if name is not None and (level is not None or width is not None):
        raise DatasetError("--window: give a name, or --window-level and --window-width, not both.")
    if name is None and (level is None or width is None):
        raise DatasetError("--window-level and --window-width: only one is given, give both.")
    try:
        if name == RANGE:
            return Window(kind="range", **extra)
        if name is not None:
            level, width = WINDOWS[name].level, WINDOWS[name].width
        return Window(level, width, **extra)
    except ValueError as error:
        raise DatasetError(f"--window-...: {error}.") from None
