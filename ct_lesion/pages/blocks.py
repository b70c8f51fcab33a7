"""The building blocks of a page's sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from .tables import Table


@dataclass(frozen=True)
class Picture:
    """A figure with its caption.

    Attributes:
        name: stem of its files and its id on the page.
        figure: the figure to draw.
        caption: sentences below the figure; also its alternative text.
        numbers: what the figure shows, for the JSON file: plain values and NumPy arrays, nested.
    """

    name: str
    figure: Figure
    caption: str
    numbers: Mapping | Sequence | None = None


@dataclass(frozen=True)
class Caution:
    """A warning that a reader must not miss."""

    text: str


Block = str | Caution | Table | Picture  # a string is a paragraph


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        name: its id on the page.
        title: its heading.
        blocks: paragraphs, cautions, tables and pictures, in order.
    """

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)

    def of(self, kind: type) -> list:
        """The blocks of one kind, in order."""
        return [block for block in self.blocks if isinstance(block, kind)]
