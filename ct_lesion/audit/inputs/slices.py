"""What is audited: slices of inputs, and groups of inputs that must have nothing in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..findings import Finding, NotChecked

LESION_SOURCE = "CNCB lesion archive"
CLASS_SOURCE = "CNCB classes (COVIDx-CT)"


@dataclass(frozen=True)
class AuditSlice:
    """A slice as an input names it.

    Attributes:
        key: the same for the same slice of a source, e.g. ``12/34`` or ``NCP_96_1328_0032``.
        image: its file; ``None`` where the slice is only listed.
        pixels: reads an 8-bit image, ``(H, W)`` uint8, of a slice that is no picture file.
        patient: within the source; ``None`` where nobody says.
        scan: within the patient.
        label: name of its class, if it has one.
        origin: hospital or scanner that the input names; the input itself otherwise.
        size: width and height in pixels as recorded beside the image.
        labels: reads and checks its label mask, ``(H, W)`` uint8 of CNCB's values.
        body_box: x0, y0, x1, y1 in pixels.
    """

    key: str
    image: Path | None = None
    pixels: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    patient: str | None = None
    scan: str | None = None
    label: str | None = None
    origin: str = ""
    size: tuple[int, int] | None = None
    labels: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    body_box: tuple[int, int, int, int] | None = None

    @property
    def has_image(self) -> bool:
        """Whether there is anything to look at."""
        return self.image is not None or self.pixels is not None


@dataclass
class AuditInput:
    """One thing the user named.

    Attributes:
        group: what must have nothing in common with other groups.
        name: for messages; different from that of every other input.
        kind: in words, e.g. "COCO json".
        source: inputs of one source number patients alike.
        slices: all of them.
        coco: content of a COCO json.
        findings: made while reading.
        not_checked: what reading already told could not be checked.
    """

    group: str
    name: str
    kind: str
    source: str
    slices: list[AuditSlice] = field(default_factory=list)
    coco: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)


def groups_of(inputs: Iterable[AuditInput]) -> dict[str, list[AuditInput]]:
    """The inputs of each group, in their order."""
    groups: dict[str, list[AuditInput]] = {}
    for one in inputs:
        groups.setdefault(one.group, []).append(one)
    return groups


def all_slices(inputs: Iterable[AuditInput]) -> Iterator[tuple[AuditInput, AuditSlice]]:
    """Every slice with the input it is of."""
    for one in inputs:
        for ct_slice in one.slices:
            yield one, ct_slice


def person(one: AuditInput, ct_slice: AuditSlice) -> tuple[str, str] | None:
    """Who a slice is of, also across sources; ``None`` where nobody says."""
    return None if ct_slice.patient is None else (one.source, ct_slice.patient)
