"""Image files one by one: damaged, of the wrong kind, or of another size than recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from tqdm import tqdm

from ct_lesion.errors import DatasetError
from ct_lesion.scans.quality import sample_indices

from ..findings import Finding, Severity, count
from ..inputs.slices import AuditInput, AuditSlice, all_slices, groups_of
from .facts import ImageFacts, read_all_image_facts

MOST_SLICES_A_SCAN = 60
"""Slices of a volume or DICOM series that are looked at, spread evenly."""

_PROBLEMS = {
    "truncated": ("truncated_image", "cut off", "Copy it again from where it came from."),
    "corrupt": ("corrupt_image", "damaged", "Copy it again from where it came from."),
    "wrong mode": (
        "wrong_mode",
        "of more than 8 bits, or in colour",
        "Window it to 8-bit grey first: deeper values are cut off without a word.",
    ),
    "constant": ("constant_image", "of one grey value", "Leave it out: there is nothing on it."),
}
_OTHER = ("unreadable_image", "that cannot be read as an image", "Replace or remove it.")


@dataclass(frozen=True)
class SeenSlice:
    """A slice and what its image file said.

    Attributes:
        picture: its file; a temporary one for slices of volumes and DICOM series.
    """

    of: AuditInput
    slice: AuditSlice
    picture: Path
    facts: ImageFacts


@contextmanager
def see_images(
    inputs: Sequence[AuditInput], report: Callable[[Finding], None]
) -> Iterator[list[SeenSlice]]:
    """Read the facts of all images there are, with progress.

    Args:
        report: gets a finding for what of a volume or DICOM series cannot be read.

    Yields:
        Slices whose image is there; their files are there while the block runs.
    """
    with TemporaryDirectory(prefix="ct_lesion-audit-") as folder:
        pictures = [
            (one, s, s.image) for one, s in all_slices(inputs) if s.image is not None
        ] + list(_write_pictures(inputs, Path(folder), report))
        # a link of the copy search then leads from an earlier group to a later one
        order = list(groups_of(inputs))
        pictures.sort(key=lambda picture: order.index(picture[0].group))
        facts = read_all_image_facts([path for *_, path in pictures])
        yield [
            SeenSlice(one, s, path, known)
            for (one, s, path), known in zip(pictures, facts, strict=True)
        ]


def _write_pictures(
    inputs: Sequence[AuditInput], folder: Path, report: Callable[[Finding], None]
) -> Iterator[tuple[AuditInput, AuditSlice, Path]]:
    """PNG files of slices that are no picture files, a few of each scan."""
    scans: dict[tuple[str, str | None], list[tuple[AuditInput, AuditSlice]]] = defaultdict(list)
    for one, s in all_slices(inputs):
        if s.pixels is not None:
            scans[one.name, s.scan].append((one, s))
    chosen = [
        slices[index]
        for slices in scans.values()
        for index in sample_indices(len(slices), MOST_SLICES_A_SCAN)
    ]
    for number, (one, s) in enumerate(tqdm(chosen, desc="slices of scans", disable=None)):
        path = folder / f"{number}.png"
        try:
            cv2.imwrite(str(path), s.pixels())
        except DatasetError as error:
            advice = "Repair or remove it."
            report(Finding(Severity.ERROR, "scan_cannot_be_read", str(error), [s.key], advice))
            continue
        yield one, s, path


def find_image_problems(seen: Sequence[SeenSlice]) -> Iterator[Finding]:
    """Files that are damaged, of the wrong kind, or of another size than recorded."""
    faults: dict[tuple[str, str], list[str]] = defaultdict(list)
    sizes: dict[str, list[str]] = defaultdict(list)
    totals: dict[str, int] = defaultdict(int)
    for one in seen:
        facts, name = one.facts, one.of.name
        place = one.slice.key if one.slice.image is None else str(one.slice.image)
        totals[name] += 1
        if facts.problem:
            faults[name, facts.problem_kind or ""].append(f"{place}: {facts.problem}")
        size = (facts.width, facts.height)
        if None not in size and one.slice.size and size != one.slice.size:
            recorded = f"{one.slice.size[0]} x {one.slice.size[1]}"
            sizes[name].append(f"{place}: {size[0]} x {size[1]}, recorded {recorded}")
    for (name, kind), places in faults.items():
        code, what, advice = _PROBLEMS.get(kind, _OTHER)
        yield Finding(
            Severity.WARNING if kind == "constant" else Severity.ERROR,
            code,
            f"{name}: {count(len(places), 'image')} of {totals[name]:,} {what}.",
            places,
            advice,
        )
    for name, places in sizes.items():
        yield Finding(
            Severity.ERROR,
            "size_not_as_recorded",
            f"{name}: {count(len(places), 'image')} of {totals[name]:,} of another size than "
            "recorded.",
            places,
            "Masks and boxes would lie elsewhere: prepare the dataset again.",
        )
