"""Searches 60,000 slices for copies: time relative to decoding, precision and recall."""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from ct_lesion.audit.copies.kinds import COPY_KINDS
from ct_lesion.audit.copies.search import find_copies
from ct_lesion.audit.copies.trials import TrialRow, count_links
from ct_lesion.audit.images.facts import ImageFacts, facts_of_pixels, read_image_facts
from ct_lesion.phantom.patient import DISEASES, make_patient
from ct_lesion.pictures import write_picture
from ct_lesion.scans.windows import window_to_uint8

from .data import decode_image, seconds_of
from .inputs import chest_slices
from .measure import Measured, Settings
from .prediction import GIB

PATIENTS, SLICES = 40, 100  # synthetic patients; slices in each of their LEVELS stacks
LEVELS = 12  # slices of a synthetic patient, 14 mm apart; a stack is made from each
EVERY = 4  # every fourth slice is copied
SIZE = 256  # height and width of the searched slices in pixels
FIRST_SEED = 1000  # the search was not tuned on patients of these seeds
FILES = 60  # images that are decoded
WORKERS = 2
STEP_MM = 0.5  # root mean square displacement from slice to slice, as if they were 1 mm apart
NOISE_HU = 15.0
_FIELDS = 6
_PERIODS = (30.0, 80.0)  # slices
_NOISES = 32


def patient_stacks(seed: int, slices: int, size: int) -> Iterator[np.ndarray]:
    """Yield ``LEVELS`` stacks of slices as similar as those of a thin CT.

    Making tens of thousands of slices of synthetic patients would take too long. Instead, one slice
    of a patient is deformed by smooth fields whose amplitudes oscillate along the stack, and random
    noise is added to each result.

    Args:
        seed: seed of the patient.
        slices: number S of slices per stack.
        size: height H and width W in pixels.

    Yields:
        ``(S, H, W)`` uint8, in the lung window.
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
    # the sum of the fields changes by ``step`` (root mean square) from slice to slice
    amplitude = step / pace * np.sqrt(2 / _FIELDS)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    stack = np.empty((slices, size, size), np.uint8)
    for z, out in enumerate(stack):
        amount = (amplitude * np.sin(pace * z + phase)).astype(np.float32)
        dx, dy = np.tensordot(amount, fields, 1)
        moved = cv2.remap(hu, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        shift = rng.integers(0, size, 2)
        moved += NOISE_HU * np.roll(noises[rng.integers(_NOISES)], shift, (0, 1))
        out[:] = window_to_uint8(moved)
    return stack


def _field(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(2, H, W)``: a smooth displacement field of unit root mean square."""
    coarse = rng.standard_normal((2, 7, 7)).astype(np.float32)
    field = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse])
    return field / np.sqrt((field**2).sum(axis=0).mean())


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """``(H, W)`` noise of unit standard deviation, correlated over a pixel or two."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), 0.6)
    return noise / noise.std()


def make_facts(seed: int, slices: int, size: int) -> tuple[list[ImageFacts], list[tuple[int, int]]]:
    """Compute facts of the slices of a synthetic patient, and of copies of every fourth slice.

    Returns:
        The facts, originals first; and for each copy the indices of its kind and of its original.
    """
    originals, copies, made = [], [], []
    for stack in patient_stacks(seed, slices, size):
        for image in stack:
            number = len(originals)
            originals.append(facts_of_pixels(image, f"patient {seed}, slice {number}"))
            if number % EVERY == 0:
                kind = (number // EVERY + seed) % len(COPY_KINDS)
                copy = COPY_KINDS[kind].copy(image)
                copies.append(facts_of_pixels(copy, f"patient {seed}, copy of slice {number}"))
                made.append((kind, number))
    return originals + copies, made


def make_all() -> tuple[list[ImageFacts], list[tuple[int, int]]]:
    """:func:`make_facts` for all ``PATIENTS``, in two processes."""
    originals, copies, made = [], [], []
    work = partial(make_facts, slices=SLICES, size=SIZE)
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for facts, made_here in pool.map(work, range(FIRST_SEED, FIRST_SEED + PATIENTS)):
            count = len(facts) - len(made_here)
            made += [(kind, len(originals) + number) for kind, number in made_here]
            originals += facts[:count]
            copies += facts[count:]
    return originals + copies, made


def search(
    facts: list[ImageFacts], made: list[tuple[int, int]]
) -> tuple[float, list[TrialRow], int]:
    """Search all slices for copies.

    Returns:
        Seconds, the result of each kind of copy, and the number of links between two originals,
        which are all wrong.
    """
    links = []
    seconds = seconds_of(lambda: links.extend(find_copies(facts)))
    count = len(facts) - len(made)
    rows = count_links(links, made, range(count))
    return seconds, rows, sum(link.j < count for link in links)


def time_files(folder: Path, files: int, size: int) -> tuple[float, float]:
    """Median seconds to decode a PNG, and to read all of its facts; measured alternately."""
    decoding, reading = [], []
    for number, item in enumerate(chest_slices(files, size)):
        path = folder / f"{number}.png"
        write_picture(path, item["image"][0].numpy())
        decoding.append(seconds_of(partial(decode_image, path)))
        reading.append(seconds_of(partial(read_image_facts, path)))
    return statistics.median(decoding), statistics.median(reading)


def measure_copy_search(settings: Settings) -> Measured:
    """Time to read a slice's facts and search for its copies, relative to decoding the slice."""
    with tempfile.TemporaryDirectory(prefix="ct_lesion_benchmark_") as folder:
        decoding, reading = time_files(Path(folder), FILES, settings.size)
    facts, made = make_all()
    seconds, rows, between_originals = search(facts, made)
    found, wrong = sum(r.found for r in rows), sum(r.wrong for r in rows) + between_originals
    values = {
        "slices": len(facts),
        "copies among them": len(made),
        "seconds to search": seconds,
        f"ms to decode an image of {settings.size} px": decoding * 1e3,
        "reading all facts, over decoding": reading / decoding,
        "searching, over decoding": seconds / len(facts) / decoding,
        "most memory of the process, GiB": _peak_gib(),
        "precision": found / (found + wrong),
        "recall": found / len(made),
        "wrong links between originals": between_originals,
    }
    for row in rows:
        values[f"{row.kind}: recall"] = row.recall
        values[f"{row.kind}: precision"] = row.precision
    return Measured((reading + seconds / len(facts)) / decoding, values)


def _peak_gib() -> float:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / GIB
