"""Small synthetic chests with voxels of about 4 mm, and changes to them: turns, arms, a table."""

from functools import cache

import numpy as np
from scipy import ndimage

from ct_lesion.phantom.patient import PhantomPatient, make_patient
from ct_lesion.scans.array import scan_from_array
from ct_lesion.scans.scan import Scan


@cache
def chest(seed: int = 3, disease: str = "NCP") -> PhantomPatient:
    """The whole chest of a patient; slices run from head to feet."""
    return make_patient(seed, disease, 96, 64, whole_chest=True)


def volume(seed: int = 3) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """HU int16 and truth bool (S, H, W) from the feet upwards, and the spacing in mm."""
    patient = chest(seed)
    hu = patient.hu[::-1].astype(np.int16)
    return hu, np.ascontiguousarray(patient.labels[::-1] > 0), patient.spacing_mm


def as_scan(hu: np.ndarray, spacing: tuple[float, float, float]) -> Scan:
    """A scan of the array."""
    return scan_from_array(hu, is_hu=True, spacing_mm=spacing)


def turned(array: np.ndarray, degrees: float, spacing, axes=(1, 2)) -> np.ndarray:
    """An array rotated about its centre in space; new voxels are air, or False in a mask."""
    first, second = axes
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second] = np.sin(angle) * spacing[second] / spacing[first]
    matrix[second, first] = -np.sin(angle) * spacing[first] / spacing[second]
    centre = (np.array(array.shape) - 1) / 2
    is_mask = array.dtype == bool
    moved = ndimage.affine_transform(
        array.astype(np.float32),
        matrix,
        centre - matrix @ centre,
        order=1,
        mode="nearest" if axes == (0, 2) else "constant",
        cval=0 if is_mask else -1000,
    )
    return moved > 0.5 if is_mask else moved.astype(np.int16)


def with_arms(hu: np.ndarray, spacing) -> np.ndarray:
    """The chest with two arms; the left one touches it and encloses a pocket of air."""
    with_air = np.pad(hu, ((0, 0), (0, 0), (24, 24)), constant_values=-1000)
    rows, columns = np.indices(with_air.shape[1:])
    for column in (10, with_air.shape[2] - 16):
        arm = np.hypot(rows - 50, columns - column) * spacing[1] < 40
        bone = np.hypot(rows - 50, columns - column) * spacing[1] < 12
        with_air[:, arm & (with_air.max(axis=0) < 3000)] = 40
        with_air[:, bone] = 700
    for row in (36, 62):  # bridges enclose the pocket
        with_air[:40, row : row + 4, -40:-16] = np.maximum(
            with_air[:40, row : row + 4, -40:-16], 30
        )
    return with_air


def with_table(hu: np.ndarray) -> np.ndarray:
    """The chest on the shell of a table with foam in it, under a blanket."""
    found = np.pad(hu, ((0, 0), (8, 12), (0, 0)), constant_values=-1000)
    found[:, -8:] = -930
    found[:, -8] = found[:, -1] = -150
    found[:, 2] = -200
    return found


def abdomen(shape: tuple[int, int, int], bubbles: int = 6) -> np.ndarray:
    """A body with organs and bowel gas, with no lung."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices(shape).astype(np.float32)
    centre = (np.array(shape) - 1) / 2
    body = np.hypot((y - centre[1]) / (0.36 * shape[1]), (x - centre[2]) / (0.45 * shape[2])) < 1
    hu = np.where(body, 45.0, -1000.0) + rng.normal(0, 15, shape)
    for _ in range(bubbles):
        at = centre + rng.uniform(-0.25, 0.25, 3) * shape
        hu[(z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < rng.uniform(3, 7) ** 2] = -980
    return hu.astype(np.int16)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks, 0..1."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())
