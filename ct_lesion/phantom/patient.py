"""Synthetic chest CT: volumes in HU with known lesions.

Use it where no patient data are available: to try a recipe in minutes, for tests and for
demonstrations. Results on it say nothing about patients. S slices, H x W pixels; ``z`` grows
towards the feet, rows towards the back, columns towards the patient's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import (
    LUNG_BOTTOM_MM,
    LUNG_TOP_MM,
    WHOLE_CHEST_MM,
    Anatomy,
    ellipsoid,
    smooth_max,
    tube,
)
from .grid import COARSE, Fields, Grid
from .lesions import Lesion, draw_lesions, label_lesions, lesion_maps
from .trees import CANVAS, LungTrees

VERSION = "1"
"""Change it whenever the same seed gives different images."""
DISEASES = ("Normal", "CP", "NCP")
"""CNCB's names of control, common pneumonia and COVID-19; the index is COVIDx-CT's class digit."""
SLAB_MM = 3.0
"""Slice thickness used to draw vessels and airways."""


@dataclass(frozen=True)
class PhantomPatient:
    """A scan of a synthetic patient."""

    hu: np.ndarray  # (S, H, W) float32
    labels: np.ndarray  # (S, H, W) uint8: 0 background, 1 lung, 2 GGO, 3 consolidation
    spacing_mm: tuple[float, float, float]  # z, y, x
    disease: str
    patient_id: str
    body_boxes: np.ndarray  # (S, 4) int: x0, y0, x1, y1 of the body in pixels, x1 and y1 outside


def make_patient(
    seed: int,
    disease: str,
    size: int,
    slices: int,
    *,
    around_lesions: bool = False,
    whole_chest: bool = False,
    patient_id: str | None = None,
) -> PhantomPatient:
    """Make a patient; the same arguments always give the same bytes.

    Anatomy and lesions depend on seed and disease only, so the same patient can be made at several
    sizes and slice spacings.

    Args:
        seed: at least 0.
        disease: one of DISEASES.
        size: height and width of a slice in pixels, at least 64; 256 and 512 are usual.
        slices: number of slices, evenly spaced from the upper lobes to the diaphragm.
        around_lesions: space the slices over the z range of the lesions instead.
        whole_chest: space the slices from above the lungs to below their widest part instead.
        patient_id: id of the patient; by default the seed.

    Raises:
        ValueError: an argument is out of range.
    """
    if disease not in DISEASES:
        raise ValueError(f"disease must be one of {', '.join(DISEASES)}, not {disease!r}")
    if seed < 0 or size < 64 or slices < 1:
        raise ValueError(
            f"need seed >= 0, size >= 64 and slices >= 1, not {seed}, {size} and {slices}"
        )
    rng = np.random.default_rng([seed, DISEASES.index(disease)])
    anatomy = Anatomy.draw(rng)
    trees = LungTrees.draw(rng, anatomy)
    lesions = draw_lesions(rng, anatomy, disease)
    top, bottom = WHOLE_CHEST_MM if whole_chest else (LUNG_TOP_MM, LUNG_BOTTOM_MM)
    if around_lesions:
        top, bottom = _lesion_range(lesions)
    step = (bottom - top) / slices
    grid, coarse = Grid.of(anatomy, size), Grid.of(anatomy, COARSE)
    hu = np.empty((slices, size, size), np.float32)
    labels = np.empty((slices, size, size), np.uint8)
    boxes = np.empty((slices, 4), int)
    for i in range(slices):
        noise = np.random.default_rng([seed, DISEASES.index(disease), size, slices, i])
        z = np.float32(top + (i + 0.5) * step)
        fields = Fields.of(anatomy, grid, coarse, z)
        hu[i], labels[i], boxes[i] = _slice(anatomy, trees, lesions, grid, fields, z, noise)
    spacing = (step * anatomy.scale[2], grid.spacing_mm, grid.spacing_mm)
    return PhantomPatient(hu, labels, spacing, disease, patient_id or str(seed), boxes)


def _lesion_range(lesions: list[Lesion]) -> tuple[float, float]:
    """Range of z in mm of the lesions, clipped to the scan; the scan's range without lesions."""
    if not lesions:
        return LUNG_TOP_MM, LUNG_BOTTOM_MM
    top = min(le.centre[2] - 0.85 * le.radii[2] for le in lesions)
    bottom = max(le.centre[2] + 0.85 * le.radii[2] for le in lesions)
    return max(float(top), LUNG_TOP_MM), min(float(bottom), LUNG_BOTTOM_MM)


def _slice(
    a: Anatomy, trees: LungTrees, lesions: list[Lesion], grid: Grid, f: Fields, z: float, rng
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """Make image (H, W) in HU, label (H, W) and body box of the slice at ``z``."""
    hu = np.full_like(grid.x, -1000.0)
    if a.table:
        _paint_table(hu, grid)
    _paint_wall(hu, a, grid, f, z)
    grid.paint(hu, np.maximum(f.organs, f.cavity - 2), f.organs_hu + 6 * f.slow)
    _paint_spine(hu, a, grid, z)
    _paint_lung(hu, a, grid, f)
    maps = lesion_maps(lesions, grid.x, grid.y, z, grid.window)
    label = label_lesions(maps, f.lung < 0)
    inside = grid.cover(f.lung)
    hu += inside * maps.ggo * (maps.ggo_hu - hu)
    hu += inside * maps.core * (maps.core_hu - hu)
    _paint_trees(hu, trees, grid, z, inside)

    hu = cv2.GaussianBlur(hu, (0, 0), 0.55 * grid.size / 256)  # point spread of the scanner
    hu += _noise(rng, grid) * a.noise_hu * np.clip(1.15 + f.body / 220, 0.5, 1.2)
    rows, cols = np.flatnonzero((f.body < 0).any(1)), np.flatnonzero((f.body < 0).any(0))
    box = (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
    return np.maximum(hu, -1024), label, box


def _paint_wall(hu, a: Anatomy, grid: Grid, f: Fields, z: float) -> None:
    """Paint skin, fat, muscle, ribs, sternum and shoulder blades; fill the rib cage with fat."""
    body, cavity, slow, planes = f.body, f.cavity, f.slow, f.planes
    grid.paint(hu, body, 10.0)
    grid.paint(hu, body + 2.2, -98 + 9 * slow)
    theta = np.arctan2(np.abs(grid.x), grid.y)  # 0 at the back, pi in front
    upper = np.clip((165 - z) / 110, 0, 1)
    back = np.exp(-(((theta - 0.55) / 0.4) ** 2))
    flank = np.exp(-(((theta - 1.2) / 0.5) ** 2))
    chest = np.exp(-(((theta - 2.4) / 0.45) ** 2))
    thick = 11.5 + 15 * back + (3 + 15 * upper) * flank + (1 + 14 * upper) * chest + 1.6 * planes
    muscle = smooth_max(cavity - thick, body + 3.5 + 0.55 * a.fat_mm, 5)
    grid.paint(hu, muscle, 54 + 7 * slow)
    # muscle layers are separated by fat
    layer = np.abs(cavity - 12.5 - 3 * planes) - 0.8 - 0.5 * upper
    grid.paint(hu, np.maximum(layer, muscle + 2), -55.0)
    grid.paint(hu, np.maximum(np.abs(planes) * 14 - 0.7, np.maximum(muscle, 14 - cavity)), -50.0)
    _paint_ribs(hu, a, grid, z, cavity, theta)
    if 45 < z < 128:  # shoulder blade
        low, high = 0.42, 1.0 - 0.4 * abs(z - 80) / 50
        blade = np.maximum(np.abs(cavity - 19) - 2.4, 70 * np.maximum(low - theta, theta - high))
        grid.paint(hu, blade, 420.0)
        grid.paint(hu, blade + 1.4, 210.0)
    grid.paint(hu, cavity, -85 + 9 * slow)
    front = float(-3 - 88 * (0.35 + 0.65 * np.sqrt(1 - 0.97 * np.clip(1 - z / 115, 0, 1) ** 2)))
    if z < 190:  # sternum
        wide = 25 if z < 78 else 17
        for grow, value in ((0.0, 330.0), (-2.0, 130.0)):
            radii = (wide + grow, 6.5 + grow, 1e4)
            shape = lambda u, v, radii=radii: ellipsoid(u, v, z, (0, front - 5, z), radii)  # noqa: E731
            grid.paint_at(hu, 0, front - 5, wide + 5, shape, value)


def _paint_ribs(hu, a: Anatomy, grid: Grid, z: float, cavity, theta) -> None:
    """Paint ribs that slope down towards the front, so that a slice cuts several obliquely."""
    drop = 52 * (1 - np.cos(theta)) + 5 * np.sin(2 * theta)
    dz = (z - drop + a.rib_phase) % 24 - 12
    rib = (np.hypot(dz / 5.6, (cavity - 5.5) / 3.9) - 1) * 3.9
    bone = np.maximum(rib, 60 * (theta - 2.45))
    grid.paint(hu, bone, 620.0)
    grid.paint(hu, bone + 1.5, 210.0)
    grid.paint(hu, np.maximum(rib, 60 * np.maximum(2.45 - theta, theta - 2.95)), 105.0)


def _paint_spine(hu, a: Anatomy, grid: Grid, z: float) -> None:
    """Paint a vertebra with canal, arch and processes, or a disc, depending on z."""
    phase = float((z + a.spine_phase) % 24)
    w = grid.window(0, 72, 52)
    x, y, part = grid.x[w], grid.y[w], hu[w]
    muscle = np.maximum(ellipsoid(np.abs(x), y, 0.0, (24, 84, 0), (21, 17, 1e4)), 0)
    grid.paint(part, muscle - 0.5, 52.0)
    if phase > 5:
        arch = np.minimum(
            tube(np.abs(x), y, 0.0, (10, 64, 0), (7, 82, 0.1), 3.4),
            tube(np.abs(x), y, 0.0, (8, 80, 0), (0, 86, 0.1), 3.4),
        )
        grid.paint(part, arch, 430.0)
    if phase > 9:
        reach = 32 - 0.35 * (phase - 16) ** 2 * 0.5
        side = tube(np.abs(x), y, 0.0, (11, 70, 0), (reach, 76, 0.1), 4.0)
        grid.paint(part, side, 430.0)
        grid.paint(part, side + 1.8, 190.0)
    spinous = tube(x, y, 0.0, (0, 86, 0), (0, 94 + 0.5 * phase, 0.1), 2.8)
    grid.paint(part, spinous, 380.0)
    body = ellipsoid(x, y, 0.0, (0, 51, 0), (17.5, 14.5, 1e4))
    disc = phase < 4.5
    grid.paint(part, body, 110.0 if disc else 480.0)
    if not disc:
        grid.paint(part, body + 2.0, 185.0)
    grid.paint(part, ellipsoid(x, y, 0.0, (0, 70, 0), (8.5, 7, 1e4)), 25.0)


def _paint_lung(hu, a: Anatomy, grid: Grid, f: Fields) -> None:
    """Paint aerated lung, denser towards the back, where blood pools in a supine patient."""
    gravity = 0.32 * grid.y + 14 * np.clip((grid.y - 40) / 40, 0, 1) ** 2
    value = a.lung_hu + gravity + 17 * f.texture
    grid.paint(hu, f.lung, value.astype(np.float32))


def _paint_trees(hu, trees: LungTrees, grid: Grid, z: float, inside) -> None:
    """Paint vessels and bronchi; vessels are invisible in consolidation of the same density."""

    def drawn(tubes) -> np.ndarray:
        zoom = CANVAS / grid.size
        canvas = tubes.draw(z, SLAB_MM / 2, grid.canvas_position, grid.pixel / zoom)
        small = cv2.resize(canvas, (grid.size, grid.size), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) / 255

    hu += inside * drawn(trees.vessels) * np.maximum(38 - hu, 0)
    for airways, where in ((trees.bronchi, inside), (trees.trachea, 1.0)):
        # partial volume: thin walls are averaged with the surrounding air
        hu += where * drawn(airways.walls) * np.maximum(-120 - hu, 0)
        hu += where * drawn(airways) * (-985 - hu)


def _paint_table(hu, grid: Grid) -> None:
    """Paint the scanner's table: a curved carbon fibre shell around foam."""
    top = 129 - 0.00065 * grid.x**2
    depth = grid.y - top
    grid.paint(hu, np.maximum(-depth, depth - 26), -930.0)
    for edge in (0.0, 26.0):
        grid.paint(hu, np.abs(depth - edge) - 1.1, -420.0)


def _noise(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Draw band-limited noise as in filtered back-projection, with unit standard deviation."""
    white = rng.standard_normal((grid.size, grid.size), dtype=np.float32)
    scale = grid.size / 256
    grain = cv2.GaussianBlur(white, (0, 0), 0.6 * scale)
    grain -= 0.7 * cv2.GaussianBlur(white, (0, 0), 1.9 * scale)
    return grain / grain.std()
