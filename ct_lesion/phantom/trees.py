"""Vessels and airways of a synthetic lung: space-filling trees of tapering tubes.

A tree grows from the hilum towards random points of the lung: in each generation, the points of a
branch are split in half across their longest extent, and a new branch grows towards the centre of
each half. This gives the dichotomous branching of real vessels with a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Anatomy

GENERATIONS = 11
AIRWAY_GENERATIONS = 5
HILA_MM = ((-38.0, 6.0, 122.0), (40.0, 8.0, 116.0))
CARINA_MM = (0.0, 9.0, 98.0)
CANVAS = 1024
"""Side in pixels of the canvas for tubes; it is averaged down, which anti-aliases them."""


@dataclass(frozen=True)
class Tubes:
    """M straight tube segments in the canonical frame, in mm."""

    start: np.ndarray  # (M, 3)
    end: np.ndarray  # (M, 3)
    radius: np.ndarray  # (M,)

    @property
    def walls(self) -> Tubes:
        """The airway walls around these lumens, as tubes with the outer radius."""
        return Tubes(self.start, self.end, self.radius * 1.12 + 0.7)

    @classmethod
    def join(cls, parts: list[Tubes]) -> Tubes:
        """Concatenate several sets."""
        columns = zip(*((p.start, p.end, p.radius) for p in parts), strict=True)
        return cls(*(np.concatenate(c).astype(np.float32) for c in columns))

    def draw(self, z: float, half_thickness: float, to_pixel, pixel_mm: float) -> np.ndarray:
        """Draw the coverage (CANVAS, CANVAS) uint8, 0..255, of a slab around ``z``.

        A tube that is thinner than the slab fills only part of it and is drawn fainter.

        Args:
            z: middle of the slab in mm.
            half_thickness: half the thickness of the slab in mm.
            to_pixel: function from canonical x, y (M,) to pixel coordinates of the canvas.
            pixel_mm: side of a canvas pixel in mm.
        """
        canvas = np.zeros((CANVAS, CANVAS), np.uint8)
        z0, z1 = self.start[:, 2], self.end[:, 2]
        low, high = z - half_thickness, z + half_thickness
        hit = np.flatnonzero((np.minimum(z0, z1) < high) & (np.maximum(z0, z1) > low))
        if not len(hit):
            return canvas
        start, step = self.start[hit], (self.end - self.start)[hit]
        slope = np.where(np.abs(step[:, 2]) < 1e-3, 1e-3, step[:, 2])
        cut = np.sort(np.stack([(low - start[:, 2]) / slope, (high - start[:, 2]) / slope]), axis=0)
        cut = np.clip(cut, 0, 1)
        ends = [np.stack(to_pixel(*(start + t[:, None] * step)[:, :2].T), 1) for t in cut]
        radius = self.radius[hit]
        order = radius.argsort(kind="stable")  # draw bright tubes last, on top
        # OpenCV takes fixed-point coordinates with 4 fractional bits
        fixed = [np.rint(e[order] * 16).astype(np.int32).tolist() for e in ends]
        width = np.maximum(np.rint(2 * radius[order] / pixel_mm), 1).astype(int).tolist()
        share = np.minimum(0.15 + 1.1 * radius[order] / half_thickness, 1)
        grey = np.rint(255 * share).tolist()
        for p, q, w, g in zip(*fixed, width, grey, strict=True):
            cv2.line(canvas, p, q, g, w, cv2.LINE_8, 4)
        return canvas


def grow_tree(
    rng: np.random.Generator, root: tuple, targets: np.ndarray, radius: float, generations: int
) -> Tubes:
    """Grow a tree from ``root`` towards ``targets`` (2**GENERATIONS, 3).

    Args:
        rng: for splits and bends.
        root: start of the tree, in mm.
        targets: points to reach, in mm.
        radius: radius of the first branch, in mm; it shrinks as in a real bronchial tree.
        generations: number of generations, at most GENERATIONS.
    """
    node = np.asarray(root, np.float32)[None]
    groups = targets[None]
    parts = []
    for generation in range(generations):
        axis = groups.var(axis=1).argmax(axis=1)
        key = np.take_along_axis(groups, axis[:, None, None], axis=2)[..., 0]
        # split with noise: exact cuts would leave planes without vessels
        key = key + 0.35 * key.std(axis=1, keepdims=True) * rng.standard_normal(key.shape)
        order = key.argsort(axis=1, kind="stable")
        groups = np.take_along_axis(groups, order[..., None], axis=1)
        groups = groups.reshape(len(groups) * 2, -1, 3)
        start = node.repeat(2, axis=0)
        to_centre = groups.mean(axis=1) - start
        # the last branches must reach their targets, or the tree would leave gaps
        share = 0.42 + 0.5 * (generation / GENERATIONS) ** 2
        jitter = rng.uniform(-0.06, 0.06, (len(to_centre), 1))
        end = start + to_centre * (share + jitter).astype(np.float32)
        length = np.linalg.norm(end - start, axis=1, keepdims=True)
        bend = (start + end) / 2 + 0.06 * length * rng.standard_normal(to_centre.shape)
        r = radius * 2 ** (-(generation + 1) / 2.9) * rng.uniform(0.85, 1.15, len(to_centre))
        parts += [Tubes(start, bend, r), Tubes(bend, end, 0.92 * r)]
        node = end
    return Tubes.join(parts)


@dataclass(frozen=True)
class LungTrees:
    """The tubes of both lungs."""

    vessels: Tubes
    bronchi: Tubes
    trachea: Tubes  # with the main bronchi, which lie outside the lungs

    @classmethod
    def draw(cls, rng: np.random.Generator, anatomy: Anatomy) -> LungTrees:
        """Draw arteries, veins and bronchi of both lungs; trachea and main bronchi are fixed."""
        points = anatomy.lung_points(rng, 5 * 2**GENERATIONS, depth=3.5)
        vessels, bronchi = [], []
        for side, hilum in zip((-1, 1), HILA_MM, strict=True):
            targets = points[points[:, 0] * side > 0][: 2 * 2**GENERATIONS]
            # a small lung may contain too few points: repeat them
            targets = np.resize(targets, (2 * 2**GENERATIONS, 3))
            arteries, veins = np.split(targets, 2)
            artery_seed = int(rng.integers(2**31))
            root = np.asarray(hilum)
            artery_rng, bronchus_rng = (np.random.default_rng(artery_seed) for _ in range(2))
            vessels.append(grow_tree(artery_rng, root, arteries, 6.2, GENERATIONS))
            vessels.append(grow_tree(rng, root + (0, 4, 16), veins, 5.6, GENERATIONS))
            # bronchi run beside the arteries: the same tree with an offset
            beside = np.asarray((3.5 * side, -3.5, 2.0), np.float32)
            bronchi.append(
                grow_tree(bronchus_rng, root + beside, arteries + beside, 4.6, AIRWAY_GENERATIONS)
            )
        return cls(Tubes.join(vessels), Tubes.join(bronchi), _main_airways())


def _main_airways() -> Tubes:
    right, left = HILA_MM
    start = np.asarray([(0.0, 0.0, -20.0), CARINA_MM, CARINA_MM])
    end = np.asarray([CARINA_MM, right, left])
    return Tubes(start, end, np.asarray([8.5, 6.8, 6.0]))
