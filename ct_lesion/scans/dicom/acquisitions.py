"""Separating the acquisitions of a series by tags and by the positions of their slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ct_lesion.errors import DatasetError

from .steps import HOLE, UNEVEN

if TYPE_CHECKING:
    from .headers import SliceHeader

SAME_POSITION_MM = 0.02
_SLICES_PER_PASS = 8  # with fewer on average, InstanceNumber says nothing about the order
_ADVICE = (
    "no tag tells the acquisitions apart. Put the files of each acquisition into a separate folder."
)


def separate(values: Sequence[str], depths: np.ndarray) -> list[list[int]]:
    """Separate the slices of a series by a tag if acquisitions with different values overlap.

    Acquisitions that follow each other along the table stay together. A tag that differs between
    most slices is not used, because it does not identify acquisitions.

    Args:
        values: the tag's value in each slice.
        depths: position of each slice along their normal, in mm.

    Returns:
        Indices of the slices of each acquisition.
    """
    by_value: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        by_value[value].append(index)
    if len(by_value) == 1 or 2 * len(by_value) > len(values):
        return [list(range(len(values)))]
    groups: list[list[int]] = []
    for value in sorted(by_value, key=_numeric_key):
        if groups and not overlap(depths[groups[-1]], depths[by_value[value]]):
            groups[-1] = sorted(groups[-1] + by_value[value])
        else:
            groups.append(by_value[value])
    return groups


def _numeric_key(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return 0.0, text


def distinct(depths: np.ndarray) -> np.ndarray:
    """Sorted positions without repetitions."""
    depths = np.sort(depths)
    return depths[np.diff(depths, prepend=-np.inf) > SAME_POSITION_MM]


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether slices of one acquisition lie at or between neighbouring slices of the other.

    A gap does not count: the other's slices there may be those missing from the first.

    Args:
        a, b: positions in mm.
    """
    if max(a.min(), b.min()) - min(a.max(), b.max()) > SAME_POSITION_MM:
        return False  # quickly: one lies beyond the other
    a, b = distinct(a), distinct(b)
    merged = np.sort(np.concatenate([a, b]))
    if np.diff(merged).min() <= SAME_POSITION_MM:
        return True
    return _any_between(a, b) or _any_between(b, a)


def _any_between(inner: np.ndarray, outer: np.ndarray) -> bool:
    if len(outer) < 2:
        return False
    steps = np.diff(outer)
    places = np.searchsorted(outer, inner)
    places = places[(places > 0) & (places < len(outer))]
    return bool((steps[places - 1] <= HOLE * np.median(steps)).any())


def check_one_acquisition(headers: Sequence[SliceHeader]) -> None:
    """Refuse slices of several acquisitions that no tag distinguishes.

    The signs are an InstanceNumber at two positions, InstanceNumbers or acquisition times that pass
    the same positions repeatedly, and steps that alternate between two lengths.

    Args:
        headers: sorted by position, without repeated positions.

    Raises:
        DatasetError: there is such a sign; the message names it.
    """
    by_acquisition: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        by_acquisition[header.acquisition].append(header)
    for slices in by_acquisition.values():
        _check_numbers(slices)
        _check_passes("InstanceNumber", [(h.instance, h) for h in slices])
        _check_passes("AcquisitionTime", [(h.time, h) for h in slices])
    _check_steps(headers)


def _check_numbers(slices: Sequence[SliceHeader]) -> None:
    """Refuse an InstanceNumber at two positions, unless all slices have the same one."""
    if len({header.instance for header in slices}) == 1:
        return
    seen: dict[int, SliceHeader] = {}
    for header in slices:
        if header.instance is not None:
            before = seen.setdefault(header.instance, header)
            if before is not header:
                raise DatasetError(
                    f"{header.image}: InstanceNumber {header.instance} as in {before.image.name}, "
                    f"at another position of the same series, and {_ADVICE}"
                )


def _check_passes(what: str, slices: Sequence[tuple[float | None, SliceHeader]]) -> None:
    """Refuse slices whose order by a number passes the same positions more than once."""
    numbered = sorted((n, h.depth) for n, h in slices if n is not None)
    passes: list[list[float]] = []
    for _, depth in numbered:
        run = passes[-1] if passes else []
        onwards = len(run) < 2 or (depth - run[-1]) * (run[-1] - run[-2]) > 0
        if run and onwards:
            run.append(depth)
        else:
            passes.append([depth])
    if len(passes) * _SLICES_PER_PASS > max(len(numbered), 2 * _SLICES_PER_PASS):
        return  # e.g. an anonymiser replaced the numbers by random ones
    if any(overlap(np.array(a), np.array(b)) for a, b in combinations(passes, 2)):
        raise DatasetError(
            f"{slices[0][1].path.parent}: the slices pass the same positions {len(passes)} times "
            f"in the order of {what}, and {_ADVICE}"
        )


def _check_steps(headers: Sequence[SliceHeader]) -> None:
    """Refuse steps that alternate, like those of two acquisitions that are slightly shifted."""
    steps = np.diff([header.depth for header in headers])
    if len(steps) < 6:
        return
    tolerance = UNEVEN * np.median(steps)
    alternating = (np.abs(steps[2:] - steps[:-2]) <= tolerance) & (
        np.abs(steps[1:-1] - steps[:-2]) > tolerance
    )
    if 2 * alternating.sum() > len(alternating):
        raise DatasetError(
            f"{headers[0].path.parent}: the steps between slices alternate between "
            f"{steps.min():.2f} and {steps.max():.2f} mm, like those of two acquisitions, and "
            f"{_ADVICE}"
        )
