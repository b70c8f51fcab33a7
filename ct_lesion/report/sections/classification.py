"""Classification: metrics by slice, scan and patient, confusions, comparisons, subgroups."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ct_lesion.evaluation.aggregation import RULE, aggregate, scan_units
from ct_lesion.evaluation.classification_intervals import classification_intervals
from ct_lesion.evaluation.classification_metrics import confusion_matrix
from ct_lesion.evaluation.patient_bootstrap import Interval
from ct_lesion.evaluation.run_comparison import MCNEMAR_NOTE, check_same_slices, compare_runs
from ct_lesion.evaluation.subgroups import read_metadata, subgroup_metrics, subgroup_names
from ct_lesion.pages.blocks import Block, Caution, Picture
from ct_lesion.pages.tables import Table

from ..options import ReportOptions
from ..runs.results import ClassificationResult
from ..runs.run_checks import RunError
from .worst_slices import (
    classified_slices_figure,
    read_grey,
    worst_classified,
    worst_classified_table,
)

LEVELS = ("slices", "scans", "patients")
WORST = 8
Results = Mapping[str, ClassificationResult]  # by the name of the run


def at_level(
    result: ClassificationResult, level: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Labels (U,), logits (U, C) and patients (U,) of U slices, scans or patients.

    The last value names the scans or patients that are left out, because their slices have
    several true classes.
    """
    if level == "slices":
        return result.labels, result.logits, result.patients, ()
    units = result.patients
    if level == "scans":
        units = scan_units(result.patients, result.scans)
    whole = aggregate(result.labels, result.logits, units)
    return whole.labels, whole.logits, result.patients[whole.first], whole.mixed


def level_table(results: Results, options: ReportOptions) -> Table:
    """All metrics with intervals by slice, scan and patient."""
    rows, notes = [], [RULE]
    for name, result in results.items():
        levels: dict[str, dict[str, Interval]] = {}
        sizes, left_out = [], []
        for level in LEVELS:
            labels, logits, patients, mixed = at_level(result, level)
            levels[level] = classification_intervals(
                labels,
                logits,
                result.class_names,
                patients,
                resamples=options.resamples,
                seed=options.seed,
            )
            sizes.append(f"{len(labels):,} {level}")
            if mixed:
                left_out.append(
                    f"{name}: {len(mixed)} {level} are left out, because their slices have several "
                    f"true classes, e.g. {mixed[0]}."
                )
        notes += [f"{name}: {', '.join(sizes)}.", *left_out]
        for metric in levels["slices"]:
            values = [_percent(levels[level][metric]) for level in LEVELS]
            rows.append([name, metric, *(number for triple in values for number in triple)])
    intervals = {f"{level}, %": (f"{level}: low", f"{level}: high") for level in LEVELS}
    columns = [name for level, ends in intervals.items() for name in (level, *ends)]
    return Table(
        "classification_levels",
        "By slice, scan and patient, in percent, with 95 % intervals",
        ["run", "metric", *columns],
        rows,
        dict.fromkeys(columns, ".1f"),
        notes,
        intervals,
    )


def _percent(interval: Interval) -> tuple[float, float, float]:
    return 100 * interval.estimate, 100 * interval.low, 100 * interval.high


def confusion_table(results: Results) -> Table:
    """Counts of slices; one row per run and true class."""
    classes = next(iter(results.values())).class_names
    rows = []
    for name, result in results.items():
        counts = confusion_matrix(result.labels, result.logits.argmax(axis=1), len(classes))
        rows += [[name, c, *map(int, row)] for c, row in zip(classes, counts, strict=True)]
    columns = ["run", "true class", *(f"predicted {c}" for c in classes)]
    return Table("confusion", "Confusion matrix, in slices", columns, rows)


def cautions(results: Results) -> list[Caution]:
    """Warnings about test sets that lack a class or hold a single patient."""
    texts = []
    for result in results.values():
        missing = [c for i, c in enumerate(result.class_names) if not (result.labels == i).any()]
        if missing:
            texts.append(
                f"{result.dataset} holds no slice of {' or '.join(missing)}, so the "
                f"sensitivity and AUC of {'these classes' if missing[1:] else 'this class'} are "
                "undefined."
            )
        patients = len(np.unique(result.patients))
        if patients < 2:
            texts.append(f"{result.dataset} holds only one patient, so there are no intervals.")
    return [Caution(text) for text in dict.fromkeys(texts)]


def check_comparable(results: Results) -> None:
    """Refuse runs that were evaluated on different slices or with different numbers of regions.

    Raises:
        SliceMismatch: the slices differ.
        RunError: the true classes or MODEL.ROI_BATCH.SIZE differ.
    """
    for (name_a, a), (name_b, b) in combinations(results.items(), 2):
        order = check_same_slices(a.image_ids, b.image_ids, name_a, name_b)
        if a.class_names != b.class_names or (a.labels != b.labels[order]).any():
            raise RunError(
                f"{name_a} and {name_b} have different true classes for the same slices. Evaluate "
                "both on the same version of the dataset."
            )
        sizes = {
            name: r.roi_batches.roi_batch.shape[1]
            for name, r in ((name_a, a), (name_b, b))
            if r.roi_batches is not None
        }
        if len(set(sizes.values())) > 1:
            both = " and ".join(
                f"{size} regions per slice in {name}" for name, size in sizes.items()
            )
            raise RunError(
                f"MODEL.ROI_BATCH.SIZE differs ({both}), so counts of regions cannot be compared. "
                "Report the runs separately."
            )


def comparison_table(results: Results, options: ReportOptions) -> Table | None:
    """One row per pair of runs; ``None`` for a single run."""
    rows = []
    for (name_a, a), (name_b, b) in combinations(results.items(), 2):
        order = check_same_slices(a.image_ids, b.image_ids, name_a, name_b)
        found = compare_runs(
            a.labels,
            a.logits,
            b.logits[order],
            a.patients,
            resamples=options.resamples,
            seed=options.seed,
        )
        difference = [
            100 * v
            for v in (found.difference.estimate, found.difference.low, found.difference.high)
        ]
        counts = (found.both, found.only_a, found.only_b, found.neither)
        accuracies = (100 * found.accuracy_a, 100 * found.accuracy_b)
        rows.append([name_a, name_b, *accuracies, *difference, *counts, found.mcnemar_p])
    if not rows:
        return None
    percent = ["accuracy A, %", "accuracy B, %", "A - B", "A - B: low", "A - B: high"]
    counted = ["both right", "only A right", "only B right", "neither right"]
    return Table(
        "comparison",
        "Accuracy of runs on the same slices, with 95 % intervals",
        ["A", "B", *percent, *counted, "McNemar p"],
        rows,
        {**dict.fromkeys(percent, ".1f"), "McNemar p": ".2g"},
        [MCNEMAR_NOTE],
        {"A - B": ("A - B: low", "A - B: high")},
    )


def subgroup_tables(results: Results, options: ReportOptions) -> list[Table]:
    """One table per chosen column of the metadata file, with a row per subgroup and metric.

    Raises:
        MetadataError: the file or a column cannot be used.
    """
    tables = []
    for column in options.subgroups if options.metadata else ():
        metadata = read_metadata(options.metadata, column)
        rows: list[list] = []
        for name, result in results.items():
            groups = subgroup_names(metadata, result.files, result.scans, result.patients)
            for group in subgroup_metrics(
                result.labels,
                result.logits,
                result.class_names,
                result.patients,
                groups,
                resamples=options.resamples,
                seed=options.seed,
            ):
                counts = (group.slices, group.patients)
                rows += [
                    [name, group.name, *counts, metric, *_percent(interval), group.warning]
                    for metric, interval in group.metrics.items()
                ]
        shown = ["%", "low", "high"]
        tables.append(
            Table(
                f"subgroups_{len(tables) + 1}",
                f"By {column}, in percent, with 95 % intervals",
                ["run", column, "slices", "patients", "metric", *shown, "warning"],
                rows,
                dict.fromkeys(shown, ".1f"),
                intervals={"%": ("low", "high")},
            )
        )
    return tables


def worst_blocks(results: Results) -> list[Block]:
    """Pictures and tables of the slices that each run misclassifies with most confidence."""
    blocks: list[Block] = []
    for number, (name, result) in enumerate(results.items(), start=1):
        worst = worst_classified(result.labels, result.logits, WORST)
        if not len(worst):
            blocks.append(f"{name} classified every slice correctly.")
            continue
        blocks += _worst_picture(name, number, result, worst)
        blocks.append(
            worst_classified_table(
                f"worst_slices_{number}",
                f"{name}: misclassified slices, the most confident first",
                worst,
                files=result.files,
                patients=result.patients,
                labels=result.labels,
                logits=result.logits,
                class_names=result.class_names,
            )
        )
    return blocks


def _worst_picture(
    name: str, number: int, result: ClassificationResult, worst: Sequence[int]
) -> list[Block]:
    drawn = [(i, image) for i in worst if (image := read_grey(result.files[i])) is not None]
    if not drawn:
        return [f"{name}: the images of {result.dataset} were moved or deleted; no slice is drawn."]
    predicted = result.logits.argmax(axis=1)
    titles = [
        f"{result.class_names[result.labels[i]]}\npredicted {result.class_names[predicted[i]]}"
        for i, _ in drawn
    ]
    figure = classified_slices_figure([image for _, image in drawn], titles)
    caption = f"{name}: misclassified slices, the most confident first."
    return [Picture(f"worst_slices_{number}", figure, caption)]
