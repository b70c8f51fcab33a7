"""Comparison of programs' lesion masks with the same truth, patient by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from ct_lesion.errors import UserError

from .counts import PatientCounts, SliceCounts, count_patient, count_slice
from .mask_sets import LesionMask, MaskSet, check_fit, read_mask


@dataclass
class Program:
    """The results of a program.

    Attributes:
        name: of the program.
        slices: counts of each slice, by patient.
        patients: their sums, in the order of the patients.
    """

    name: str
    slices: dict[str, list[SliceCounts]] = field(default_factory=dict)
    patients: list[PatientCounts] = field(default_factory=list)


@dataclass
class MaskComparison:
    """Programs compared with the same truth.

    Attributes:
        patients: compared, in order.
        slice_names: of each patient.
        programs: in the order given.
        unit: of volumes: ``ml``, or ``pixels`` if the spacing of a truth is unknown.
        min_area: lesions of fewer pixels are not counted.
        doubts: what may make the numbers wrong, one line each.
    """

    patients: list[str]
    slice_names: Mapping[str, list[str]]
    programs: list[Program]
    unit: str
    min_area: int
    doubts: list[str]


def compare_masks(truth: MaskSet, programs: Sequence[MaskSet], min_area: int = 0) -> MaskComparison:
    """Compare programs with the truth; all sets have the same patients.

    Args:
        truth, programs: from :func:`common_patients`.
        min_area: lesions of fewer pixels are not counted; Dice and volumes count all pixels.

    Raises:
        DatasetError: a mask is unreadable or does not fit its truth.
        UserError: none of the values that are said to be lesions occurs in the masks of a set.
    """
    results = [Program(one.name) for one in programs]
    names: dict[str, list[str]] = {}
    sizes: dict[str, float | None] = {}
    found: dict[str, set[int]] = {one.name: set() for one in (truth, *programs)}
    doubts: dict[str, None] = {}  # in order, each once
    for patient in tqdm(truth.files, desc="comparing masks", unit="patient", disable=None):
        true = read_mask(truth, patient)
        found[truth.name] |= true.found
        doubts |= dict.fromkeys(true.doubts)
        sizes[patient] = true.voxel_ml
        names[patient] = list(true.slice_names or map("{:04d}".format, range(len(true.voxels))))
        for one, result in zip(programs, results, strict=True):
            mask = read_mask(one, patient)
            check_fit(mask, true)
            found[one.name] |= mask.found
            doubts |= dict.fromkeys([*mask.doubts, *_paired_by_order(one, mask, true)])
            pairs = zip(true.voxels, mask.voxels, strict=True)
            result.slices[patient] = [count_slice(t, m, min_area) for t, m in pairs]
    in_ml = all(size is not None for size in sizes.values())
    for result in results:
        result.patients = [
            count_patient(counts, sizes[patient] if in_ml else None)
            for patient, counts in result.slices.items()
        ]
    value_doubts = [line for one in (truth, *programs) for line in _about_values(one, found)]
    unit = "ml" if in_ml else "pixels"
    return MaskComparison([*names], names, results, unit, min_area, [*value_doubts, *doubts])


def _paired_by_order(masks: MaskSet, mask: LesionMask, truth: LesionMask) -> list[str]:
    if bool(mask.slice_names) == bool(truth.slice_names):
        return []
    return [
        f"{masks.name}: slices of volumes and of PNG files are paired by their order, the PNG "
        "files by their names; nothing says that it is the same. Look at a few."
    ]


def _about_values(masks: MaskSet, found: Mapping[str, set[int]]) -> list[str]:
    values = sorted(found[masks.name])
    listed = ", ".join(map(str, values))
    if masks.values is None and len(values) > 1:
        example = ",".join(map(str, values[1:]))
        return [
            f"{masks.name}: its masks hold the values {listed}, which all count as lesions. If one "
            f"is not a lesion, e.g. the lung, choose the others: --values {masks.name}={example}."
        ]
    if masks.values and values and not masks.values & set(values):
        raise UserError(
            f"--values {masks.name}={','.join(map(str, sorted(masks.values)))}: none of them "
            f"occurs in {masks.path}; there are {listed}."
        )
    return []
