"""Writes synthetic patients as scans in DICOM or NIfTI, with lesion masks.

- ``scans/<class>_<number>/`` with one DICOM file a slice, or ``scans/<class>_<number>.nii.gz``
- ``masks/<class>_<number>.nii.gz``: 0 background, 1 lung, 2 GGO, 3 consolidation
- ``pairs.csv``: patient, image, mask and class; input of ``tools/prepare_volumes.py --pairs``
- ``phantom.json``: the generator's arguments, and the list of scans

HU and geometry of a patient are the same in both formats.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import UserError
from ct_lesion.files import write_new
from ct_lesion.scans.geometry import Geometry
from ct_lesion.scans.volume_writing import write_volume

from .dicom import write_series
from .patient import DISEASES, VERSION, make_patient
from .slice_sets import SIZES, complete_folder, patient_seed, write_manifest

FORMATS = ("dicom", "nifti")
LOWEST_HU = -1024
FIRST_VOLUME_PATIENT = 5000
"""First patient number; the slice data sets use smaller ones."""
_VOLUMES = 2  # stream of patient seeds, see patient_seed()


@dataclass(frozen=True)
class VolumeSpec:
    """Number, size and format of the scans; patient k is the same for any number and format."""

    format: str
    size: int = 256
    seed: int = 0
    patients_per_class: int = 2
    slices_per_scan: int = 40

    def check(self) -> None:
        """
        Raises:
            UserError: a field is out of range; the message names it.
        """
        if self.format not in FORMATS:
            raise UserError(f"format must be one of {', '.join(FORMATS)}, not {self.format}")
        if self.size not in SIZES:
            raise UserError(f"size must be 256 or 512, not {self.size}")
        if self.seed < 0:
            raise UserError(f"seed must be at least 0, not {self.seed}")
        if self.patients_per_class < 1:
            raise UserError(f"patients_per_class must be at least 1, not {self.patients_per_class}")
        if not 2 <= self.slices_per_scan <= 400:
            raise UserError(f"slices_per_scan must be 2 to 400, not {self.slices_per_scan}")

    @property
    def patients(self) -> int:
        """Number of all patients."""
        return len(DISEASES) * self.patients_per_class


@dataclass(frozen=True)
class PhantomVolume:
    """A scan; slices run from the feet to the head, rows to the back, columns to the left."""

    name: str
    patient_id: str
    disease: str
    hu: np.ndarray  # (S, H, W) int16
    labels: np.ndarray  # (S, H, W) uint8
    geometry: Geometry


def make_volume(spec: VolumeSpec, disease: str, k: int) -> PhantomVolume:
    """Make the scan of patient k, counted from 0, of a class."""
    number = FIRST_VOLUME_PATIENT + len(DISEASES) * k + DISEASES.index(disease)
    patient = make_patient(
        patient_seed(spec.seed, _VOLUMES, disease, k),
        disease,
        spec.size,
        spec.slices_per_scan,
        patient_id=str(number),
    )
    # rounded, so that DICOM's text and NIfTI's floats represent the same numbers
    spacing = tuple(round(mm, 3) for mm in reversed(patient.spacing_mm))
    middle = tuple(round(-(n - 1) / 2 * mm, 3) for n, mm in zip(
        (spec.size, spec.size, spec.slices_per_scan), spacing, strict=True
    ))  # fmt: skip
    return PhantomVolume(
        name=f"{disease}_{number}",
        patient_id=patient.patient_id,
        disease=disease,
        # reversed: the slices of a PhantomPatient run from head to feet
        hu=np.rint(np.maximum(patient.hu[::-1], LOWEST_HU)).astype(np.int16),
        labels=np.ascontiguousarray(patient.labels[::-1]),
        geometry=Geometry(patient.hu.shape[::-1], spacing, middle, (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    )


def write_phantom_volumes(
    output: str | Path,
    spec: VolumeSpec,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict:
    """Make and write all scans; the output folder appears only when it is complete.

    Args:
        output, overwrite, progress: as for :func:`~ct_lesion.phantom.slice_sets.write_phantom`.
        spec: number and size of the scans.

    Returns:
        The content of ``phantom.json``.

    Raises:
        UserError: a field of ``spec`` is out of range, or ``output`` is not empty and must not be
            replaced.
        OSError: a file cannot be written.
    """
    spec.check()
    with complete_folder(Path(output), overwrite) as folder:
        (folder / "masks").mkdir()
        (folder / "scans").mkdir()
        rows = []
        for k in range(spec.patients_per_class):
            for disease in DISEASES:
                volume = make_volume(spec, disease, k)
                rows.append(_write_scan(folder, volume, spec))
                if progress:
                    progress(volume.name)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_new(folder / "pairs.csv", text.getvalue())
        return write_manifest(folder, asdict(spec), {"scans": rows})


def _write_scan(folder: Path, volume: PhantomVolume, spec: VolumeSpec) -> dict[str, str]:
    """Write a scan and its mask; return the row for ``pairs.csv``."""
    image = f"scans/{volume.name}"
    if spec.format == "dicom":
        write_series(
            folder / image,
            volume.hu,
            volume.geometry,
            patient_id=volume.patient_id,
            # everything that changes the pixels must change the UIDs
            key=f"{VERSION} {spec.seed} {spec.size} {spec.slices_per_scan} {volume.name}",
        )
    else:
        image += ".nii.gz"
        write_volume(folder / image, volume.geometry.image(volume.hu))
    mask = f"masks/{volume.name}.nii.gz"
    write_volume(folder / mask, volume.geometry.image(volume.labels))
    return {
        "patient": volume.patient_id,
        "image": image,
        "mask": mask,
        "class": volume.disease,
    }
