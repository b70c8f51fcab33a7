"""Checks each image file: damaged, of the wrong type, or not of the recorded size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import write_picture
from ct_lesion.scans.quality import sample_indices

from ..findings import FaultKind, Finding, Severity, report_faults
from ..inputs.folders import unreadable_scan
from ..inputs.slices import AuditInput, AuditSlice, all_slices, groups_of
from .facts import ImageFacts, read_all_image_facts

MOST_SLICES_A_SCAN = 60
"""Slices that are checked of each volume or DICOM series, evenly spaced."""

_COPY_AGAIN = "Copy the files again from their source."
_KINDS = {
    "truncated_image": FaultKind(Severity.ERROR, "is truncated", _COPY_AGAIN),
    "corrupt_image": FaultKind(Severity.ERROR, "is damaged", _COPY_AGAIN),
    "wrong_mode": FaultKind(
        Severity.ERROR,
        "is not 8-bit grey",
        "Convert the images to 8-bit grey with a CT window; otherwise values are clipped silently.",
    ),
    "constant_image": FaultKind(
        Severity.WARNING,
        "has a single grey value",
        "Remove the images, or check how they were made.",
    ),
    "unreadable_image": FaultKind(
        Severity.ERROR, "is not readable as an image", "Replace or remove the files."
    ),
    "size_not_as_recorded": FaultKind(
        Severity.ERROR,
        "is not of the recorded size",
        "Prepare the dataset again; with another size, masks and boxes are misplaced.",
    ),
}
_CODES = {
    "truncated": "truncated_image",
    "corrupt": "corrupt_image",
    "wrong mode": "wrong_mode",
    "constant": "constant_image",
}


@dataclass(frozen=True)
class SliceImage:
    """A slice with the facts of its image file.

    Attributes:
        dataset: input of the slice.
        path: image file; a temporary one for slices of volumes and DICOM series.
    """

    dataset: AuditInput
    slice: AuditSlice
    path: Path
    facts: ImageFacts


@contextmanager
def read_images(
    inputs: Sequence[AuditInput], report: Callable[[Finding], None]
) -> Iterator[list[SliceImage]]:
    """Read the facts of all images, with a progress bar.

    Args:
        report: called with a finding for each unreadable slice of a volume or DICOM series.

    Yields:
        The slices with a readable image, ordered by group; temporary files exist inside the block.
    """
    with TemporaryDirectory(prefix="ct_lesion-audit-") as folder:
        pictures = [
            (dataset, s, s.image) for dataset, s in all_slices(inputs) if s.image is not None
        ]
        pictures += _write_pictures(inputs, Path(folder), report)
        # sorted by group, so that the copy search links earlier groups to later ones
        order = list(groups_of(inputs))
        pictures.sort(key=lambda picture: order.index(picture[0].group))
        all_facts = read_all_image_facts([path for *_, path in pictures])
        yield [
            SliceImage(*picture, facts) for picture, facts in zip(pictures, all_facts, strict=True)
        ]


def _write_pictures(
    inputs: Sequence[AuditInput], folder: Path, report: Callable[[Finding], None]
) -> Iterator[tuple[AuditInput, AuditSlice, Path]]:
    """Write a sample of the slices of each volume and DICOM series as PNG files, and yield them."""
    scans: dict[tuple[str, str | None], list[tuple[AuditInput, AuditSlice]]] = defaultdict(list)
    for dataset, s in all_slices(inputs):
        if s.pixels is not None:
            scans[dataset.name, s.scan].append((dataset, s))
    chosen = [
        slices[index]
        for slices in scans.values()
        for index in sample_indices(len(slices), MOST_SLICES_A_SCAN)
    ]
    for number, (dataset, s) in enumerate(tqdm(chosen, desc="slices of scans", disable=None)):
        path = folder / f"{number}.png"
        try:
            write_picture(path, s.pixels())
        except DatasetError as error:
            report(unreadable_scan(error, [s.key]))
            continue
        yield dataset, s, path


def find_image_problems(images: Sequence[SliceImage]) -> Iterator[Finding]:
    """Find images that are damaged, of the wrong kind, or not of the recorded size."""
    by_input: dict[str, list[SliceImage]] = defaultdict(list)
    for ct_slice in images:
        by_input[ct_slice.dataset.name].append(ct_slice)
    for name, slices in by_input.items():
        faults: dict[str, list[str]] = defaultdict(list)
        for ct_slice in slices:
            facts, recorded = ct_slice.facts, ct_slice.slice.size
            place = str(ct_slice.slice.image or ct_slice.slice.key)
            if facts.problem:
                code = _CODES.get(facts.problem_kind, "unreadable_image")
                faults[code].append(f"{place} {facts.problem}")
            if recorded and facts.width and (facts.width, facts.height) != recorded:
                sizes = f"{facts.width} x {facts.height}, recorded {recorded[0]} x {recorded[1]}"
                faults["size_not_as_recorded"].append(f"{place}: {sizes}")
        yield from report_faults(_KINDS, faults, name, "images", len(slices))
