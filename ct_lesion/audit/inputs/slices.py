"""The data structures of the audit: slices, inputs and groups of inputs."""

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
    """A slice as its input describes it; ``None`` where the input has no information.

    Attributes:
        key: identifies the slice within its source, e.g. ``12/34`` or ``NCP_96_1328_0032``.
        image: picture file; ``None`` if the slice is only listed or part of a volume.
        pixels: for slices of volumes and DICOM series: returns the image, ``(H, W)`` uint8, or
            raises a DatasetError.
        patient: patient id within the source.
        scan: scan id within the patient.
        label: class name.
        origin: hospital or scanner; empty if unknown.
        size: recorded width and height in pixels.
        labels: returns the label mask, ``(H, W)`` uint8, 0..3 as in CNCB's archive, or raises a
            DatasetError.
        body_box: x0, y0, x1, y1 of the body in pixels.
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
        """Whether the slice has pixels to read, from a picture file or a volume."""
        return self.image is not None or self.pixels is not None


@dataclass
class AuditInput:
    """One input of the command line.

    Attributes:
        group: name of its group; two groups must have nothing in common.
        name: name for messages, unique among the inputs.
        kind: type of input in words, e.g. "COCO json".
        source: where the patient ids come from; inputs of the same source share them.
        slices: all slices.
        coco: content of a COCO json; ``None`` for other inputs.
        findings: problems found while reading.
        not_checked: checks that this input does not allow.
    """

    group: str
    name: str
    kind: str
    source: str
    slices: list[AuditSlice] = field(default_factory=list)
    coco: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """The row of the inputs table: names and counts as plain values."""
        named = [s for s in self.slices if s.patient is not None]
        return {
            "group": self.group,
            "input": self.name,
            "kind": self.kind,
            "source": self.source,
            "slices": len(self.slices),
            "images": sum(s.has_image for s in self.slices),
            "patients": len({s.patient for s in named}) if named else None,
            "scans": len({(s.patient, s.scan) for s in named}) if named else None,
        }


def groups_of(inputs: Iterable[AuditInput]) -> dict[str, list[AuditInput]]:
    """Collect the inputs of each group, in the order of the inputs."""
    groups: dict[str, list[AuditInput]] = {}
    for dataset in inputs:
        groups.setdefault(dataset.group, []).append(dataset)
    return groups


def all_slices(inputs: Iterable[AuditInput]) -> Iterator[tuple[AuditInput, AuditSlice]]:
    """Iterate over all slices, each with its input."""
    return ((dataset, ct_slice) for dataset in inputs for ct_slice in dataset.slices)


def person(dataset: AuditInput, ct_slice: AuditSlice) -> tuple[str, str] | None:
    """Identify a slice's patient by source and id; ``None`` if the patient is unknown."""
    return None if ct_slice.patient is None else (dataset.source, ct_slice.patient)
