"""Lung masks that a user has, for lesion as a share of lung."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError
from ct_lesion.scans.geometry import Geometry
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.volume_files import VolumeFile, is_volume_file

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


@dataclass(frozen=True)
class LungMasks:
    """A mask volume for the only scan, or a folder with one named like each scan.

    Attributes:
        path: file or folder.
        scans: names of all scans of the command.
    """

    path: Path
    scans: tuple[str, ...]

    def __post_init__(self) -> None:
        """
        Raises:
            DatasetError: nothing there, or one file for several scans.
        """
        if not self.path.exists():
            raise DatasetError(f"--lung-mask {self.path}: no such file or folder.")
        if self.path.is_file() and len(self.scans) != 1:
            raise DatasetError(
                f"--lung-mask {self.path}: is one file, but there are {len(self.scans)} scans. "
                "Give a folder with a mask volume named like each scan."
            )

    def of(self, scan_name: str) -> Path:
        """File of a scan's mask.

        Raises:
            DatasetError: the folder has none.
        """
        if self.path.is_file():
            if not is_volume_file(self.path):
                raise DatasetError(f"--lung-mask {self.path}: not NIfTI, NRRD or MetaImage.")
            return self.path
        for suffix in SUFFIXES:
            if (found := self.path / f"{scan_name}{suffix}").is_file():
                return found
        raise DatasetError(f"{self.path}: holds no lung mask {scan_name}.nii.gz (or .nrrd, .mha).")

    def read(self, scan: Scan) -> np.ndarray:
        """(S, H, W) bool in the scan's orientation.

        Raises:
            DatasetError: the mask has another geometry than the scan, or cannot be read.
        """
        path = self.of(scan.name)
        volume = VolumeFile(path)
        grid = volume.geometry
        if not _same_grid(grid, scan.geometry):
            raise DatasetError(
                f"{path}: is no mask of {scan.name}: it has {grid.size} voxels of "
                f"{_mm(grid.spacing)} mm at {_mm(grid.origin)}, the scan has "
                f"{scan.geometry.size} of {_mm(scan.geometry.spacing)} at "
                f"{_mm(scan.geometry.origin)}."
            )
        return scan.geometry.to_internal(np.concatenate(list(volume.slabs()))) > 0


def _same_grid(mask: Geometry, scan: Geometry) -> bool:
    """Whether a volume has the scan's grid, within a hundredth of a mm."""
    pairs = (
        (mask.spacing, scan.spacing),
        (mask.origin, scan.origin),
        (mask.direction, scan.direction),
    )
    return tuple(mask.size) == tuple(scan.size) and all(
        np.allclose(a, b, atol=0.01) for a, b in pairs
    )


def _mm(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
