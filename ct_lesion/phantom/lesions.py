"""Lesions of a synthetic patient: position, shape, image and labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from ct_lesion.data.datasets.lesion_masks import CONSOLIDATION, GGO, LUNG

from .anatomy import LUNG_BOTTOM_MM, LUNG_TOP_MM, Anatomy, Waves

MIN_AREA_AT_256 = 50
"""Smallest area in pixels of a lesion in a slice of 256 x 256; smaller ones are removed."""
GAP_AT_256 = 6
"""Smallest gap in pixels between two lesions of such a slice, so that instances are unambiguous."""


@dataclass(frozen=True)
class Lesion:
    """An irregular blob with a soft border, in the canonical frame."""

    centre: np.ndarray  # (3,): x, y, z in mm
    radii: np.ndarray  # (3,) in mm: along the chest wall, across it, along z
    angle: float  # rad, direction of the first radius in the slice
    core: float  # share of the radius that is consolidated: 0 pure GGO, 1 no GGO
    ggo_hu: float
    core_hu: float
    roughness: float
    shape: Waves = field(repr=False)  # in units of the radii
    grain: Waves = field(repr=False)  # in mm

    @property
    def reach(self) -> float:
        """Radius in mm of a sphere that encloses the lesion."""
        return float(self.radii.max()) * 1.45

    def level(self, x, y, z) -> np.ndarray:
        """Compute a smooth field: 0 at the centre, 1 at the border, above 1 outside."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        dx, dy, dz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        u = (c * dx + s * dy) / self.radii[0]
        v = (c * dy - s * dx) / self.radii[1]
        w = np.float32(dz / self.radii[2])
        return np.sqrt(u * u + v * v + w * w) + self.roughness * self.shape(u, v, w)


def lobe(x, y, z) -> np.ndarray:
    """Find the lobe of a position: right upper 0, middle 1, lower 2; left upper 3, lower 4."""
    oblique = np.asarray(z) - 125 + 1.1 * np.asarray(y)  # above 0: behind the oblique fissure
    right = np.where(oblique > 0, 2, np.where(np.asarray(z) > 125, 1, 0))
    return np.where(np.asarray(x) < 0, right, np.where(oblique > 0, 4, 3))


def draw_lesions(rng: np.random.Generator, anatomy: Anatomy, disease: str) -> list[Lesion]:
    """Draw a patient's lesions: many for NCP, one or two in a lobe for CP, none for Normal."""
    if disease == "Normal":
        return []
    points = anatomy.lung_points(rng, 3000, depth=4.0)
    z = points[:, 2]
    points = points[(z > LUNG_TOP_MM + 5) & (z < LUNG_BOTTOM_MM - 5)]
    return _covid(rng, anatomy, points) if disease == "NCP" else _pneumonia(rng, anatomy, points)


def _covid(rng: np.random.Generator, anatomy: Anatomy, points: np.ndarray) -> list[Lesion]:
    """Draw multifocal, bilateral, peripheral lesions, mostly ground-glass."""
    depth = -anatomy.cavity(*points.T)
    points = points[(depth > 6) & (depth < 24)]
    # dependent and lower parts of the lungs are affected more often
    weight = np.exp(points[:, 1] / 60 + points[:, 2] / 150)
    order = rng.choice(len(points), len(points), replace=False, p=weight / weight.sum())
    wanted = int(rng.integers(12, 19))
    lesions: list[Lesion] = []
    for p in points[order]:
        side = 1 if len(lesions) % 2 else -1
        if p[0] * side < 0:
            continue
        along = rng.uniform(12, 25)
        radii = along * np.asarray([1.0, rng.uniform(0.5, 0.75), rng.uniform(0.8, 1.2)])
        kind = rng.random()
        core = 0.0 if kind < 0.5 else (rng.uniform(0.5, 0.82) if kind < 0.88 else 1.0)
        lesion = _lesion(rng, anatomy, p, radii, core)
        if _is_clear(lesion, lesions):
            lesions.append(lesion)
        if len(lesions) == wanted:
            break
    return lesions


def _pneumonia(rng: np.random.Generator, anatomy: Anatomy, points: np.ndarray) -> list[Lesion]:
    """Draw a dense consolidation in one lobe, sometimes with a smaller one near it."""
    lobes = lobe(*points.T)
    points = points[lobes == rng.choice(np.unique(lobes))]
    wanted = int(rng.choice([1, 2], p=[0.85, 0.15]))
    lesions: list[Lesion] = []
    points = points[rng.permutation(len(points))]
    # sorted by distance from the first lesion, so that the second is near it
    for p in points[np.linalg.norm(points - points[0], axis=1).argsort(kind="stable")]:
        along = rng.uniform(18, 28) if not lesions else rng.uniform(12, 18)
        radii = along * np.asarray([1.0, rng.uniform(0.7, 0.95), rng.uniform(0.8, 1.1)])
        core = 1.0 if rng.random() < 0.15 else rng.uniform(0.74, 0.88)
        lesion = _lesion(rng, anatomy, p, radii, core)
        if _is_clear(lesion, lesions):
            lesions.append(lesion)
        if len(lesions) == wanted:
            break
    return lesions


def _lesion(rng, anatomy: Anatomy, centre, radii, core: float) -> Lesion:
    x, y, _ = centre
    # the long axis is parallel to the chest wall; the wall's normal is the gradient of its ellipse
    angle = np.arctan2(y / 84.0**2, x / 124.0**2) + np.pi / 2 + rng.uniform(-0.3, 0.3)
    return Lesion(
        centre=np.asarray(centre, np.float32),
        radii=np.asarray(radii, np.float32),
        angle=float(angle),
        core=float(core),
        ggo_hu=float(rng.uniform(-560, -410)),
        core_hu=float(rng.uniform(-60, 25)),
        roughness=float(rng.uniform(0.10, 0.17)),
        shape=Waves.draw(rng, 0.8, 2.4, 9),
        grain=Waves.draw(rng, 5, 14, 8),
    )


def _is_clear(lesion: Lesion, others: list[Lesion]) -> bool:
    """Whether a lesion is far enough from the others, measured between the centres."""
    for other in others:
        distance = np.linalg.norm(other.centre - lesion.centre)
        if distance < 0.8 * (lesion.reach + other.reach) + 8:
            return False
    return True


@dataclass
class LesionMaps:
    """Weights and HU of the lesions of a slice; all (H, W) float32."""

    ggo: np.ndarray  # weight 0..1 of ground-glass
    ggo_hu: np.ndarray
    core: np.ndarray  # weight 0..1 of consolidation
    core_hu: np.ndarray


def lesion_maps(lesions: list[Lesion], x, y, z: float, window) -> LesionMaps:
    """Sample all lesions on a slice.

    Args:
        lesions: lesions of the patient.
        x, y: (H, W) canonical coordinates of the pixels in mm.
        z: position of the slice in mm.
        window: function (x, y, reach in mm) -> index slices of the pixels around a position, see
            :meth:`Grid.window`.
    """
    maps = LesionMaps(*(np.zeros_like(x) for _ in range(4)))
    for lesion in lesions:
        if abs(z - lesion.centre[2]) > lesion.reach:
            continue
        w = window(lesion.centre[0], lesion.centre[1], lesion.reach)
        level = lesion.level(x[w], y[w], z)
        grain = lesion.grain(x[w], y[w], z)
        # the border of GGO is about a third of the radius wide, of consolidation narrower
        ggo = _smoothstep((1 - level) / 0.30 + 0.5) * (lesion.core < 1)
        core = _smoothstep((max(lesion.core, 1e-3) - level) / 0.16 + 0.5) * (lesion.core > 0)
        # lesions have gaps, so only faint borders overlap: the larger weight wins
        for weight, hu, new, new_hu in (
            (maps.ggo, maps.ggo_hu, ggo, lesion.ggo_hu + 45 * grain),
            (maps.core, maps.core_hu, core, lesion.core_hu + 14 * grain),
        ):
            owns = new > weight[w]
            weight[w] = np.where(owns, new, weight[w])
            hu[w] = np.where(owns, new_hu, hu[w])
    return maps


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def label_lesions(maps: LesionMaps, lung: np.ndarray) -> np.ndarray:
    """Label a slice, and remove lesions that are too small or too close to others.

    Args:
        maps: weights of the slice's lesions; changed in place, so that image and label agree.
        lung: (H, W) bool, inside the lungs.

    Returns:
        (H, W) uint8 with BACKGROUND, LUNG, GGO, CONSOLIDATION.
    """
    scale = lung.shape[0] / 256
    least = MIN_AREA_AT_256 * scale**2
    lesion = lung & (np.maximum(maps.ggo, maps.core) > 0.5)
    # remove thin bridges and strips along the pleura, which no reader would outline
    lesion = cv2.morphologyEx(lesion.astype(np.uint8), cv2.MORPH_OPEN, _disc(2 * scale)) > 0
    kept = clear_components(lesion, least, GAP_AT_256 * scale)
    soft_edge = _disc(5 * scale)
    near = cv2.dilate(kept.astype(np.uint8), soft_edge).astype(np.float32)
    fade = cv2.GaussianBlur(near, (0, 0), 1.2 * scale)
    maps.ggo *= fade
    maps.core *= fade

    core = _drop_small(kept & (maps.core > 0.5), least)
    # a sliver of ground-glass beside a consolidation is not a separate lesion
    ggo = _drop_small(kept & ~core, least)
    touches_core = cv2.dilate(core.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    _, index = cv2.connectedComponents((kept & ~core & ~ggo).astype(np.uint8), connectivity=8)
    core |= np.isin(index, np.unique(index[touches_core & (index > 0)]))
    label = lung.astype(np.uint8) * LUNG
    label[kept] = GGO
    label[core] = CONSOLIDATION
    return label


def clear_components(mask: np.ndarray, least: float, gap: float) -> np.ndarray:
    """Keep the 8-connected components of at least ``least`` pixels.

    Of components with a gap of less than about ``gap`` pixels, keep only the largest.
    """
    mask = _drop_small(mask, least)
    count, index, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 3:
        return mask
    grown = cv2.dilate(mask.astype(np.uint8), _disc(gap / 2))
    _, cluster = cv2.connectedComponents(grown, connectivity=8)
    largest: dict[int, int] = {}
    for i in sorted(range(1, count), key=lambda i: int(stats[i, cv2.CC_STAT_AREA])):
        at = np.flatnonzero(index.ravel() == i)[0]
        largest[int(cluster.ravel()[at])] = i
    return np.isin(index, list(largest.values()))


def _drop_small(mask: np.ndarray, least: float) -> np.ndarray:
    _, index, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= least
    keep[0] = False
    return keep[index]


def _disc(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
