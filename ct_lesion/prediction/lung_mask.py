"""Lung masks that a user has, for lesion as a share of lung."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.data.errors import DatasetError
from ct_lesion.data.scan import Scan

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
        return scan.read_mask(self.of(scan.name)) > 0
