"""What of a slice the shortcut probe may see: everything but what it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..findings import Finding, NotChecked, Severity
from ..images.checks import SeenSlice
from ..inputs.slices import AuditInput, AuditSlice, groups_of
from .shortcut_probe import ALL, ProbeResult, probe_classes

SIZE, FORMAT, BYTES, BORDER, BOX = (
    *("image size", "file format", "file size", "border"),
    "body box of the list",
)


def probe_groups(
    inputs: Sequence[AuditInput], seen: Sequence[SeenSlice], seed: int = 0
) -> tuple[dict[str, list[ProbeResult]], list[NotChecked]]:
    """The probe in each group that has classes: on its images, or on what its lists tell."""
    results: dict[str, list[ProbeResult]] = {}
    skipped = []
    for group, members in groups_of(inputs).items():
        labelled = [(one, s) for one in members for s in one.slices if s.label is not None]
        if not labelled:
            continue
        check = f"classes of {group} from file properties"
        files = [
            one
            for one in seen
            if one.of.group == group
            and one.slice.label is not None
            and one.slice.patient is not None
            and one.slice.image is not None
            and one.facts.border is not None
        ]
        slices = [(one.of, one.slice) for one in files] or [
            (one, s) for one, s in labelled if s.patient is not None and s.body_box is not None
        ]
        features = _file_features(files) if files else _list_features([s for _, s in slices])
        if not files and slices:
            why = "no images; only the body boxes of the list were used"
            skipped.append(NotChecked(check, why))
        if not slices:
            skipped.append(NotChecked(check, "neither images nor body boxes, or no patients"))
            continue
        labels = np.array([s.label for _, s in slices])
        patients = np.array([f"{one.source}/{s.patient}" for one, s in slices])
        found, why = probe_classes(features, labels, patients, seed)
        if found:
            results[group] = found
        else:
            skipped.append(NotChecked(check, f"not measured: {why}"))
    return results, skipped


def _file_features(files: Sequence[SeenSlice]) -> dict[str, np.ndarray]:
    facts = [one.facts for one in files]
    rows = {
        SIZE: [(f.width, f.height, f.width / f.height) for f in facts],
        BYTES: [(f.file_bytes, f.file_bytes / (f.width * f.height)) for f in facts],
        BORDER: [(b.top, b.bottom, b.left, b.right, b.corners) for b in (f.border for f in facts)],
    }
    features = {name: np.array(values, float) for name, values in rows.items()}
    kinds = [(f.format, f.mode, f.bits) for f in facts]
    known = sorted(set(kinds), key=str)
    features[FORMAT] = np.array([[kind == one for one in known] for kind in kinds], float)
    boxes = _list_features([one.slice for one in files])
    return features | boxes


def _list_features(slices: Sequence[AuditSlice]) -> dict[str, np.ndarray]:
    if any(s.body_box is None for s in slices):
        return {}
    return {BOX: np.array([s.body_box for s in slices], float)}


def find_shortcuts(results: dict[str, list[ProbeResult]]) -> list[Finding]:
    """A finding for each group with a class that the trivial model can tell."""
    findings = []
    for group, found in results.items():
        kinds = list(dict.fromkeys(r.features for r in found))
        # all together decides: the more kinds are tried one by one, the more alarms by chance
        everything = ALL if ALL in kinds else kinds[0]
        told = [r for r in found if r.features == everything and r.is_shortcut]
        if not told:
            continue
        findings.append(
            Finding(
                Severity.WARNING,
                "class_from_file_properties",
                f"{group}: a trivial model that sees no lung tells "
                + " and ".join(f"{r.label} (AUC {r.auc.estimate:.2f})" for r in told)
                + f" by {' and '.join(kinds) if len(kinds) == 1 else 'file properties'}.",
                [_describe(one, found) for one in told],
                "Make all classes alike in this before training, and test on data where they are; "
                "else nobody knows what was learnt.",
            )
        )
    return findings


def _describe(one: ProbeResult, found: Sequence[ProbeResult]) -> str:
    """A class, its interval, and the kinds of features that tell it on their own, best first."""
    doing = [r for r in found if r.label == one.label and r.features != ALL and r.is_shortcut]
    doing.sort(key=lambda r: -r.auc.estimate)
    names = ", ".join(f"{r.features} ({r.auc.estimate:.2f})" for r in doing)
    return (
        f"{one.label}: AUC {one.auc.estimate:.2f} ({one.auc.low:.2f} to {one.auc.high:.2f}); by "
        + (names or "several together, none on its own")
    )
