"""The features of the shortcut probe: file properties of a slice, nothing of its content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..findings import Finding, NotChecked, Severity
from ..images.checks import SeenSlice
from ..inputs.slices import AuditInput, AuditSlice, groups_of
from .shortcut_probe import ALL, ProbeResult, probe_classes


def probe_groups(
    inputs: Sequence[AuditInput], seen: Sequence[SeenSlice], seed: int = 0
) -> tuple[dict[str, list[ProbeResult]], list[NotChecked]]:
    """Run the probe in each group with classes: on its image files, or on its lists' body boxes.

    Returns:
        The results by group, and the groups without results, with the reason.
    """
    results: dict[str, list[ProbeResult]] = {}
    skipped = []
    for group, members in groups_of(inputs).items():
        labelled = [(d, s) for d in members for s in d.slices if s.label is not None]
        if not labelled:
            continue
        check = f"classes of {group} from file properties"
        files = [f for f in seen if f.of.group == group and _usable(f)]
        slices = [(f.of, f.slice) for f in files] or [
            (d, s) for d, s in labelled if s.patient is not None and s.body_box is not None
        ]
        if not slices:
            skipped.append(NotChecked(check, "neither images nor body boxes, or no patients"))
            continue
        if not files:
            why = "no images; only the body boxes of the list were used"
            skipped.append(NotChecked(check, why))
        features = _file_features(files) if files else _box_features([s for _, s in slices])
        labels = np.array([s.label for _, s in slices])
        patients = np.array([f"{d.source}/{s.patient}" for d, s in slices])
        measured, why = probe_classes(features, labels, patients, seed)
        if measured:
            results[group] = measured
        else:
            skipped.append(NotChecked(check, f"not measured: {why}"))
    return results, skipped


def _usable(file: SeenSlice) -> bool:
    """Whether a slice has a class, a patient, and an image file of its own that was decoded."""
    s = file.slice
    known = s.label is not None and s.patient is not None and s.image is not None
    return known and file.facts.border is not None


def _file_features(files: Sequence[SeenSlice]) -> dict[str, np.ndarray]:
    """``(M, K)`` float features of each kind, of M image files."""
    facts = [f.facts for f in files]
    rows = {
        "image size": [(f.width, f.height, f.width / f.height) for f in facts],
        "file size": [(f.file_bytes, f.file_bytes / (f.width * f.height)) for f in facts],
        "border": [
            (b.top, b.bottom, b.left, b.right, b.corners) for b in (f.border for f in facts)
        ],
    }
    formats = [(f.format, f.mode, f.bits) for f in facts]
    known = sorted(set(formats), key=str)
    rows["file format"] = [[f == k for k in known] for f in formats]
    features = {kind: np.array(values, float) for kind, values in rows.items()}
    return features | _box_features([f.slice for f in files])


def _box_features(slices: Sequence[AuditSlice]) -> dict[str, np.ndarray]:
    """``(M, 4)`` body boxes; empty if any is missing."""
    if any(s.body_box is None for s in slices):
        return {}
    return {"body box of the list": np.array([s.body_box for s in slices], float)}


def find_shortcuts(results: dict[str, list[ProbeResult]]) -> list[Finding]:
    """Find groups with a class that the probe can predict."""
    findings = []
    for group, measured in results.items():
        kinds = list(dict.fromkeys(r.features for r in measured))
        # judged by all features together: testing each kind alone would raise more false alarms
        decisive = ALL if ALL in kinds else kinds[0]
        shortcuts = [r for r in measured if r.features == decisive and r.is_shortcut]
        if not shortcuts:
            continue
        classes = " and ".join(f"{r.label} (AUC {r.auc.estimate:.2f})" for r in shortcuts)
        by = kinds[0] if len(kinds) == 1 else "file properties"
        findings.append(
            Finding(
                Severity.WARNING,
                "class_from_file_properties",
                f"{group}: a trivial model that sees no lung predicts {classes} by {by}.",
                [_describe(r, measured) for r in shortcuts],
                "Give all classes the same file properties before training, and test on data where "
                "they have; otherwise a network may learn the files and not the disease.",
            )
        )
    return findings


def _describe(result: ProbeResult, measured: Sequence[ProbeResult]) -> str:
    """A class, its interval, and the kinds of features that predict it alone, best first."""
    alone = [r for r in measured if r.label == result.label and r.features != ALL and r.is_shortcut]
    alone.sort(key=lambda r: -r.auc.estimate)
    names = ", ".join(f"{r.features} ({r.auc.estimate:.2f})" for r in alone)
    auc = result.auc
    return f"{result.label}: AUC {auc.estimate:.2f} ({auc.low:.2f} to {auc.high:.2f}); by " + (
        names or "several features together, none alone"
    )
