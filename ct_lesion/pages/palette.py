"""Colours of figures, pages and overlays, which colour-blind readers can tell apart.

The palette is that of Okabe and Ito, https://jfly.uni-koeln.de/color/.
"""

from dataclasses import dataclass

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY_BLUE, YELLOW, BLACK = "#E69F00", "#56B4E9", "#F0E442", "#000000"
# lines on a white background, in this order; yellow would be too light
LINE_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)
CLASS_COLOURS = {"Control": BLUE, "Common Pneumonia": ORANGE, "COVID-19": VERMILION}
TRUTH, PREDICTION = "#ffd92f", "#56c8ff"  # outlines on a grey slice


# a scan's lesions on its slices, by lesion number; the colours repeat
LESION_COLOURS = (SKY_BLUE, YELLOW, ORANGE, PURPLE, "#3DDC97", "#FF7F50", "#B39DFF")
HIDDEN = "#B8C0C8"  # a detection whose pixels all belong to others of higher scores


@dataclass(frozen=True)
class LineStyle:
    """An outline, distinct from the others by colour and, in greyscale, by its dashes.

    Attributes:
        colour: ``#rrggbb``, bright enough on a CT slice.
        dashes: alternating lengths of dashes and gaps in screen pixels; empty for a solid line.
    """

    colour: str
    dashes: tuple[int, ...]


LINE_STYLES = (
    LineStyle(SKY_BLUE, ()),
    LineStyle(YELLOW, (7, 4)),
    LineStyle(ORANGE, (2, 3)),
    LineStyle(PURPLE, (9, 3, 2, 3)),
)


def style_of(class_index: int) -> LineStyle:
    """The outline of a lesion class; the styles repeat after four classes."""
    return LINE_STYLES[class_index % len(LINE_STYLES)]


def lesion_colour(number: int) -> str:
    """The colour of a lesion on all slices, by its number from 1; 0 stands for :data:`HIDDEN`."""
    return LESION_COLOURS[(number - 1) % len(LESION_COLOURS)] if number else HIDDEN
