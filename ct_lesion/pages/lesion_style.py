"""How lesions of each class are drawn, on the page and on overlays alike."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LineStyle:
    """A line that is told from the others by its colour and, without colour, by its dashes.

    Attributes:
        colour: ``#rrggbb``, of Okabe and Ito's palette: bright enough on a CT slice.
        dashes: lengths of dash and gap in pixels of the screen, in turn; empty is a solid line.
    """

    colour: str
    dashes: tuple[int, ...]


LINE_STYLES = (
    LineStyle("#56B4E9", ()),
    LineStyle("#F0E442", (7, 4)),
    LineStyle("#E69F00", (2, 3)),
    LineStyle("#CC79A7", (9, 3, 2, 3)),
)


def style_of(class_name: str, class_names: Sequence[str]) -> LineStyle:
    """The style of a lesion class by its place among all of the model's; they repeat after four.

    A name that is not among them gets the first style.
    """
    place = list(class_names).index(class_name) if class_name in class_names else 0
    return LINE_STYLES[place % len(LINE_STYLES)]
