"""The healthy chest of a synthetic patient, as functions of position.

Positions are in a canonical frame in mm, so that a patient can be sampled at any resolution and
slice position: ``x`` grows to the right of the image (the patient's left), ``y`` downwards (towards
the back), ``z`` from the apex of the lungs (0) to the feet; the lungs end near 250. Organs are
signed distances in mm, negative inside. Functions take N points, or the H x W pixels of a slice, as
broadcastable arrays ``x, y, z``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LUNG_TOP_MM, LUNG_BOTTOM_MM = 40.0, 212.0
"""Range of z of a usual scan: from below the apex to above the costophrenic angles."""
WHOLE_CHEST_MM = (-20.0, 265.0)
"""Range of z from above the lungs to where only thin recesses of them are left."""


def ellipsoid(x, y, z, centre, radii) -> np.ndarray:
    """Approximate signed distance in mm to an ellipsoid with axes along x, y and z."""
    cx, cy, cz = centre
    rx, ry, rz = radii
    dx, dy, dz = x - cx, y - cy, z - cz
    k0 = np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2 + (dz / rz) ** 2)
    k1 = np.sqrt((dx / rx**2) ** 2 + (dy / ry**2) ** 2 + (dz / rz**2) ** 2)
    return k0 * (k0 - 1) / (k1 + 1e-6)


def tube(x, y, z, start, end, radius) -> np.ndarray:
    """Signed distance in mm to a tube with round ends."""
    (ax, ay, az), (bx, by, bz) = start, end
    ux, uy, uz = bx - ax, by - ay, bz - az
    t = ((x - ax) * ux + (y - ay) * uy + (z - az) * uz) / (ux**2 + uy**2 + uz**2)
    t = np.clip(t, 0, 1)
    return (
        np.sqrt((x - ax - t * ux) ** 2 + (y - ay - t * uy) ** 2 + (z - az - t * uz) ** 2) - radius
    )


def superellipse(x, y, a, b, power) -> np.ndarray:
    """Distance in mm to a superellipse along the ray from its centre, negative inside."""
    f = (np.abs(x / a) ** power + np.abs(y / b) ** power) ** (1 / power) + 1e-6
    r = np.hypot(x, y)
    # near the centre, where r / f is 0 / 0, use the smaller semi-axis
    return np.where(f > 0.05, r - r / f, -np.minimum(a, b))


def smooth_max(a, b, k: float) -> np.ndarray:
    """Maximum of two distances, with the crease rounded over about ``k`` mm: no sharp corners."""
    h = np.clip(0.5 + 0.5 * (a - b) / k, 0, 1)
    return b + (a - b) * h + k * h * (1 - h)


def lung_between(x, y, cavity, solid) -> np.ndarray:
    """Signed distance to the lungs: the cavity without solid organs, split at the midline."""
    parted = np.maximum(np.abs(x), y - 50) - 2.0
    return smooth_max(cavity + 1.0, -np.minimum(solid, parted), 8.0)


@dataclass(frozen=True)
class Waves:
    """A smooth random field of 3-D plane waves, with about zero mean and unit variance."""

    k: np.ndarray  # (K, 3) wave vectors in rad / mm
    phase: np.ndarray  # (K,)

    @classmethod
    def draw(cls, rng: np.random.Generator, shortest: float, longest: float, count: int) -> Waves:
        """Draw ``count`` waves: random directions, wavelengths in mm log-uniform in the limits."""
        direction = rng.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.exp(rng.uniform(np.log(shortest), np.log(longest), (count, 1)))
        phase = rng.uniform(0, 2 * np.pi, count)
        return cls((direction * 2 * np.pi / length).astype(np.float32), phase.astype(np.float32))

    def __call__(self, x, y, z) -> np.ndarray:
        total = 0.0
        for (kx, ky, kz), phase in zip(self.k, self.phase, strict=True):
            total = total + np.cos(kx * x + ky * y + (kz * z + phase))
        return total * np.float32(np.sqrt(2 / len(self.phase)))


@dataclass(frozen=True)
class Anatomy:
    """The parameters of the chest that vary between patients."""

    fov_mm: float
    scale: tuple[float, float, float]  # x, y, z: patient mm per canonical mm
    rotation: float  # rad, in the plane of the slice
    shift_mm: tuple[float, float]
    fat_mm: float
    breast: float  # 0 none .. 1
    heart_scale: float
    dome_z: tuple[float, float]  # top of the right and of the left diaphragm
    rib_phase: float
    spine_phase: float
    lung_hu: float
    noise_hu: float
    table: bool
    wall: Waves = field(repr=False)  # fat planes between the muscles of the chest wall
    texture: Waves = field(repr=False)  # lung parenchyma
    organs: Waves = field(repr=False)  # slow differences within organs and fat

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """Draw a random adult."""
        size = rng.uniform(0.93, 1.06)
        return cls(
            fov_mm=float(rng.uniform(322, 358)),
            scale=tuple(float(size * rng.uniform(0.97, 1.03)) for _ in range(3)),
            rotation=float(np.deg2rad(rng.uniform(-4, 4))),
            shift_mm=(float(rng.uniform(-7, 7)), float(rng.uniform(-14, 2))),
            fat_mm=float(rng.uniform(5, 17)),
            breast=float(rng.uniform(0.4, 1.0) * (rng.random() < 0.45)),
            heart_scale=float(rng.uniform(0.88, 1.1)),
            dome_z=(float(rng.uniform(168, 190)), float(rng.uniform(178, 200))),
            rib_phase=float(rng.uniform(0, 24)),
            spine_phase=float(rng.uniform(0, 24)),
            lung_hu=float(rng.uniform(-885, -845)),
            noise_hu=float(rng.uniform(18, 38)),
            table=bool(rng.random() < 0.7),
            wall=Waves.draw(rng, 40, 110, 10),
            texture=Waves.draw(rng, 7, 30, 24),
            organs=Waves.draw(rng, 35, 110, 10),
        )

    def cavity(self, x, y, z, slow=None) -> np.ndarray:
        """Signed distance to the inner surface of the rib cage.

        ``slow``, here and below, is the field ``organs`` at the same points, which makes outlines
        slightly irregular; it is computed if the caller does not give it.
        """
        slow = self.organs(x, y, z) if slow is None else slow
        narrowing = np.clip(1 - np.asarray(z, np.float32) / 115, 0, 1)
        grow = np.sqrt(1 - 0.97 * narrowing**2)
        a, b = 124 * grow, 88 * (0.35 + 0.65 * grow)
        return superellipse(x, y + 3, a, b, 2.4) + 1.2 * slow

    def body(self, x, y, z, slow=None) -> np.ndarray:
        """Signed distance to the skin."""
        slow = self.organs(x, y, z) if slow is None else slow
        z = np.asarray(z, np.float32)
        shoulders = np.clip(1 - z / 120, 0, 1)
        a = 142 + self.fat_mm + 18 * shoulders
        b = 108 + 0.8 * self.fat_mm - 5 * shoulders
        trunk = superellipse(x, y, a, b, 2.35) + 0.9 * slow
        # shallow grooves over the sternum and over the spine
        trunk = trunk + 6 * np.exp(-((x / 16) ** 2)) * (np.abs(y) > 60)
        if not self.breast:
            return trunk
        hill = np.exp(-(((np.abs(x) - 66) / 34) ** 2) - ((z - 128) / 48) ** 2)
        return trunk - 30 * self.breast * hill / (1 + np.exp((y + 45) / 10))

    def tubes(self) -> list[tuple[tuple, tuple, float, float]]:
        """Large vessels and oesophagus: start and end (x, y, z), radius in mm, HU."""
        return [
            ((-12, -26, 150), (-13, -28, 92), 15, 45),  # ascending aorta
            ((-13, -28, 92), (0, 2, 72), 13, 45),  # arch
            ((0, 2, 72), (21, 28, 84), 13, 45),
            ((21, 28, 84), (24, 38, 110), 12.5, 45),
            ((24, 38, 110), (15, 34, 260), 11.5, 45),  # descending aorta
            ((-29, -17, 50), (-30, -16, 150), 8.5, 42),  # superior vena cava
            ((14, -40, 145), (20, -14, 112), 12.5, 44),  # pulmonary trunk
            ((12, -10, 116), (-40, 2, 120), 9.5, 44),  # right pulmonary artery
            ((20, -14, 112), (44, 8, 108), 9.5, 44),  # left pulmonary artery
            ((-8, 18, 140), (-42, 10, 138), 7, 44),  # pulmonary veins
            ((18, 18, 140), (44, 12, 136), 7, 44),
            ((7, 30, 0), (4, 30, 150), 6.5, 30),  # oesophagus
            ((4, 30, 150), (10, 18, 240), 7, 30),
            ((-10, -16, 20), (-12, -12, 74), 5.5, 45),  # vessels to head and arms
            ((11, -4, 20), (3, -6, 74), 4.5, 45),
            ((24, 12, 20), (14, 10, 78), 4.5, 45),
            ((28, -22, 30), (-26, -26, 76), 6, 42),
        ]

    def soft_organs(self, x, y, z, slow=None) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance to heart, liver, spleen or large vessels, and the HU of the nearest."""
        slow = self.organs(x, y, z) if slow is None else slow
        s, (right, left) = self.heart_scale, self.dome_z
        c, n = 0.825, 0.565  # the heart's axis points to the left and to the front
        u, v = c * (x - 22) + n * (y + 22), c * (y + 22) - n * (x - 22)
        ventricles = ellipsoid(u, v, z, (6, 2, 180), (56 * s, 42 * s, 56 * s)) + 1.7 * slow
        atria = ellipsoid(x, y, z, (-10, 2, 152), (37 * s, 27, 32)) + 2 * slow
        organs = [
            (ventricles, 42.0),
            (atria, 44.0),
            (ellipsoid(x, y, z, (-66, 2, right + 105), (66, 64, 105)) + 1.7 * slow, 58.0),  # liver
            (ellipsoid(x, y, z, (66, 8, left + 95), (56, 58, 95)) + 1.7 * slow, 50.0),  # spleen
            (ellipsoid(x, y, z, (0, -20, 290), (75, 60, 85)), 55.0),  # liver's left lobe
        ]
        for start, end, radius, hu in self.tubes():
            low, high = min(start[2], end[2]) - radius, max(start[2], end[2]) + radius
            if np.ndim(z) == 0 and not low - 8 < z < high + 8:
                continue
            organs.append((tube(x, y, z, start, end, radius), float(hu)))
        distance, hu = organs[0][0], np.full_like(x, organs[0][1])
        for other, value in organs[1:]:
            hu[other < distance] = value
            distance = np.minimum(distance, other)
        return distance, hu

    def solid(self, x, y, z, slow, organs) -> np.ndarray:
        """Signed distance to the solid structures of the cavity.

        Args:
            x, y, z: positions.
            slow: the field ``organs`` there.
            organs: signed distance from :meth:`soft_organs`.
        """
        upper = ellipsoid(x, y, z, (0, -4, 40), (29, 40, 95)) + 3 * slow  # mediastinal fat
        spine = ellipsoid(x, y, z, (0, 51, 120), (19.5, 17, 1e4))
        beside = ellipsoid(x, y, z, (0, 68, 120), (30, 17, 1e4))
        # organs have a rim of fat
        return np.minimum(np.minimum(upper, organs - 2.5), np.minimum(spine, beside))

    def lung(self, x, y, z) -> np.ndarray:
        """Signed distance to the nearest lung."""
        slow = self.organs(x, y, z)
        solid = self.solid(x, y, z, slow, self.soft_organs(x, y, z, slow)[0])
        return lung_between(x, y, self.cavity(x, y, z, slow), solid)

    def lung_points(self, rng: np.random.Generator, count: int, depth: float) -> np.ndarray:
        """Draw random points (count, 3) at least ``depth`` mm inside the lungs."""
        points = np.empty((0, 3), np.float32)
        while len(points) < count:
            low, high = (-120, -85, 12), (120, 82, 235)
            p = rng.uniform(low, high, (7 * count // 2, 3)).astype(np.float32)
            points = np.concatenate([points, p[self.lung(*p.T) < -depth]])
        return points[:count]
