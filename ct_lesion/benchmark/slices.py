"""Slices to measure on: synthetic chest CT, the same on every machine."""

import functools

import numpy as np
import torch

from ct_lesion.phantom.patient import make_patient
from ct_lesion.scans.windows import WINDOWS, window_to_uint8


@functools.lru_cache(maxsize=4)
def chest_slices(count: int, size: int) -> tuple[dict, ...]:
    """Inputs of a model: slices of a synthetic COVID-19 patient, through the lesions.

    Args:
        count: number of slices.
        size: height and width in pixels, at least 64.

    Returns:
        dicts with ``image`` (3, size, size) uint8, ``height`` and ``width``.
    """
    patient = make_patient(0, "NCP", size, count, around_lesions=True)
    grey = window_to_uint8(patient.hu, *WINDOWS["lung"])
    images = torch.from_numpy(np.repeat(grey[:, None], 3, axis=1))
    return tuple({"image": image, "height": size, "width": size} for image in images)
