"""Counts of RoIs above a score beside the paper's Tables 4 and 5."""

from collections.abc import Mapping, Sequence

from ct_lesion.evaluation.patient_bootstrap import CONFIDENCE
from ct_lesion.evaluation.region_statistics import ALPHA, KS_NOTE, CountSummary, KSTest
from ct_lesion.pages.tables import Cell, Table

from .paper import load_paper

COPIES_NOTE = (
    "The counts include the regions that passed MODEL.ROI_BATCH.SCORE_THRESH and NMS, at most "
    "MODEL.ROI_BATCH.SIZE per slice. Copies that pad an RoI batch are not counted."
)


def region_count_table(results: Mapping[str, Sequence[CountSummary]]) -> Table:
    """The paper's Table 4: number of RoIs per slice above a score, by class.

    Args:
        results: keyed by run name, from
            :func:`ct_lesion.evaluation.region_statistics.describe_counts`.
    """
    paper = load_paper()
    interval = f"{100 * CONFIDENCE:g} % CI of the mean"
    columns = [
        "run",
        "class",
        "score above",
        "slices",
        "patients",
        "padded slices",
        "mean ± 1.96 SD, paper",
        "mean",
        f"{interval}: low",
        f"{interval}: high",
        "1.96 SD",
    ]
    rows: list[list[Cell]] = [
        [
            run,
            cell.class_name,
            cell.threshold,
            cell.slices,
            cell.patients,
            cell.padded,
            paper.region_counts.get((cell.class_name, cell.threshold)),
            cell.mean.estimate,
            cell.mean.low,
            cell.mean.high,
            cell.spread,
        ]
        for run, summaries in results.items()
        for cell in summaries
    ]
    return Table(
        "table_4",
        "Table 4: number of RoIs per slice above a score, with 95 % intervals of the mean",
        columns,
        rows,
        dict.fromkeys(columns[7:], ".3f"),
        [
            'The "±" of the paper appears to be 1.96 standard deviations of the counts, i.e. the '
            "spread of the slices.",
            COPIES_NOTE,
            paper.reference("Table 4"),
            *paper.notes_on("Table 4"),
        ],
        {"mean": (columns[8], columns[9])},
    )


def region_test_table(results: Mapping[str, Sequence[KSTest]]) -> Table:
    """The paper's Table 5: one-sided Kolmogorov-Smirnov tests of the counts, by pair of classes.

    Args:
        results: keyed by run name, from
            :func:`ct_lesion.evaluation.region_statistics.ks_tests`.
    """
    paper = load_paper()
    columns = [
        "run",
        "pair",
        "score above",
        "statistic/p, paper",
        "statistic",
        "p",
        "p, Holm",
        f"p < {ALPHA:g}",
        f"p, Holm < {ALPHA:g}",
        "alternative",
    ]
    rows: list[list[Cell]] = [
        [
            run,
            f"{test.first} / {test.second}",
            test.threshold,
            paper.ks_tests.get((test.first, test.second, test.threshold)),
            test.reason or test.statistic,
            test.p,
            test.p_holm,
            test.significant,
            test.significant_holm,
            test.alternative,
        ]
        for run, tests in results.items()
        for test in tests
    ]
    return Table(
        "table_5",
        "Table 5: do slices of one class have more RoIs above a score?",
        columns,
        rows,
        {"statistic": ".3f", "p": ".2g", "p, Holm": ".2g"},
        [
            "One-sided two-sample Kolmogorov-Smirnov tests of the numbers of RoIs in a slice. Each "
            "row states its alternative; equivalently, the distribution function of the first "
            "class lies below that of the second. Holm: corrected for all tests of the run. N/A: a "
            "sample is constant, or there are no slices.",
            COPIES_NOTE,
            KS_NOTE,
            paper.reference("Table 5"),
            *paper.notes_on("Table 5"),
        ],
    )
