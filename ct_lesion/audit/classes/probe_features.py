"""Runs the shortcut probe on each group: its features, findings and skipped groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..findings import Finding, NotChecked, Severity
from ..images.checks import SliceImage
from ..inputs.slices import AuditInput, AuditSlice, groups_of
from .shortcut_probe import ALL, ProbeResult, probe_classes


def probe_groups(
    inputs: Sequence[AuditInput], images: Sequence[SliceImage], seed: int = 0
) -> tuple[dict[str, list[ProbeResult]], list[NotChecked]]:
    """Run the probe on each group with classes.

    The features are properties of the image files, or, without images, the body boxes of the lists.

    Returns:
        The results by group, and the checks that could not be made, with the reason.
    """
    results: dict[str, list[ProbeResult]] = {}
    skipped = []
    for group, members in groups_of(inputs).items():
        labelled = [(d, s) for d in members for s in d.slices if s.label is not None]
        if not labelled:
            continue
        check = f"shortcuts in {group}"
        files = [f for f in images if f.dataset.group == group and _usable(f)]
        slices = [(f.dataset, f.slice) for f in files] or [
            (d, s) for d, s in labelled if s.patient is not None and s.body_box is not None
        ]
        if not slices:
            why = "there are neither images nor body boxes, or no patients"
            skipped.append(NotChecked(check, why))
            continue
        if not files:
            why = "there are no images; only the body boxes of the list were used"
            skipped.append(NotChecked(f"shortcuts in the image files of {group}", why))
        features = _file_features(files) if files else _box_features([s for _, s in slices])
        labels = np.array([s.label for _, s in slices])
        patients = np.array([f"{d.source}/{s.patient}" for d, s in slices])
        measured, why = probe_classes(features, labels, patients, seed)
        if measured:
            results[group] = measured
        else:
            skipped.append(NotChecked(check, why))
    return results, skipped


def _usable(file: SliceImage) -> bool:
    """Whether a slice has a class, a patient, and its own image file that could be decoded."""
    s = file.slice
    known = s.label is not None and s.patient is not None and s.image is not None
    return known and file.facts.border is not None


def _file_features(files: Sequence[SliceImage]) -> dict[str, np.ndarray]:
    """Compute ``(M, K)`` float features of each kind for M image files."""
    facts = [f.facts for f in files]
    rows = {
        "image size": [(f.width, f.height, f.width / f.height) for f in facts],
        "file size": [(f.file_bytes, f.file_bytes / (f.width * f.height)) for f in facts],
        "border": [
            (b.top, b.bottom, b.left, b.right, b.corners) for b in (f.border for f in facts)
        ],
    }
    formats = [(f.format, f.mode, f.bits) for f in facts]
    distinct = sorted(set(formats), key=str)
    rows["file format"] = [[f == other for other in distinct] for f in formats]  # one-hot
    features = {kind: np.array(values, float) for kind, values in rows.items()}
    return features | _box_features([f.slice for f in files])


def _box_features(slices: Sequence[AuditSlice]) -> dict[str, np.ndarray]:
    """Collect ``(M, 4)`` body boxes; no features if any box is missing."""
    if any(s.body_box is None for s in slices):
        return {}
    return {"body box of the list": np.array([s.body_box for s in slices], float)}


def find_shortcuts(results: dict[str, list[ProbeResult]]) -> list[Finding]:
    """Find groups in which the probe predicts a class."""
    findings = []
    for group, measured in results.items():
        kinds = list(dict.fromkeys(r.features for r in measured))
        # test all features together: testing each kind separately would give more false alarms
        tested = ALL if ALL in kinds else kinds[0]
        shortcuts = [r for r in measured if r.features == tested and r.is_shortcut]
        if not shortcuts:
            continue
        classes = " and ".join(f"{r.label} (AUC {r.auc.estimate:.2f})" for r in shortcuts)
        source = kinds[0] if len(kinds) == 1 else "file properties"
        findings.append(
            Finding(
                Severity.WARNING,
                "class_from_file_properties",
                f"{group}: {classes} can be predicted from {source} alone, without the image.",
                [_describe(r, measured) for r in shortcuts],
                "Save the images of all classes in the same way, for training and for testing: "
                "otherwise a network may learn the file properties instead of the disease.",
            )
        )
    return findings


def _describe(result: ProbeResult, measured: Sequence[ProbeResult]) -> str:
    """Describe a class: its AUC with interval, and the kinds of features that predict it."""
    single = [
        r for r in measured if r.label == result.label and r.features != ALL and r.is_shortcut
    ]
    single.sort(key=lambda r: -r.auc.estimate)
    names = ", ".join(f"{r.features} ({r.auc.estimate:.2f})" for r in single)
    auc = result.auc
    return f"{result.label}: AUC {auc.estimate:.2f} ({auc.low:.2f} to {auc.high:.2f}); from " + (
        names or "several properties together, not from any alone"
    )
