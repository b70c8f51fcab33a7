"""Steps between the slices of a series: thickness of each slice, missing and uneven slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..scan import MISSING_SLICES, QCFinding

UNEVEN = 0.05  # of the median step
HOLE = 1.5  # slices are missing in steps above this multiple of the steps around
_AROUND = 2  # steps on each side


def slice_thicknesses(depths: Sequence[float]) -> list[float]:
    """The thickness in mm with which each slice enters volumes: the mean of its two steps.

    The first and the last slice have one step, which is their thickness. Where slices are missing,
    the usual step around the gap replaces the long one, so that the gap adds no volume.

    Args:
        depths: two or more increasing positions along the slices' normal, in mm.
    """
    steps = np.diff(depths)
    around = usual_steps(steps)
    steps = np.where(steps > HOLE * around, around, steps)
    return ((np.append(steps[:1], steps) + np.append(steps, steps[-1:])) / 2).tolist()


def step_findings(depths: Sequence[float]) -> list[QCFinding]:
    """A finding if slices are missing, or if steps differ.

    Args:
        depths: increasing positions along the slices' normal, in mm.
    """
    steps = np.diff(depths)
    if not len(steps):
        return []
    around, usual = usual_steps(steps), float(np.median(steps))
    uneven = int((np.abs(steps - usual) > UNEVEN * usual).sum())
    if not uneven:
        return []
    holes = steps > HOLE * around
    mean = f"Masks have equal steps of {steps.mean():.2f} mm"
    if holes.any():
        missing = int((np.round(steps[holes] / around[holes]) - 1).sum())
        return [
            QCFinding(
                MISSING_SLICES,
                f"{missing} slices seem to be missing: {int(holes.sum())} steps of up to "
                f"{steps[holes].max():.2f} mm, where the steps around are "
                f"{np.median(around[holes]):.2f} mm. Nothing is counted for the missing slices. "
                f"{mean}",
            )
        ]
    return [
        QCFinding(
            "uneven_slices",
            f"{uneven} of {len(steps)} steps between slices differ: {steps.min():.2f} to "
            f"{steps.max():.2f} mm, median {usual:.2f} mm. Each slice counts with its own "
            f"thickness. {mean}",
        )
    ]


def usual_steps(steps: np.ndarray) -> np.ndarray:
    """The median of the steps around each step; the step itself if it is the only one."""
    return np.array(
        [
            np.median(np.r_[steps[max(0, i - _AROUND) : i], steps[i + 1 : i + 1 + _AROUND]])
            if len(steps) > 1
            else steps[i]
            for i in range(len(steps))
        ]
    )
