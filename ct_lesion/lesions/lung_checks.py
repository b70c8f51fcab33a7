"""Checks that the air found is two lungs. Limits are wide: diseased lungs are small and uneven.

Z x Y x X voxels of the coarse grid; volumes in ml.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LUNGS_ML = (800.0, 10_000.0)
"""Volume of both lungs, from children to adults at full inspiration."""
LEAST_SYMMETRY = 0.4
"""Smaller lung's volume as a share of the larger one's; about 0.85 in healthy lungs."""
SHARE_OF_BODY = (0.1, 0.7)
"""Lung as a share of the body's volume in the slices with lung."""
MEDIAN_HU = (-965.0, -500.0)
"""Median HU of the air in the lungs."""
FULL_SECTION = 0.9
"""Share of the largest section above which the first or last one shows too little lung."""
CUT_SECTION = 0.05
"""Share of the largest section above which the first or last one cuts the lungs."""
EDGE_MM2 = 300.0
"""Largest area where the lungs may touch the outside of the body in the next slice."""


@dataclass(frozen=True)
class LungFacts:
    """The measures of the lungs that are checked.

    Attributes:
        volumes_ml: volume of each lung, from the patient's right.
        share_of_body: lung as a share of the body's volume in the slices with lung.
        median_hu: median HU of the air in the lungs.
        first_section, last_section: area of the lungs in the scan's first and last slice, as a
            share of their largest section.
        edge_mm2: area where the lungs touch the outside of the body in the next slice.
        astride: whether the lungs lie on both sides of the body's midline.
    """

    volumes_ml: tuple[float, ...]
    share_of_body: float
    median_hu: float
    first_section: float
    last_section: float
    edge_mm2: float
    astride: bool

    @property
    def symmetry(self) -> float:
        """Volume of the smaller lung as a share of the larger one's; 0 without two lungs."""
        return min(self.volumes_ml) / max(self.volumes_ml) if len(self.volumes_ml) == 2 else 0.0

    @property
    def is_cut(self) -> bool:
        """Whether the scan starts or ends within the lungs."""
        return max(self.first_section, self.last_section) > CUT_SECTION


def doubt_about(facts: LungFacts) -> str | None:
    """Why the air found may not be two lungs, as a clause; ``None`` if all checks pass."""
    total = sum(facts.volumes_ml)
    if not MEDIAN_HU[0] <= facts.median_hu <= MEDIAN_HU[1]:
        return (
            f"the air inside the body has a median of {facts.median_hu:.0f} HU, lungs have "
            f"{MEDIAN_HU[0]:g} to {MEDIAN_HU[1]:g}"
        )
    if total < LUNGS_ML[0] or total > LUNGS_ML[1]:
        return (
            f"{total:.0f} ml were found, two lungs have {LUNGS_ML[0]:.0f} to {LUNGS_ML[1]:.0f} ml"
        )
    if len(facts.volumes_ml) < 2 or not facts.astride:
        return "two lungs, one on each side of the body, were not found"
    if facts.symmetry < LEAST_SYMMETRY:
        low, high = sorted(facts.volumes_ml)
        return f"one lung has {low:.0f} ml and the other {high:.0f} ml"
    if max(facts.first_section, facts.last_section) > FULL_SECTION:
        return "the scan ends where the lungs are widest"
    if facts.edge_mm2 > EDGE_MM2:
        return "a lung reaches the edge of the images"
    if not SHARE_OF_BODY[0] <= facts.share_of_body <= SHARE_OF_BODY[1]:
        return (
            f"{facts.share_of_body:.0%} of the body were found, lungs take {SHARE_OF_BODY[0]:.0%} "
            f"to {SHARE_OF_BODY[1]:.0%}"
        )
    return None


def end_sections(lungs: np.ndarray) -> tuple[float, float]:
    """Area of the lungs in the first and the last slice, as a share of the largest section."""
    areas = lungs.sum(axis=(1, 2))
    return tuple(float(area) / max(int(areas.max()), 1) for area in (areas[0], areas[-1]))


def edge_voxels(lungs: np.ndarray, outside: np.ndarray) -> int:
    """Number of lung voxels with a voxel outside the body directly above or below."""
    return int((lungs[1:] & outside[:-1]).sum() + (lungs[:-1] & outside[1:]).sum())
