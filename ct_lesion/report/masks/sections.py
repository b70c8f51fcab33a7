"""The tables, the figure and the page of a comparison of lesion masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

from ct_lesion.evaluation.patient_bootstrap import (
    RESAMPLES,
    Interval,
    bootstrap_intervals,
    describe_bootstrap,
    paired_difference,
)
from ct_lesion.pages.blocks import Block, Caution, Picture, Section
from ct_lesion.pages.figures import plain_texts
from ct_lesion.pages.palette import LINE_COLOURS
from ct_lesion.pages.tables import Table
from ct_lesion.version import __version__

from ..build import Report
from .comparison import MaskComparison, Program
from .counts import MEASURES, patient_statistic

ONE_PATIENT_NOTE = (
    "There is only one patient, so there are no intervals: how well the numbers apply to other "
    "patients is unknown."
)
FEW_PATIENTS_NOTE = (
    "Only {count} patients: the intervals are far too narrow, and a difference whose interval "
    "excludes 0 may still be chance."
)
FEW_PATIENTS = 10


def comparison_report(
    comparison: MaskComparison,
    left_out: list[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """The page of a comparison, for :func:`ct_lesion.report.page.write_report`.

    Args:
        comparison: result of :func:`compare_masks`.
        left_out: lines about patients that were left out.
        resamples, seed: number of bootstrap resamples, and seed of the bootstrap.
    """
    cautions = [Caution(f"Left out: {line}.") for line in left_out]
    cautions += [Caution(line) for line in comparison.doubts]
    if len(comparison.patients) == 1:
        cautions.append(Caution(ONE_PATIENT_NOTE))
    elif len(comparison.patients) < FEW_PATIENTS:
        cautions.append(Caution(FEW_PATIENTS_NOTE.format(count=len(comparison.patients))))
    bootstrap = {"resamples": resamples, "seed": seed}
    results: list[Block] = [*cautions, *_score_tables(comparison, bootstrap)]
    sections = [Section("results", "Results", results)]
    if len(comparison.programs) > 1:
        tables = _difference_tables(comparison, bootstrap)
        sections.append(Section("differences", "Differences between programs", tables))
    patients = [_figure(comparison), _patient_table(comparison)]
    sections.append(Section("patients", "Patients", patients))
    slices = sum(map(len, comparison.slice_names.values()))
    facts = {
        "Programs": ", ".join(program.name for program in comparison.programs),
        "Truth": f"{len(comparison.patients):,} patients, {slices:,} slices",
        "Intervals": describe_bootstrap(resamples),
        "Date": date.today().isoformat(),
        "ct_lesion": __version__,
    }
    return Report("Lesion masks compared with the truth", sections, facts)


def _score_tables(comparison: MaskComparison, bootstrap: dict) -> list[Table]:
    by_program = {
        program.name: bootstrap_intervals(
            patient_statistic(program.patients), comparison.patients, **bootstrap
        )
        for program in comparison.programs
    }
    notes = [
        "A lesion is an 8-connected region of a slice"
        + (f" of at least {comparison.min_area} pixels." if comparison.min_area > 1 else ".")
        + " A slice or patient with a lesion in the truth and none predicted has Dice 0.",
        "Each mask counts as a separate patient: give only one scan of each patient.",
    ]
    rows = {
        measure: [
            [measure, name, *_numbers(intervals[measure])] for name, intervals in by_program.items()
        ]
        for measure in MEASURES
    }
    columns = ["measure", "program", "value", "from", "to"]
    title = "Programs compared with the truth"
    return [*_two_tables("scores", title, columns, rows, comparison, notes)]


def _difference_tables(comparison: MaskComparison, bootstrap: dict) -> list[Table]:
    rows: dict[str, list] = {measure: [] for measure in MEASURES}
    for a, b in combinations(comparison.programs, 2):
        intervals = paired_difference(
            patient_statistic(a.patients),
            patient_statistic(b.patients),
            comparison.patients,
            **bootstrap,
        )
        for measure, interval in intervals.items():
            excludes = None if np.isnan(interval.low) else not interval.low <= 0 <= interval.high
            pair = f"{a.name} - {b.name}"
            rows[measure].append([measure, pair, *_numbers(interval), excludes])
    columns = ["measure", "programs", "difference", "from", "to", "interval without 0"]
    notes = [
        "Each resample draws the same patients for both programs. An interval without 0 is a "
        "two-sided test at the level of 5 %, not corrected for several programs or measures."
    ]
    title = "Paired differences"
    return [*_two_tables("differences", title, columns, rows, comparison, notes)]


def _two_tables(
    name: str,
    title: str,
    columns: list[str],
    rows: Mapping[str, list],
    comparison: MaskComparison,
    notes: list[str],
) -> Iterator[Table]:
    """One table of ratios, and one of volumes.

    Args:
        rows: the rows of each measure.
        notes: notes below the first table.
    """
    digits = ",.2f" if comparison.unit == "ml" else ",.0f"
    unit = comparison.unit
    if unit == "pixels":
        unit += ", because the spacing of a truth is unknown"
    for is_volume, suffix, title_end, form in (
        (False, "", "", ".3f"),
        (True, "_volume", f": volumes in {unit}", digits),
    ):
        chosen = [measure for measure in MEASURES if ("volume" in measure) == is_volume]
        meanings = [f"{m[0].upper()}{m[1:]}: {MEASURES[m]}." for m in chosen if name == "scores"]
        yield Table(
            name + suffix,
            f"{title}{title_end}, with 95 % intervals",
            columns,
            [row for measure in chosen for row in rows[measure]],
            formats=dict.fromkeys(columns[2:5], form),
            notes=[*meanings, *([] if is_volume else notes)],
            intervals={columns[2]: ("from", "to")},
        )


def _numbers(interval: Interval) -> list[float]:
    return [interval.estimate, interval.low, interval.high]


def _patient_table(comparison: MaskComparison) -> Table:
    volume = comparison.unit
    rows = [
        [
            *(patient, program.name, counts.slices, counts.dice, counts.lesions, counts.found),
            *(counts.false, counts.truth_volume, counts.mask_volume),
        ]
        for place, patient in enumerate(comparison.patients)
        for program in comparison.programs
        for counts in [program.patients[place]]
    ]
    columns = ["patient", "program", "slices", "Dice", "lesions", "found", "false"]
    columns += [f"true {volume}", f"predicted {volume}"]
    digits = ",.2f" if volume == "ml" else ",.0f"
    formats = {"Dice": ".3f", columns[-2]: digits, columns[-1]: digits}
    return Table("patients", "Patients", columns, rows, formats)


def _figure(comparison: MaskComparison) -> Picture:
    with plain_texts():
        longest = max(map(len, comparison.patients))
        turned = len(comparison.patients) > 8 or longest > 8
        width = min(max(7, 0.16 * len(comparison.patients)), 20)
        height = 3.2 + (0.08 * longest if turned else 0.1)
        figure = Figure(figsize=(width, height), layout="constrained")
        axis = figure.subplots()
        shift = 0.12 * (np.arange(len(comparison.programs)) - (len(comparison.programs) - 1) / 2)
        for place, program in enumerate(comparison.programs):
            axis.plot(
                np.arange(len(comparison.patients)) + shift[place],
                [counts.dice for counts in program.patients],
                "osD^vPX"[place % 7],
                color=LINE_COLOURS[place % len(LINE_COLOURS)],
                label=program.name,
                markersize=5,
            )
        axis.set_xticks(range(len(comparison.patients)), comparison.patients)
        axis.tick_params("x", rotation=90 if turned else 0, labelsize=8)
        axis.set(ylim=(-0.03, 1.03), ylabel="Dice", xlabel="patient")
        axis.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside upper center", ncols=min(len(comparison.programs), 4))
    caption = (
        "Dice of all pixels of each patient. Patients without a lesion in the truth have no Dice. "
        "report.json holds the counts of each slice, with the numbers of this figure."
    )
    slices = {
        program.name: [*_slice_records(comparison, program)] for program in comparison.programs
    }
    return Picture("dice", figure, caption, {"slices": slices})


def _slice_records(comparison: MaskComparison, program: Program) -> Iterator[dict]:
    for patient, counts in program.slices.items():
        for name, counted in zip(comparison.slice_names[patient], counts, strict=True):
            dice = counted.dice if counted.truth else None
            yield {"patient": patient, "slice": name, **counted._asdict(), "dice": dice}
