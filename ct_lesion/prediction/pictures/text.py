"""Text in pictures."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of a size in pixels."""
    # matplotlib, a dependency anyway, ships a font that is the same on all machines
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def wrapped(text: str, width: float, of: ImageFont.FreeTypeFont) -> list[str]:
    """The text in lines that fit, broken at any letter because file names have no spaces."""
    lines = [""]
    for letter in text:
        if of.getlength(lines[-1] + letter) > width:
            lines.append("")
        lines[-1] += letter
    return lines


def shortened(text: str, width: float, of: ImageFont.FreeTypeFont) -> str:
    """The text in one line that fits, with an ellipsis if it is cut."""
    lines = wrapped(text, width, of)
    if len(lines) == 1:
        return text
    return wrapped(text, width - of.getlength("…"), of)[0].rstrip() + "…"
