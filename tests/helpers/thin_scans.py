"""Thin synthetic slices, and their facts, for the tests of the copy search."""

import functools
from itertools import islice

import numpy as np

from ct_lesion.audit.images.facts import ImageFacts, facts_of_pixels
from ct_lesion.benchmark.copies import patient_stacks

SIZE = 256


@functools.lru_cache(maxsize=4)
def thin_slices(
    seed: int = 3, stacks: int = 3, slices: int = 12, size: int = SIZE
) -> tuple[np.ndarray, ...]:
    """The slices of several stacks of a synthetic patient, stack by stack."""
    chosen = islice(patient_stacks(seed, slices, size), stacks)
    return tuple(image for stack in chosen for image in stack)


def facts_of(images: list[np.ndarray] | tuple[np.ndarray, ...]) -> list[ImageFacts]:
    """Facts of images in memory."""
    return [facts_of_pixels(image, f"image {n}") for n, image in enumerate(images)]
