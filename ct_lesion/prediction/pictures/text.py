"""Text in pictures."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels."""
    # matplotlib's own copy, which is the same on all machines
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def wrapped(text: str, width: float, of: ImageFont.FreeTypeFont) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, at any letter: paths have no spaces."""
    lines = [""]
    for letter in text:
        if of.getlength(lines[-1] + letter) > width:
            lines.append("")
        lines[-1] += letter
    return lines


def shortened(text: str, width: float, of: ImageFont.FreeTypeFont) -> str:
    """Cut a text to one line of at most ``width`` pixels, with an ellipsis."""
    lines = wrapped(text, width, of)
    if len(lines) == 1:
        return text
    return wrapped(text, width - of.getlength("…"), of)[0].rstrip() + "…"
