"""Measures of a scan's lesions: size, density and location.

Lengths are in mm, volumes in ml; they are ``None`` where the spacing is unknown. Slices are
numbered from 0.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .detections import LUNGS, DetectionMeasures

THIRDS = ("lower", "middle", "upper")
"""Thirds of a lung's extent along z, from the feet."""


@dataclass(frozen=True)
class ScanLesion:
    """A lesion of a scan.

    Attributes:
        number: counts from 1, by decreasing volume.
        class_index: the class that makes up most of the volume.
        score: highest score of its detections.
        detections: number of its detections.
        pixels: number of its pixels in all slices.
        volume_ml: sum over slices of area times slice thickness.
        diameter_mm, perpendicular_mm: longest axial diameter in any slice, and the extent
            perpendicular to it; see :func:`ct_lesion.lesions.detections.diameters`.
        diameter_slice: the slice of these diameters.
        z_extent_mm: from the lower side of its first slice to the upper side of its last.
        first_slice, last_slice: counted from 0, like the other slices.
        largest_slice: the slice with its largest area.
        mean_hu, dense_share: mean HU, and share of the pixels above -300 HU; ``None`` without HU.
        lung: the lung that holds most of it, ``right`` or ``left``; ``None`` outside the lungs and
            if the side is unknown.
        third: the third of the lung's extent along z that holds its centre, ``upper``, ``middle``
            or ``lower``; ``None`` outside the lungs and if the lungs or the orientation are
            unknown.
        pleura_mm: shortest distance within a slice to the lung's outermost pixels, which count as
            the pleura; 0 if it reaches them.
    """

    number: int
    class_index: int
    score: float
    detections: int
    pixels: int
    volume_ml: float | None
    diameter_mm: float | None
    perpendicular_mm: float | None
    diameter_slice: int
    z_extent_mm: float | None
    first_slice: int
    last_slice: int
    largest_slice: int
    mean_hu: float | None
    dense_share: float | None
    lung: str | None
    third: str | None
    pleura_mm: float | None


@dataclass(frozen=True)
class SliceStack:
    """Sizes and positions of a scan's slices.

    Attributes:
        spacing_yx: size of the pixels in mm; ``None`` if unknown.
        thickness_mm: thickness of each slice, for volumes; ``None`` if unknown.
        z_mm: increasing positions of the slices; ``None`` if unknown.
        lungs: first and last slice of each lung, by label; see :func:`lung_ranges`.
        oriented: whether it is known which end is the head.
    """

    spacing_yx: Sequence[float] | None = None
    thickness_mm: Sequence[float] | None = None
    z_mm: Sequence[float] | None = None
    lungs: dict[int, tuple[int, int]] = field(default_factory=dict)
    oriented: bool = True

    @property
    def has_sizes(self) -> bool:
        """Whether volumes are known."""
        return self.spacing_yx is not None and self.thickness_mm is not None

    def weights(self, slices: np.ndarray) -> np.ndarray:
        """The thickness of slices given by index; 1 if unknown."""
        known = self.thickness_mm is not None
        return np.asarray(self.thickness_mm, float)[slices] if known else np.ones(len(slices))

    def positions(self, slices: np.ndarray) -> np.ndarray:
        """The positions of slices given by index; the indices if unknown."""
        return np.asarray(slices if self.z_mm is None else np.asarray(self.z_mm)[slices], float)

    def extent(self, first: int, last: int) -> tuple[float, float]:
        """Lower side of the first slice and upper side of the last, as positions."""
        ends = np.array([first, last])
        half = self.weights(ends) / 2 * (1, -1)
        return tuple((self.positions(ends) - half).tolist())


def lung_ranges(labels: Sequence[Collection[int]]) -> dict[int, tuple[int, int]]:
    """First and last slice of each lung.

    Args:
        labels: for each slice, the labels of the lungs in it.
    """
    ranges: dict[int, tuple[int, int]] = {}
    for index, slice_labels in enumerate(labels):
        for label in slice_labels:
            ranges[label] = ranges.get(label, (index,))[0], index
    return ranges


def measure_lesions(
    slices: Sequence[Sequence[DetectionMeasures]],
    groups: Sequence[Sequence[int]],
    stack: SliceStack,
) -> tuple[list[ScanLesion], list[list[int]]]:
    """Measure the lesions of a scan.

    Lesions are numbered by decreasing volume; ties are broken by diameter, perpendicular extent,
    score and first slice. A lesion hidden completely by detections with higher scores is left out.

    Args:
        slices: for each slice, the measures of its detections.
        groups: the lesion of each detection, see :func:`ct_lesion.lesions.linking.link_detections`.
        stack: sizes and positions of the slices.

    Returns:
        The lesions by number, and for each slice the lesion number of each detection, 0 for a
        lesion that is left out.
    """
    members = defaultdict(list)
    for index, (detections, found) in enumerate(zip(slices, groups, strict=True)):
        for detection, group in zip(detections, found, strict=True):
            members[group].append((index, detection))
    lesions = {
        group: _measure(parts, stack)
        for group, parts in members.items()
        if any(part.area_px for _, part in parts)
    }
    numbers = dict.fromkeys(members, 0)
    order = sorted(lesions, key=lambda group: _rank(members[group], stack))
    numbers |= {group: number for number, group in enumerate(order, start=1)}
    numbered = [replace(lesions[group], number=numbers[group]) for group in order]
    return numbered, [[numbers[group] for group in found] for found in groups]


Parts = Sequence[tuple[int, DetectionMeasures]]  # of a lesion: slice index and detection


def _rank(parts: Parts, stack: SliceStack) -> tuple:
    areas = np.array([part.area_px for _, part in parts])
    volume = areas @ stack.weights(np.array([index for index, _ in parts]))
    longest, across = max(np.round(part.diameters, 3).tolist() for _, part in parts)
    score = max(part.score for _, part in parts)
    return -round(float(volume), 6), -longest, -across, -score, parts[0][0]


def _measure(parts: Parts, stack: SliceStack) -> ScanLesion:
    parts = [(index, part) for index, part in parts if part.area_px]
    index, found = np.array([i for i, _ in parts]), [part for _, part in parts]
    areas = np.array([part.area_px for part in found])
    volumes = areas * stack.weights(index)
    classes = np.bincount([part.class_index for part in found], weights=volumes)
    widest = max(range(len(found)), key=lambda i: np.round(found[i].diameters, 3).tolist())
    first, last = int(index.min()), int(index.max())
    low, high = stack.extent(first, last)
    longest, across = found[widest].diameters if stack.spacing_yx else (None, None)
    pixel_mm2 = np.prod(stack.spacing_yx) if stack.has_sizes else None
    return ScanLesion(
        number=0,
        class_index=int(classes.argmax()),
        score=max(part.score for part in found),
        detections=len(found),
        pixels=int(areas.sum()),
        volume_ml=float(volumes.sum() * pixel_mm2 / 1000) if stack.has_sizes else None,
        diameter_mm=longest,
        perpendicular_mm=across,
        diameter_slice=int(index[widest]),
        z_extent_mm=high - low if stack.has_sizes else None,
        first_slice=first,
        last_slice=last,
        largest_slice=int(np.bincount(index, weights=areas).argmax()),
        **_density(found, areas, volumes),
        **_place(found, areas, volumes, stack.positions(index), stack),
    )


def _density(found: Sequence[DetectionMeasures], areas: np.ndarray, volumes: np.ndarray) -> dict:
    if found[0].hu_sum is None:
        return {"mean_hu": None, "dense_share": None}
    weights = volumes / areas / volumes.sum()  # of a pixel
    return {
        "mean_hu": float(weights @ [part.hu_sum for part in found]),
        "dense_share": float(weights @ [part.dense_px for part in found]),
    }


def _place(
    found: Sequence[DetectionMeasures],
    areas: np.ndarray,
    volumes: np.ndarray,
    z: np.ndarray,
    stack: SliceStack,
) -> dict:
    """The lung that holds most of a lesion, the third of it, and the distance to its pleura."""
    inside = {
        label: float(volumes / areas @ [part.lung_px.get(label, 0) for part in found])
        for label in stack.lungs
    }
    label = max(inside, key=inside.get, default=None)
    if label is None or not inside[label]:
        return {"lung": None, "third": None, "pleura_mm": None}
    bottom, top = stack.extent(*stack.lungs[label])
    height = (z @ volumes / volumes.sum() - bottom) / (top - bottom)
    depth = min(part.to_pleura[label] for part in found if label in part.to_pleura)
    return {
        "lung": LUNGS.get(label),
        "third": THIRDS[int(np.clip(height * 3, 0, 2))] if stack.oriented else None,
        "pleura_mm": depth if stack.spacing_yx else None,
    }
