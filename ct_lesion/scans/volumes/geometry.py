"""The grid of a volume file, and whether its header gives a voxel size and orientation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import reason

from ..geometry import STRAIGHTEN, Geometry, check_geometry, shear_degrees
from ..scan import QCFinding
from .headers import missing_geometry
from .nifti_header import NiftiHeader

_RAS = np.array([[-1.0], [-1.0], [1.0]])  # signs that turn LPS into RAS
_NO_ORIENTATION = (
    "its header gives no orientation: columns, rows and slices are assumed to run to the patient's "
    "left, back and head"
)


class VolumePlace(NamedTuple):
    """The grid of a volume file, and how far its header gives it.

    Attributes:
        geometry: the grid, with 1 mm and LPS for missing values.
        has_sizes: whether the header gives the size of a voxel.
        has_axes: whether the header gives the orientation and position.
        findings: about the orientation.
    """

    geometry: Geometry
    has_sizes: bool
    has_axes: bool
    findings: list[QCFinding]


def place_of(path: Path, reader: sitk.ImageFileReader, nifti: NiftiHeader | None) -> VolumePlace:
    """Place the voxels of a volume.

    Args:
        reader: after it has read the file's header.
        nifti: the header of a NIfTI file; None for other files.

    Raises:
        DatasetError: the grid is impossible.
    """
    no_sizes, no_axes = (False, not nifti.forms) if nifti else missing_geometry(path)
    wrong = nifti.disagreements(_matrix(reader)) if nifti else {}
    geometry = _geometry(reader, certain=not no_axes and not wrong)
    check_geometry(path, geometry)
    findings = [QCFinding("no_orientation", _NO_ORIENTATION)] if no_axes else []
    if wrong:
        places = " and ".join(f"its {form} up to {mm:.1f} mm off" for form, mm in wrong.items())
        used = " and ".join(form for form in nifti.forms if form not in wrong)
        findings.append(
            QCFinding(
                "two_orientations",
                f"its NIfTI header contradicts itself: voxels are read where {used or 'pixdim'} "
                f"places them, {places}. Sides may be swapped and volumes wrong; masks get the "
                "same header",
            )
        )
    return VolumePlace(geometry, not no_sizes, not no_axes, findings)


def why_unreadable(path: Path, error: RuntimeError, nifti: NiftiHeader | None) -> str:
    """Message about a header that ITK cannot read, with advice for a sheared sform."""
    if nifti is None or "orthonormal" not in str(error) or "sform" not in nifti.forms:
        return f"{path} cannot be read as a volume ({reason(error)}). Copy or convert it again."
    axes = nifti.forms["sform"][:, :3]
    if not np.isfinite(axes).all() or not np.linalg.norm(axes, axis=0).all():
        return (
            f"{path}: the axes of its sform do not span a volume, and it has no usable qform. Add "
            "a qform."
        )
    shear = shear_degrees(axes)
    return (
        f"{path}: the axes of its sform are sheared by {shear:.1f} degrees, and it has no usable "
        f"qform. {STRAIGHTEN} If the shear is a rounding error, add a qform, e.g. with nibabel: "
        "image.set_qform(image.affine, code=1)."
    )


def _geometry(reader: sitk.ImageFileReader, certain: bool) -> Geometry:
    """Geometry of the first three dimensions; any others have length 1."""
    dimension = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (dimension, dimension))[:3, :3]
    return Geometry(
        reader.GetSize()[:3],
        reader.GetSpacing()[:3],
        reader.GetOrigin()[:3],
        tuple(float(cosine) for cosine in direction.ravel()),
        certain,
    )


def _matrix(reader: sitk.ImageFileReader) -> np.ndarray:
    """The (3, 4) matrix from voxel indices to RAS in mm."""
    grid = _geometry(reader, certain=True)
    axes = np.reshape(grid.direction, (3, 3)) * grid.spacing
    return _RAS * np.column_stack([axes, grid.origin])
