"""Runs all checks of an audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .classes.balance import (
    Association,
    ClassCount,
    associations,
    count_classes,
    find_associations,
    find_imbalance,
)
from .classes.probe_features import find_shortcuts, probe_groups
from .classes.shortcut_probe import ProbeResult
from .copies.findings import (
    PatientPair,
    find_copied,
    find_copied_within,
    search_between_groups,
    search_within_groups,
)
from .copies.pictures import PairPicture, draw_pairs
from .copies.trials import TrialReport, run_trial
from .findings import Finding, NotChecked, Severity, by_severity
from .images.checks import SliceImage, find_image_problems, read_images
from .inputs.slices import AuditInput, groups_of
from .masks.annotations import check_annotations
from .masks.labels import MaskSummary, check_masks
from .names import find_label_conflicts, find_not_comparable, find_shared
from .thresholds import THRESHOLDS

NO_IMAGES = "images were not opened because of --no-images"


@dataclass(frozen=True)
class AuditOptions:
    """The user's options.

    Attributes:
        same_numbers: a patient id means the same person in all inputs.
        images: open the images; otherwise only names and lists are compared.
        trial: number of images to test the copy search on; 0 for no test.
        seed: random seed of resampling and of the trial.
    """

    same_numbers: bool = False
    images: bool = True
    trial: int = 0
    seed: int = 0


@dataclass
class Audit:
    """The findings of an audit and the numbers behind them.

    Attributes:
        images: number of images read.
        probes: results of the shortcut probe by group.
        pairs: pairs of patients of different groups with images in common.
        pictures: thumbnails of some of their images.
        copies: all pairs of patients with images in common, also within a group, as plain values.
        trial: test of the copy search; ``None`` if not requested.
    """

    inputs: list[AuditInput]
    options: AuditOptions
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    images: int = 0
    counts: list[ClassCount] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)
    masks: list[MaskSummary] = field(default_factory=list)
    probes: dict[str, list[ProbeResult]] = field(default_factory=dict)
    pairs: list[PatientPair] = field(default_factory=list)
    pictures: list[PairPicture] = field(default_factory=list)
    copies: list[dict[str, Any]] = field(default_factory=list)
    trial: TrialReport | None = None

    @property
    def severities(self) -> dict[str, int]:
        """Number of findings of each severity."""
        severities = [finding.severity for finding in self.findings]
        return {str(severity): severities.count(severity) for severity in Severity}

    def fails(self, strict: bool = False) -> bool:
        """Whether there are errors, or with ``strict`` warnings."""
        severities = self.severities
        return bool(severities[Severity.ERROR] or (strict and severities[Severity.WARNING]))

    def as_dict(self) -> dict[str, Any]:
        """The content of ``audit.json`` as plain values; undefined numbers are NaN."""
        return {
            "severities": self.severities,
            "findings": [finding.as_dict() for finding in self.findings],
            "not_checked": [asdict(item) for item in self.not_checked],
            "inputs": [dataset.describe() for dataset in self.inputs],
            "options": asdict(self.options),
            "images_read": self.images,
            "classes": [asdict(counts) for counts in self.counts],
            "associations": [asdict(table) for table in self.associations],
            "masks": [asdict(summary) for summary in self.masks],
            "shortcut_probe": {
                group: [{**asdict(r), "is_shortcut": r.is_shortcut} for r in results]
                for group, results in self.probes.items()
            },
            "copies": self.copies,
            "copy_search_trial": self.trial.as_dict() if self.trial else None,
            "thresholds": {
                name: {"value": float(threshold), "meaning": threshold.meaning}
                for name, threshold in THRESHOLDS.items()
            },
        }


def run_audit(
    inputs: Sequence[AuditInput],
    options: AuditOptions,
    progress: Callable[[str], None] = print,
) -> Audit:
    """Run all checks.

    Args:
        inputs: result of :func:`ct_lesion.audit.inputs.arguments.read_inputs`.
        options: the user's options.
        progress: called with one line at the start of each part.
    """
    audit = Audit(list(inputs), options)
    for dataset in inputs:
        audit.findings += dataset.findings
        audit.not_checked += dataset.not_checked
    progress("[1/5] names: patients, scans, slices and files in two groups; classes")
    _check_names(audit)
    progress("[2/5] lesion masks and annotations")
    _check_masks(audit)
    if options.images and any(s.has_image for dataset in inputs for s in dataset.slices):
        progress("[3/5] image files")
        with read_images(inputs, audit.findings.append) as images:
            _check_images(audit, images, progress)
            progress("[5/5] shortcuts: classes from file properties")
            _probe(audit, images)
    else:
        why = "there are no images" if options.images else NO_IMAGES
        audit.not_checked.append(NotChecked("damaged images, copies between groups", why))
        _probe(audit, [])
    audit.findings = by_severity(audit.findings)
    return audit


def _check_names(audit: Audit) -> None:
    same_numbers = audit.options.same_numbers
    audit.findings += find_shared(audit.inputs, same_numbers)
    audit.findings += find_label_conflicts(audit.inputs)
    audit.not_checked += find_not_comparable(audit.inputs, same_numbers)
    audit.counts = count_classes(audit.inputs)
    audit.associations, skipped = associations(audit.inputs, audit.options.seed)
    audit.not_checked += skipped
    audit.findings += find_imbalance(audit.counts)
    audit.findings += find_associations(audit.associations)


def _check_masks(audit: Audit) -> None:
    for dataset in audit.inputs:
        annotations = check_annotations(dataset) if dataset.coco is not None else None
        if annotations:
            audit.findings += annotations.findings
        elif not any(s.labels for s in dataset.slices):
            continue
        if not audit.options.images:
            audit.not_checked.append(NotChecked(f"masks of {dataset.name}", NO_IMAGES))
            continue
        summary, findings, skipped = check_masks(dataset, annotations)
        audit.masks.append(summary)
        audit.findings += findings
        audit.not_checked += skipped


def _check_images(
    audit: Audit, images: Sequence[SliceImage], progress: Callable[[str], None]
) -> None:
    audit.images = len(images)
    audit.findings += find_image_problems(images)
    progress("[4/5] copies of images")
    if len(groups_of(audit.inputs)) > 1:
        audit.pairs = search_between_groups(images)
        audit.findings += find_copied(audit.pairs)
    else:
        audit.not_checked.append(NotChecked("copies between groups", "there is only one group"))
    within = search_within_groups(images)
    audit.findings += find_copied_within(within)
    audit.copies = [pair.as_dict(images) for pair in (*audit.pairs, *within)]
    audit.pictures = draw_pairs(audit.pairs, images)
    if audit.options.trial:
        progress("      test of the copy search with copies made from these images")
        sound = [s.path for s in images if s.facts.problem is None]
        audit.trial = run_trial(sound, audit.options.trial, audit.options.seed)
    else:
        why = "give --trial N to test the search on copies of N of these images"
        audit.not_checked.append(NotChecked("recall and precision of the copy search", why))


def _probe(audit: Audit, images: Sequence[SliceImage]) -> None:
    audit.probes, skipped = probe_groups(audit.inputs, images, audit.options.seed)
    audit.findings += find_shortcuts(audit.probes)
    audit.not_checked += skipped
