"""Masks of lungs or lobes given by the user."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError
from ct_lesion.scans.geometry import check_same_grid
from ct_lesion.scans.names import safe_name
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.volume_files import VolumeFile, is_volume_file, volume_stem

LOBES = 5


@dataclass(frozen=True)
class LungMasks:
    """The mask volume of a single scan, or a folder of mask volumes named like the scans.

    A mask is named like the scan's file or like the scan's output folder.

    Attributes:
        path: file or folder.
        scans: names of all scans of the run.
        option: the command-line option, for messages.
    """

    path: Path
    scans: tuple[str, ...]
    option: str = "--lungs"

    def __post_init__(self) -> None:
        """
        Raises:
            DatasetError: the path does not exist, or is a file although there are several scans.
        """
        if not self.path.exists():
            raise DatasetError(f"{self.option} {self.path} does not exist. Check the path.")
        if self.path.is_file() and len(self.scans) != 1:
            raise DatasetError(
                f"{self.option} {self.path} is one file, but there are {len(self.scans)} scans. "
                "Give a folder of mask volumes named like the scans."
            )

    def of(self, scan_name: str) -> Path:
        """The mask file of a scan.

        Raises:
            DatasetError: the folder has no mask with the scan's name, or the file is not a volume.
        """
        if self.path.is_file():
            if not is_volume_file(self.path):
                raise DatasetError(
                    f"{self.option} {self.path} is not NIfTI, NRRD or MetaImage. Convert it, e.g. "
                    "to NIfTI."
                )
            return self.path
        files = [path for path in sorted(self.path.iterdir()) if is_volume_file(path)]
        found = [f for f in files if scan_name in (volume_stem(f), safe_name(volume_stem(f)))]
        if len(found) != 1:
            names = ", ".join(path.name for path in found)
            raise DatasetError(
                f"{self.option} {self.path} has "
                f"{f'{len(found)} masks ({names})' if found else 'no mask'} of the scan "
                f"{scan_name}. Give one, {scan_name}.nii.gz (or .nii, .nrrd, .mha, .mhd)."
            )
        return found[0]

    def read(self, scan: Scan) -> np.ndarray:
        """Read a scan's lung mask, (S, H, W) bool in the scan's orientation.

        Raises:
            DatasetError: the mask cannot be read, or its geometry differs from the scan's.
        """
        return self._voxels(scan) > 0

    def read_lobes(self, scan: Scan) -> np.ndarray:
        """Read a scan's lobes, (S, H, W) uint8: 0 background, 1 to 5 by increasing label.

        Raises:
            DatasetError: see :meth:`read`; or the mask does not have exactly five positive labels.
        """
        voxels = self._voxels(scan)
        labels = np.unique(voxels)
        labels = labels[labels != 0]
        if len(labels) != LOBES or labels[0] < 0:
            raise DatasetError(
                f"{self.of(scan.name)} has {len(labels)} labels besides 0, the background. Give a "
                f"mask with {LOBES} positive labels, one for each lobe."
            )
        return (np.searchsorted(labels, voxels) + 1).astype(np.uint8) * (voxels != 0)

    def _voxels(self, scan: Scan) -> np.ndarray:
        path = self.of(scan.name)
        volume = VolumeFile(path)
        check_same_grid(path, volume.geometry, scan.geometry, scan.name)
        return volume.geometry.to_internal(np.concatenate(list(volume.slabs())))
