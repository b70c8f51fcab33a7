"""Two classification runs on the same slices, on the page."""

from collections.abc import Mapping
from itertools import combinations

from ct_lesion.evaluation.patient_bootstrap import describe_bootstrap
from ct_lesion.evaluation.run_comparison import MCNEMAR_NOTE, check_same_slices, compare_runs
from ct_lesion.pages.tables import Table

from ..options import ReportOptions
from ..runs.runs import ClassificationResult, RunError


def check_comparable(results: Mapping[str, ClassificationResult]) -> None:
    """Refuse to set runs side by side that were evaluated on other slices or with another N.

    Raises:
        SliceMismatch: other slices; says how many and names one.
        RunError: other true classes, or another number of regions.
    """
    for (name_a, a), (name_b, b) in combinations(results.items(), 2):
        order = check_same_slices(a.image_ids, b.image_ids, name_a, name_b)
        if a.class_names != b.class_names or (a.labels != b.labels[order]).any():
            raise RunError(f"{name_a} and {name_b} have the same slices with other true classes.")
        sizes = {
            name: r.roi_batches.roi_batch.shape[1]
            for name, r in ((name_a, a), (name_b, b))
            if r.roi_batches is not None
        }
        if len(set(sizes.values())) > 1:
            said = " and ".join(f"{size} regions a slice in {name}" for name, size in sizes.items())
            raise RunError(
                f"There are {said} (MODEL.ROI_BATCH.SIZE), whose counts cannot stand side by side: "
                "report the runs one by one."
            )


def comparison_table(
    results: Mapping[str, ClassificationResult], options: ReportOptions
) -> Table | None:
    """Every pair of runs; ``None`` for a single run. The runs must be comparable."""
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
    counted = ["both right", "only A right", "only B right", "none right"]
    return Table(
        "comparison",
        "Runs compared on the same slices",
        ["A", "B", *percent, *counted, "McNemar p"],
        rows,
        {**dict.fromkeys(percent, ".1f"), "McNemar p": ".2g"},
        [MCNEMAR_NOTE, describe_bootstrap(options.resamples)],
    )
