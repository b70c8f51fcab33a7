"""Compares the lesion masks of programs with the same truth, patient by patient."""

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
        name: name of the program.
        slices: counts of each slice, by patient.
        patients: counts of each patient, in the order of :attr:`MaskComparison.patients`.
    """

    name: str
    slices: dict[str, list[SliceCounts]] = field(default_factory=dict)
    patients: list[PatientCounts] = field(default_factory=list)


@dataclass
class MaskComparison:
    """Programs compared with the same truth.

    Attributes:
        patients: names of the compared patients.
        slice_names: names of the slices of each patient.
        programs: results of the programs.
        unit: unit of volumes: ``ml``, or ``pixels`` if the spacing of a truth is unknown.
        min_area: lesions of fewer pixels are not counted.
        doubts: warnings about the masks, one line each.
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
        truth, programs: result of :func:`common_patients`.
        min_area: lesions of fewer pixels are not counted; Dice and volumes count all pixels.

    Raises:
        DatasetError: a mask is unreadable or does not fit its truth.
        UserError: none of the lesion values of a set (``--values``) occurs in its masks.
    """
    results = [Program(masks.name) for masks in programs]
    names: dict[str, list[str]] = {}
    sizes: dict[str, float | None] = {}
    values: dict[str, set[int]] = {masks.name: set() for masks in (truth, *programs)}
    doubts: dict[str, None] = {}  # an ordered set
    for patient in tqdm(truth.files, desc="comparing masks", unit="patient", disable=None):
        true = read_mask(truth, patient)
        values[truth.name] |= true.values
        doubts |= dict.fromkeys(true.doubts)
        sizes[patient] = true.voxel_ml
        names[patient] = list(true.slice_names or map("{:04d}".format, range(len(true.voxels))))
        for masks, result in zip(programs, results, strict=True):
            mask = read_mask(masks, patient)
            check_fit(mask, true)
            values[masks.name] |= mask.values
            doubts |= dict.fromkeys([*mask.doubts, *_doubt_order(masks, mask, true)])
            pairs = zip(true.voxels, mask.voxels, strict=True)
            result.slices[patient] = [count_slice(t, m, min_area) for t, m in pairs]
    in_ml = all(size is not None for size in sizes.values())
    for result in results:
        result.patients = [
            count_patient(counts, sizes[patient] if in_ml else None)
            for patient, counts in result.slices.items()
        ]
    value_doubts = [
        line
        for masks in (truth, *programs)
        for line in _doubt_values(masks, sorted(values[masks.name]))
    ]
    unit = "ml" if in_ml else "pixels"
    return MaskComparison([*names], names, results, unit, min_area, [*value_doubts, *doubts])


def _doubt_order(masks: MaskSet, mask: LesionMask, truth: LesionMask) -> list[str]:
    if bool(mask.slice_names) == bool(truth.slice_names):
        return []
    return [
        f"{masks.name}: PNG files, sorted by name, are paired with the slices of volumes in their "
        "order. Check a few patients, because nothing confirms that the orders agree."
    ]


def _doubt_values(masks: MaskSet, values: list[int]) -> list[str]:
    """Warn about several values that count as lesions.

    Args:
        values: all values above 0 that occur in the masks, ascending.

    Raises:
        UserError: none of the lesion values of the set occurs.
    """
    listed = ", ".join(map(str, values))
    if masks.values is None and len(values) > 1:
        example = ",".join(map(str, values[1:]))
        return [
            f"{masks.name}: its masks hold the values {listed}, which all count as lesions. If one "
            f"is not a lesion, e.g. the lung, give the others: --values {masks.name}={example}."
        ]
    if masks.values and values and not masks.values & set(values):
        raise UserError(
            f"--values {masks.name}={','.join(map(str, sorted(masks.values)))}: the masks in "
            f"{masks.path} hold none of these values. Choose from {listed}."
        )
    return []
