"""Stacks of slices as alike as those of a thin CT, tens of thousands in a minute or two.

A synthetic patient takes too long for so many. So a slice of one is moved from slice to slice by
smooth fields, each of which comes and goes along the stack, and each slice has noise of its own.
S slices of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from ct_lesion.phantom.patient import DISEASES, make_patient
from ct_lesion.scans.windows import window_to_uint8

LEVELS = 12  # slices of one synthetic patient, 14 mm apart: each becomes a stack
STEP_MM = 0.5
"""How far a pixel moves from one slice to the next, root mean square: slices about 1 mm apart."""
NOISE_HU = 15.0
_FIELDS = 6
_PERIODS = (30.0, 80.0)  # slices
_NOISES = 32


def patient_stacks(seed: int, slices: int, size: int) -> Iterator[np.ndarray]:
    """The stacks of a synthetic patient, LEVELS of them.

    Args:
        seed: of the patient; another seed gives another one.
        slices: of each stack.
        size: pixels a side.

    Yields:
        ``(S, H, W)`` uint8, through the lung window.
    """
    patient = make_patient(seed, DISEASES[seed % len(DISEASES)], size, LEVELS)
    rng = np.random.default_rng(seed)
    noises = [_noise(rng, size) for _ in range(_NOISES)]
    step = STEP_MM / patient.spacing_mm[1]
    for hu in patient.hu:
        yield _stack(hu, slices, step, noises, rng)


def _stack(
    hu: np.ndarray, slices: int, step: float, noises: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    size = len(hu)
    fields = np.stack([_field(rng, size) for _ in range(_FIELDS)])
    pace = 2 * np.pi / rng.uniform(*_PERIODS, _FIELDS)
    phase = rng.uniform(0, 2 * np.pi, _FIELDS)
    # each field brings its share of a step: the sum of all is ``step`` in root mean square
    size_of = step / pace * np.sqrt(2 / _FIELDS)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    stack = np.empty((slices, size, size), np.uint8)
    for z, out in enumerate(stack):
        amount = (size_of * np.sin(pace * z + phase)).astype(np.float32)
        dx, dy = np.tensordot(amount, fields, 1)
        moved = cv2.remap(hu, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        shift = rng.integers(0, size, 2)
        moved += NOISE_HU * np.roll(noises[rng.integers(_NOISES)], shift, (0, 1))
        out[:] = window_to_uint8(moved)
    return stack


def _field(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(2, H, W)``: a smooth field of movement of unit root mean square."""
    coarse = rng.standard_normal((2, 7, 7)).astype(np.float32)
    field = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse])
    return field / np.sqrt((field**2).sum(axis=0).mean())


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(H, W)`` of unit standard deviation, with a grain of a pixel or two."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), 0.6)
    return noise / noise.std()
