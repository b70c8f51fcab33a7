"""Writes synthetic patients in the layouts of the real data sets.

- ``ct_lesion_seg/image/<patient>/<slice>.jpg`` and ``mask/<patient>/<slice>.png``: CNCB's lesion
  archive; slices of COVID-19 patients only, mask values 0..3.
- ``covidx/<NCP|CP|Normal>/<patient>/<scan>/<slice>.png`` with ``{train,val,test}_COVIDx_CT.txt``:
  CNCB's classification archive with lists in COVIDx-CT's format.
- ``window.json`` in both: the CT window of the slices.
- ``phantom.json``: the generator's arguments, and counts of what was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from ct_lesion.data.datasets.lesion_masks import CONSOLIDATION, GGO
from ct_lesion.errors import UserError
from ct_lesion.files import atomic_folder, write_new
from ct_lesion.folders import check_replaceable
from ct_lesion.pictures import write_picture
from ct_lesion.scans.windows import WINDOW_FILE, WINDOWS

from .patient import DISEASES, VERSION, PhantomPatient, make_patient

MANIFEST = "phantom.json"
SPLIT_CYCLE = ("train", "val", "test", "train", "train")
"""Patient k of each class is in split ``SPLIT_CYCLE[k % 5]``, for any number of patients."""
SIZES = (256, 512)
FIRST_SCAN_PATIENT = 1000
"""First patient number of the classification archive; the lesion archive uses smaller ones."""
WINDOW = WINDOWS["lung"]
_ARCHIVE, _SCANS = 0, 1  # streams of patient seeds, see patient_seed()


@dataclass(frozen=True)
class PhantomSpec:
    """Size of the data sets; patient k is the same for any number of patients."""

    size: int = 256
    seed: int = 0
    lesion_patients: int = 40
    slices_per_patient: int = 8
    patients_per_class: int = 30
    slices_per_scan: int = 5

    def check(self) -> None:
        """
        Raises:
            UserError: a field is out of range; the message names it.
        """
        if self.size not in SIZES:
            raise UserError(f"size must be 256 or 512, not {self.size}")
        for name in ("seed", "lesion_patients", "patients_per_class"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in ("slices_per_patient", "slices_per_scan"):
            if not 1 <= getattr(self, name) <= 400:
                raise UserError(f"{name} must be 1 to 400, not {getattr(self, name)}")
        if self.patients_per_class in (1, 2):
            raise UserError("patients_per_class must be 0 (no scans), or at least 3: one per split")
        if not self.lesion_patients and not self.patients_per_class:
            raise UserError("lesion_patients and patients_per_class are both 0; one must be more")

    @property
    def patients(self) -> int:
        """Number of all patients."""
        return self.lesion_patients + len(DISEASES) * self.patients_per_class


def write_phantom(
    output: str | Path,
    spec: PhantomSpec,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict:
    """Make and write all patients; the output folder appears only when it is complete.

    Args:
        output: folder to create; it may exist if it is empty.
        spec: size of the data sets.
        overwrite: replace an earlier phantom at ``output``; other folders are never replaced.
        progress: called with the name of each finished patient.

    Returns:
        The content of ``phantom.json``.

    Raises:
        UserError: a field of ``spec`` is out of range, or ``output`` is not empty and must not be
            replaced.
        OSError: a file cannot be written.
    """
    spec.check()
    output = Path(output)
    with complete_folder(output, overwrite) as folder:
        archive = {"patients": spec.lesion_patients, "slices": 0, "slices_with_lesion": 0}
        archive["lesions"] = 0
        for k in range(spec.lesion_patients):
            patient = make_patient(
                patient_seed(spec.seed, _ARCHIVE, "NCP", k),
                "NCP",
                spec.size,
                spec.slices_per_patient,
                patient_id=str(k),
            )
            write_lesion_patient(folder / "ct_lesion_seg", patient)
            counts = [count_lesions(label) for label in patient.labels]
            archive["slices"] += len(counts)
            archive["slices_with_lesion"] += sum(n > 0 for n in counts)
            archive["lesions"] += sum(counts)
            if progress:
                progress(f"lesion patient {k}")
        sets: dict = {"window": WINDOW.as_dict(), "ct_lesion_seg": archive}
        if spec.patients_per_class:
            sets["covidx"] = _write_scans(folder / "covidx", spec, progress)
        for name in ("ct_lesion_seg", "covidx"):
            if (folder / name).is_dir():
                text = json.dumps(WINDOW.as_dict()) + "\n"
                write_new(folder / name / WINDOW_FILE, text)
        return write_manifest(folder, asdict(spec), sets)


def write_manifest(folder: Path, arguments: dict, sets: dict) -> dict:
    """Write ``phantom.json``: the generator, its arguments and the data sets.

    Returns:
        The content of the file.
    """
    manifest = {
        "generator": "ct_lesion phantom",
        "version": VERSION,
        "arguments": arguments,
        **sets,
    }
    text = json.dumps(manifest, indent=2) + "\n"
    write_new(folder / MANIFEST, text)
    return manifest


def patient_seed(seed: int, stream: int, disease: str, k: int) -> int:
    """Derive the seed of patient k; unique for each stream (data set), disease and k."""
    entropy = [seed, stream, DISEASES.index(disease), k]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def count_lesions(label: np.ndarray) -> int:
    """Count the 8-connected components of GGO and consolidation together."""
    lesion = np.isin(label, (GGO, CONSOLIDATION)).astype(np.uint8)
    return cv2.connectedComponents(lesion, connectivity=8)[0] - 1


def write_lesion_patient(root: Path, patient: PhantomPatient) -> None:
    """Write a patient to the lesion archive at ``root``."""
    for i, (hu, label) in enumerate(zip(patient.hu, patient.labels, strict=True)):
        grey = WINDOW.grey(hu)
        # as in CNCB's archive: three equal channels
        rgb = np.repeat(grey[..., None], 3, axis=2)
        write_picture(
            root / "image" / patient.patient_id / f"{i}.jpg", rgb, cv2.IMWRITE_JPEG_QUALITY, 95
        )
        write_picture(root / "mask" / patient.patient_id / f"{i}.png", label)


def _write_scans(root: Path, spec: PhantomSpec, progress: Callable[[str], None] | None) -> dict:
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    listed = {s: dict.fromkeys(DISEASES, 0) for s in lists}
    for k in range(spec.patients_per_class):
        split = SPLIT_CYCLE[k % len(SPLIT_CYCLE)]
        for disease in DISEASES:
            number = FIRST_SCAN_PATIENT + len(DISEASES) * k + DISEASES.index(disease)
            patient = make_patient(
                patient_seed(spec.seed, _SCANS, disease, k),
                disease,
                spec.size,
                spec.slices_per_scan,
                # of patients with pneumonia, only slices with lesions are listed
                around_lesions=True,
                patient_id=str(number),
            )
            lines = write_scan(root, patient, scan=str(number))
            lists[split] += lines
            listed[split][disease] += len(lines)
            if progress:
                progress(f"{disease} patient {number}")
    for split, lines in lists.items():
        text = "".join(f"{line}\n" for line in lines)
        write_new(root / f"{split}_COVIDx_CT.txt", text)
    patients = len(DISEASES) * spec.patients_per_class
    return {"patients": patients, "slices": patients * spec.slices_per_scan, "listed": listed}


def write_scan(root: Path, patient: PhantomPatient, scan: str) -> list[str]:
    """Write a patient to the classification archive at ``root``.

    Returns:
        The patient's lines for a COVIDx-CT list: ``<class>_<patient>_<scan>_<slice>.png``, class
        digit, body box x0 y0 x1 y1. For CP and NCP only slices with a lesion are listed.
    """
    lines = []
    for i, (hu, label, box) in enumerate(
        zip(patient.hu, patient.labels, patient.body_boxes, strict=True)
    ):
        path = root / patient.disease / patient.patient_id / scan / f"{i:04d}.png"
        write_picture(path, WINDOW.grey(hu))
        if patient.disease == "Normal" or count_lesions(label):
            name = f"{patient.disease}_{patient.patient_id}_{scan}_{i:04d}.png"
            lines.append(" ".join(map(str, (name, DISEASES.index(patient.disease), *box))))
    return lines


@contextmanager
def complete_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``output``, or is deleted if the block raises.

    Raises:
        UserError: ``output`` exists and must not be replaced.
    """
    output = output.absolute()
    if output.is_symlink():
        raise UserError(f"{output} is a link. Choose another folder, or name the link's target.")
    check_replaceable(output, MANIFEST, "phantom", overwrite)
    with atomic_folder(output) as partial:
        yield partial
