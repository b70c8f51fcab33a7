"""An audit put together: which checks there are, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
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
from .findings import Finding, NotChecked, Severity, by_severity, count_severities
from .images.checks import SeenSlice, find_image_problems, see_images
from .inputs.slices import AuditInput, groups_of
from .masks.annotations import check_annotations
from .masks.labels import MaskSummary, check_masks
from .names import find_labels_that_differ, find_not_comparable, find_shared
from .thresholds import THRESHOLDS

NO_IMAGES = "images were left out by --no-images"


@dataclass(frozen=True)
class AuditOptions:
    """What a user may choose.

    Attributes:
        same_numbers: a patient number is one person in all inputs.
        images: open images; without, only names and lists are compared.
        trial_images: images that copies are made of to try the search; 0 for no trial.
        pictures: pairs of copies that are shown.
        seed: of resampling and the trial.
    """

    same_numbers: bool = False
    images: bool = True
    trial_images: int = 200
    pictures: int = 12
    seed: int = 0


@dataclass
class Audit:
    """What was found, and the numbers behind it."""

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
        return count_severities(self.findings)

    def fails(self, strict: bool = False) -> bool:
        """Whether there are errors, or with ``strict`` warnings."""
        severities = self.severities
        return bool(severities[Severity.ERROR] or (strict and severities[Severity.WARNING]))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "severities": self.severities,
            "findings": [finding.as_dict() for finding in self.findings],
            "not_checked": [asdict(one) for one in self.not_checked],
            "inputs": [describe_input(one) for one in self.inputs],
            "options": asdict(self.options),
            "images_read": self.images,
            "classes": [asdict(one) for one in self.counts],
            "associations": [asdict(one) for one in self.associations],
            "masks": [one.as_dict() for one in self.masks],
            "shortcut_probe": {
                group: [
                    {
                        "label": r.label,
                        "features": r.features,
                        "patients": r.patients,
                        "auc": r.auc.as_dict(),
                        "is_shortcut": r.is_shortcut,
                    }
                    for r in results
                ]
                for group, results in self.probes.items()
            },
            "copies": self.copies,
            "copy_search_trial": describe_trial(self.trial),
            "thresholds": {name: one._asdict() for name, one in THRESHOLDS.items()},
        }


def describe_input(one: AuditInput) -> dict[str, Any]:
    """Counts of an input, as plain values."""
    named = [s for s in one.slices if s.patient is not None]
    return {
        "group": one.group,
        "input": one.name,
        "kind": one.kind,
        "source": one.source,
        "slices": len(one.slices),
        "images": sum(s.has_image for s in one.slices),
        "patients": len({s.patient for s in named}) if named else None,
        "scans": len({(s.patient, s.scan) for s in named}) if named else None,
    }


def describe_trial(trial: TrialReport | None) -> dict[str, Any] | None:
    """A trial as plain values, with its precision and recall."""
    if trial is None:
        return None
    rows = [{**asdict(row), "recall": row.recall, "precision": row.precision} for row in trial.rows]
    return {**asdict(trial), "rows": rows, "recall": trial.recall, "precision": trial.precision}


def run_audit(
    inputs: Sequence[AuditInput],
    options: AuditOptions,
    progress: Callable[[str], None] = print,
) -> Audit:
    """Make all checks there are.

    Args:
        inputs: of :func:`ct_lesion.audit.inputs.arguments.read_inputs`.
        progress: called with a line before each part.
    """
    audit = Audit(list(inputs), options)
    for one in inputs:
        audit.findings += one.findings
        audit.not_checked += one.not_checked
    progress("[1/5] names: patients, scans, slices and files in two groups; classes")
    _check_names(audit)
    progress("[2/5] lesion masks and annotations")
    _check_masks(audit)
    if options.images and any(s.has_image for one in inputs for s in one.slices):
        progress("[3/5] image files")
        with see_images(inputs, audit.findings.append) as seen:
            _check_images(audit, seen, progress)
    else:
        seen = []
        why = "there are no images" if options.images else NO_IMAGES
        audit.not_checked.append(NotChecked("damaged images, copies between groups", why))
        _probe(audit, seen)
    audit.findings = by_severity(audit.findings)
    return audit


def _check_names(audit: Audit) -> None:
    same_numbers = audit.options.same_numbers
    audit.findings += find_shared(audit.inputs, same_numbers)
    audit.findings += find_labels_that_differ(audit.inputs)
    audit.not_checked += find_not_comparable(audit.inputs, same_numbers)
    audit.counts = count_classes(audit.inputs)
    audit.associations, skipped = associations(audit.inputs, audit.options.seed)
    audit.not_checked += skipped
    audit.findings += find_imbalance(audit.counts)
    audit.findings += find_associations(audit.associations)


def _check_masks(audit: Audit) -> None:
    for one in audit.inputs:
        annotations = check_annotations(one) if one.coco is not None else None
        if annotations:
            audit.findings += annotations.findings
        if not annotations and not any(s.labels for s in one.slices):
            continue
        if not audit.options.images:
            audit.not_checked.append(NotChecked(f"masks of {one.name}", NO_IMAGES))
        else:
            summary, findings, skipped = check_masks(one, annotations)
            audit.masks.append(summary)
            audit.findings += findings
            audit.not_checked += skipped


def _check_images(audit: Audit, seen: Sequence[SeenSlice], progress: Callable[[str], None]) -> None:
    audit.images = len(seen)
    audit.findings += find_image_problems(seen)
    progress("[4/5] copies of images")
    if len(groups_of(audit.inputs)) > 1:
        audit.pairs = search_between_groups(seen, lambda line: progress(f"      {line}"))
        audit.findings += find_copied(audit.pairs)
    else:
        audit.not_checked.append(NotChecked("copies between groups", "there is one group only"))
    within = search_within_groups(seen)
    audit.findings += find_copied_within(within)
    audit.copies = [pair.as_dict(seen) for pair in (*audit.pairs, *within)]
    audit.pictures = draw_pairs(audit.pairs, seen, audit.options.pictures)
    if audit.options.trial_images:
        audit.trial = run_trial(
            _trial_files(seen, [*audit.pairs, *within]),
            sample=audit.options.trial_images,
            seed=audit.options.seed,
            progress=lambda line: progress(f"      {line}"),
        )
    else:
        why = "no trial was asked for (--trial-images)"
        audit.not_checked.append(NotChecked("how well copies are found in these images", why))
    progress("[5/5] can a class be told from file properties?")
    _probe(audit, seen)


def _trial_files(seen: Sequence[SeenSlice], pairs: Sequence[PatientPair]) -> list[Path]:
    """Sound images, and of known copies one: a copy of theirs could be linked with either."""
    known = {copy.j for pair in pairs for copy in pair.copies}
    return [
        one.picture
        for index, one in enumerate(seen)
        if one.facts.problem is None and index not in known
    ]


def _probe(audit: Audit, seen: Sequence[SeenSlice]) -> None:
    audit.probes, skipped = probe_groups(audit.inputs, seen, audit.options.seed)
    audit.findings += find_shortcuts(audit.probes)
    audit.not_checked += skipped
