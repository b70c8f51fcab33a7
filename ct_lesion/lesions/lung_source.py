"""The source of the lungs: found in HU, masks of lungs, masks of lobes, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ct_lesion.errors import UserError
from ct_lesion.scans.scan import Scan

from .lung_files import LungMasks
from .lungs import Lungs, find_lungs, lungs_of_mask

AUTO, NONE = "auto", "none"
UNKNOWN_NOTE = "no shares of lung, because the lungs are unknown: {doubt}"


@dataclass(frozen=True)
class LungSource:
    """Where the lungs of a run's scans come from, as the user chose.

    Attributes:
        auto: find them in HU; see :func:`ct_lesion.lesions.lungs.find_lungs`.
        masks: masks of the lungs to use instead.
        lobes: masks of the five lobes to use instead.
        keep_outside: keep detections outside the lungs' hull.
    """

    auto: bool = True
    masks: LungMasks | None = None
    lobes: LungMasks | None = None
    keep_outside: bool = False

    @classmethod
    def of_options(
        cls, lungs: str, lobes: Path | None, keep_outside: bool, scans: Iterable[str]
    ) -> LungSource:
        """Create it from the command-line options ``--lungs``, ``--lobes`` and ``--keep-outside``.

        Args:
            lungs: ``auto``, ``none``, or the path of a mask or a folder of masks.
            lobes: path of a mask or a folder of masks.
            keep_outside: see the class.
            scans: names of all scans of the run.

        Raises:
            UserError: both a lung mask and lobes are given.
            DatasetError: see :class:`LungMasks`.
        """
        names, is_path = tuple(scans), lungs not in (AUTO, NONE)
        if lobes is not None and is_path:
            raise UserError("--lobes gives the lungs too. Leave out --lungs.")
        return cls(
            auto=lungs == AUTO and lobes is None,
            masks=LungMasks(Path(lungs), names) if is_path else None,
            lobes=None if lobes is None else LungMasks(lobes, names, "--lobes"),
            keep_outside=keep_outside,
        )

    @property
    def name(self) -> str:
        """``auto``, ``none``, ``mask`` or ``lobes``."""
        if self.lobes or self.masks:
            return "lobes" if self.lobes else "mask"
        return AUTO if self.auto else NONE

    def files(self, scan_name: str) -> list[Path]:
        """The mask files of a scan.

        Raises:
            DatasetError: see :meth:`LungMasks.of`.
        """
        return [masks.of(scan_name) for masks in (self.masks, self.lobes) if masks]

    def record(self) -> dict[str, Any]:
        """The options that change results, JSON-ready."""
        return {"lungs": self.name, "keep_outside": self.keep_outside}

    def of(self, scan: Scan, progress: Callable[[range], Iterable[int]] | None = None) -> Lungs:
        """The lungs of a scan; if they should be found and cannot, with a note.

        Args:
            scan: an opened scan.
            progress: wraps the slice indices while slices are read, e.g. in a progress bar.

        Raises:
            DatasetError: the scan or a mask cannot be read, or their geometries differ.
        """
        if self.lobes:
            lobes = self.lobes.read_lobes(scan)
            return replace(lungs_of_mask(lobes > 0, scan), lobes=lobes)
        if self.masks:
            return lungs_of_mask(self.masks.read(scan), scan)
        if not self.auto:
            return Lungs()
        lungs = find_lungs(scan, progress)
        if lungs.doubt is None:
            return lungs
        return replace(lungs, notes=(UNKNOWN_NOTE.format(doubt=lungs.doubt),))
