"""The sections of a report, each with the results that it needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain

from ct_lesion.evaluation.patient_bootstrap import describe_bootstrap
from ct_lesion.pages.blocks import Block, Picture, Section
from ct_lesion.pages.figures import plain_texts
from ct_lesion.version import __version__

from .figures.curves import curves_figure
from .options import ReportOptions
from .paper.result_tables import (
    RunMetrics,
    class_metrics_table,
    classification_table,
    segmentation_table,
)
from .paper.size_table import size_table
from .runs.results import ClassificationResult, SegmentationResult, choose_test, choose_validation
from .runs.run_checks import RunError
from .runs.runs import Run
from .sections.calibration import calibration_blocks
from .sections.classification import (
    cautions,
    check_comparable,
    comparison_table,
    confusion_table,
    level_table,
    subgroup_tables,
    worst_blocks,
)
from .sections.explanation import explanation_blocks
from .sections.figure_2 import figure_2_blocks
from .sections.model_card import (
    INTENDED,
    LIMITS,
    claim_table,
    model_card_table,
    shared_patient_cautions,
)
from .sections.regions import region_blocks
from .sections.segmentation import check_same_truth, segmentation_blocks
from .sections.summary import summary_facts

CURVES_CAPTION = (
    "Losses and metrics during training, from metrics.json. A metric that was evaluated only once "
    "is a single point."
)


@dataclass(frozen=True)
class Report:
    """The input of :func:`ct_lesion.report.page.write_report`."""

    title: str
    sections: list[Section]
    facts: dict[str, str]


class _Material:
    """The runs, each with its evaluation to report; prints notes on what is left out."""

    def __init__(self, runs: list[Run], options: ReportOptions) -> None:
        self.runs = runs
        self.options = options
        self.by_name = {run.name: run for run in runs}
        self.segmentation = self._chosen("segmentation")
        self.classification = self._chosen("classification")
        if not self.segmentation and not self.classification:
            evaluated = {name for run in runs for name in run.segmentation | run.classification}
            raise RunError(
                f"No run was evaluated on {options.dataset}, only on "
                f"{', '.join(sorted(evaluated))}. Correct --dataset."
            )
        self._check_validation(options.validation)
        self.notes = [
            f"{run.name} was not evaluated on {options.dataset} but on "
            f"{', '.join(run.segmentation | run.classification)}, and is left out of the results."
            for run in runs
            if run.name not in self.segmentation and run.name not in self.classification
        ]
        self.notes += [note for run in runs for note in run.notes]
        for note in self.notes:
            print(f"note: {note}")

    def _check_validation(self, wanted: str | None) -> None:
        evaluated = {e for name in self.classification for e in self.by_name[name].classification}
        if wanted and wanted not in evaluated:
            raise RunError(
                f"No classifier was evaluated on {wanted}, only on "
                f"{', '.join(sorted(evaluated)) or 'no dataset'}. Correct --validation."
            )

    def _chosen(self, kind: str) -> Mapping[str, SegmentationResult | ClassificationResult]:
        chosen = {r.name: choose_test(getattr(r, kind), self.options.dataset) for r in self.runs}
        return {name: result for name, result in chosen.items() if result is not None}

    def metrics(self, results: Mapping[str, SegmentationResult | ClassificationResult]):
        for name, result in results.items():
            run = self.by_name[name]
            lesion_names = ()
            if isinstance(result, SegmentationResult):
                truth = result.truth
                lesion_names = [c["name"] for c in truth.loadCats(sorted(truth.getCatIds()))]
            yield RunMetrics(
                name, run.cfg, result.metrics, run.minutes, result.dataset, tuple(lesion_names)
            )


def build_report(runs: list[Run], options: ReportOptions) -> Report:
    """Compute the tables, figures and text of a report, and print the progress by section.

    Raises:
        UserError: a run lacks the chosen results, or the runs cannot be compared.
    """
    material = _Material(runs, options)
    check_comparable(material.classification)
    check_same_truth(material.segmentation)
    with plain_texts():
        sections = [section for section in _sections(material) if section.blocks]
    names = [run.name for run in runs]
    facts = summary_facts(names, material.segmentation, material.classification, sections)
    if material.notes:
        facts["Left out"] = " ".join(material.notes)
    facts |= {
        "Intervals": describe_bootstrap(options.resamples),
        "Date": date.today().isoformat(),
        "ct_lesion": __version__,
    }
    title = f"Report on {names[0] if len(names) == 1 else f'{len(names)} runs'}"
    return Report(title, sections, facts)


def _sections(material: _Material) -> Iterator[Section]:
    makers = {
        "segmentation": ("Lesion segmentation", _segmentation),
        "classification": ("Classification of slices, scans and patients", _classification),
        "regions": ("Regions behind the decision", _regions),
        "maps": ("Figure 2: detections, score maps and logits", _maps),
        "sizes": ("Table 1: sizes of the models and splits", _sizes),
        "training": ("Training", _training),
        "card": ("Model card and checklist", _card),
    }
    for number, (name, (title, make)) in enumerate(makers.items(), start=1):
        print(f"[{number}/{len(makers)}] {title}", flush=True)
        yield Section(name, title, make(material))


def _segmentation(material: _Material) -> list[Block]:
    results = material.segmentation
    if not results:
        return []
    table = segmentation_table(list(material.metrics(results)))
    return [table, *segmentation_blocks(results, material.options)]


def _classification(material: _Material) -> list[Block]:
    results, options = material.classification, material.options
    if not results:
        return []
    metrics = list(material.metrics(results))
    comparison = comparison_table(results, options)
    validated = {
        name: (
            result,
            choose_validation(material.by_name[name].classification, options.validation),
        )
        for name, result in results.items()
    }
    return [
        *cautions(results),
        classification_table(metrics),
        class_metrics_table(metrics),
        confusion_table(results),
        level_table(results, options),
        *([comparison] if comparison else []),
        *calibration_blocks(validated),
        *subgroup_tables(results, options),
        *worst_blocks(results),
    ]


def _regions(material: _Material) -> list[Block]:
    results = {n: r for n, r in material.classification.items() if r.roi_batches is not None}
    blocks: list[Block] = [
        f"{name}: the evaluation wrote no RoI batches. Evaluate the run again for this section."
        for name in material.classification
        if name not in results
    ]
    if results:
        blocks += region_blocks(results, material.options)
    if material.options.draw_models:
        for number, (name, result) in enumerate(results.items(), start=1):
            run = material.by_name[name]
            blocks += explanation_blocks(name, number, run, result, material.options)
    return blocks


def _maps(material: _Material) -> list[Block]:
    """Figure 2 of the first segmentation run, with the first classifier."""
    if not material.options.draw_models:
        return []
    if not material.segmentation:
        return [
            "Figure 2 needs a segmentation run, whose mask head computes the score maps. Add one "
            "to the report."
        ]
    name, result = next(iter(material.segmentation.items()))
    classifiers = list(material.classification.items())
    classifier = (material.by_name[classifiers[0][0]], classifiers[0][1]) if classifiers else None
    names = name if classifier is None else f"{name} (regions) and {classifiers[0][0]} (logits)"
    return [f"From {names}.", *figure_2_blocks((material.by_name[name], result), classifier)]


def _sizes(material: _Material) -> list[Block]:
    metrics = (material.metrics(r) for r in (material.segmentation, material.classification))
    return [size_table(list(chain(*metrics)))]


def _training(material: _Material) -> list[Block]:
    curves = {run.name: run.curves for run in material.runs if run.curves}
    if not curves:
        return []
    return [Picture("training_curves", curves_figure(curves), CURVES_CAPTION, curves)]


def _card(material: _Material) -> list[Block]:
    return [
        *shared_patient_cautions(material.runs),
        INTENDED,
        LIMITS,
        model_card_table(material.runs, material.options),
        claim_table(material.runs, material.options),
    ]
