"""Lung masks given by the user, for lesion as a share of lung."""

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
    """The mask volume of a single scan, or a folder of mask volumes with the names of the scans.

    Attributes:
        path: file or folder.
        scans: names of all scans of the run.
    """

    path: Path
    scans: tuple[str, ...]

    def __post_init__(self) -> None:
        """
        Raises:
            DatasetError: the path does not exist, or it is a file and there are several scans.
        """
        if not self.path.exists():
            raise DatasetError(f"--lung-mask {self.path}: no such file or folder.")
        if self.path.is_file() and len(self.scans) != 1:
            raise DatasetError(
                f"--lung-mask {self.path}: is one file, but there are {len(self.scans)} scans. "
                "Give a folder of mask volumes with the names of the scans."
            )

    def of(self, scan_name: str) -> Path:
        """The mask file of a scan.

        Raises:
            DatasetError: the folder has no mask with the scan's name, or the file is not a volume.
        """
        if self.path.is_file():
            if not is_volume_file(self.path):
                raise DatasetError(f"--lung-mask {self.path}: not NIfTI, NRRD or MetaImage.")
            return self.path
        for suffix in SUFFIXES:
            if (found := self.path / f"{scan_name}{suffix}").is_file():
                return found
        raise DatasetError(
            f"{self.path}: has no lung mask {scan_name}.nii.gz (or .nii, .nrrd, .mha, .mhd)."
        )

    def read(self, scan: Scan) -> np.ndarray:
        """Read a scan's lung mask, (S, H, W) bool in the scan's orientation.

        Raises:
            DatasetError: the mask cannot be read, or its geometry differs from the scan's.
        """
        path = self.of(scan.name)
        volume = VolumeFile(path)
        grid = volume.geometry
        if not _same_grid(grid, scan.geometry):
            raise DatasetError(
                f"{path}: does not fit the scan {scan.name}: the mask has {grid.size} voxels of "
                f"{_mm(grid.spacing)} mm with origin {_mm(grid.origin)}, the scan has "
                f"{scan.geometry.size} of {_mm(scan.geometry.spacing)} mm with origin "
                f"{_mm(scan.geometry.origin)}. Resample the mask onto the scan's grid."
            )
        return scan.geometry.to_internal(np.concatenate(list(volume.slabs()))) > 0


def _same_grid(mask: Geometry, scan: Geometry) -> bool:
    """Whether two grids agree, within 0.01 mm."""
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
