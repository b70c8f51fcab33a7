"""The HTML page and the json file of an audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from ct_lesion.errors import UserError
from ct_lesion.files import write_together
from ct_lesion.json_files import without_nan
from ct_lesion.locks import cannot_write
from ct_lesion.pages.blocks import Block, Section
from ct_lesion.pages.environment import page_environment
from ct_lesion.pages.tables import Table
from ct_lesion.version import __version__

from .copies.findings import PatientPair
from .findings import Severity, by_reason, count
from .inputs.slices import groups_of
from .run import Audit
from .thresholds import THRESHOLDS

PAGE, NUMBERS = "audit.html", "audit.json"
MOST_PLACES = 10
MOST_PAIRS = 30


def check_output(output: Path, overwrite: bool) -> None:
    """Check that writing to the output folder would not replace an earlier audit.

    Raises:
        UserError: ``output`` holds an audit, and ``overwrite`` is false.
    """
    if not overwrite and any((output / name).exists() for name in (PAGE, NUMBERS)):
        raise UserError(
            f"{output} already holds an audit. Choose another folder, or replace it with "
            "--overwrite."
        )


def write_audit(audit: Audit, output: str | Path) -> list[Path]:
    """Write ``audit.html`` and ``audit.json``, both or neither.

    Returns:
        The paths of the two files.

    Raises:
        UserError: the folder cannot be written to.
        OSError: the disk is full or read-only.
    """
    paths = [Path(output) / name for name in (PAGE, NUMBERS)]
    content = {"ct_lesion": __version__, "date": date.today().isoformat(), **audit.as_dict()}
    numbers = json.dumps(without_nan(content), indent=1, allow_nan=False)
    try:
        write_together(dict(zip(paths, (render(audit), numbers + "\n"), strict=True)))
    except OSError as error:
        raise cannot_write(Path(output), error) from None
    return paths


def verdict(audit: Audit) -> str:
    """Count the findings of each severity in one sentence."""
    severities = audit.severities
    counts = [count(severities[s], str(s)) for s in Severity if severities[s]]
    if not counts:
        return "No findings."
    text = " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)
    return f"{text}." if audit.fails() else f"No errors; {text}."


def render(audit: Audit) -> str:
    """Render the page as HTML that loads nothing from the network."""
    slices = sum(len(dataset.slices) for dataset in audit.inputs)
    template = page_environment("ct_lesion.audit").get_template("audit.html")
    return template.render(
        title=f"Audit of {', '.join(groups_of(audit.inputs))}",
        facts={
            "Inputs": ", ".join(dataset.name for dataset in audit.inputs),
            "Slices": f"{slices:,} ({audit.images:,} images read)",
            "Date": date.today().isoformat(),
            "ct_lesion": __version__,
        },
        sections=[s for s in _sections(audit) if s.blocks or s.name == "findings"],
        findings=audit.findings,
        pictures=audit.pictures,
        verdict=verdict(audit),
        worst=next((str(s) for s in Severity if audit.severities[s]), ""),
        most_places=MOST_PLACES,
    )


def _sections(audit: Audit) -> Iterator[Section]:
    yield Section("findings", "Findings")
    yield Section("unchecked", "Not checked", [_not_checked(audit)])
    yield Section("inputs", "Inputs", [_inputs_table(audit)])
    yield Section("copies", "Copies of images", [*_copy_blocks(audit)])
    yield Section("trial", "Test of the copy search", [*_trial_table(audit)])
    yield Section("masks", "Lesion masks", [*_mask_table(audit)])
    yield Section("classes", "Classes", [*_class_tables(audit)])
    yield Section("shortcuts", "Shortcuts", [*_probe_table(audit)])
    yield Section("thresholds", "Thresholds", [_threshold_table()])


def _not_checked(audit: Audit) -> Block:
    if not audit.not_checked:
        return "All checks were made."
    rows = [["; ".join(checks), why] for why, checks in by_reason(audit.not_checked).items()]
    return Table("not_checked", "Checks that could not be made", ["check", "reason"], rows)


def _inputs_table(audit: Audit) -> Table:
    columns = ["group", "input", "kind", "patients", "scans", "slices", "images", "source"]
    described = [dataset.describe() for dataset in audit.inputs]
    return Table(
        "inputs_table",
        "Inputs; two groups must have no patient, scan or image in common",
        columns,
        [[values[column] for column in columns] for values in described],
        formats=dict.fromkeys(("patients", "scans", "slices", "images"), ","),
        notes=[
            "Inputs of the same source share their patient ids. Between sources, patient ids are "
            "not compared, only images."
        ],
    )


def _copy_blocks(audit: Audit) -> Iterator[Block]:
    if audit.pairs:
        yield _pairs_table(audit.pairs)
        if len(audit.pictures) < sum(len(pair.copies) for pair in audit.pairs):
            yield f"The first {len(audit.pictures)} pairs of images; audit.json lists all."
    elif audit.images and len(groups_of(audit.inputs)) > 1:
        yield f"No copies between groups among {audit.images:,} images."


def _pairs_table(pairs: list[PatientPair]) -> Table:
    rows = []
    for pair in pairs[:MOST_PAIRS]:
        (input_a, input_b), (patient_a, patient_b) = pair.inputs, pair.patients
        lowest = min(copy.similarity for copy in pair.copies)
        rows.append([input_a, patient_a, input_b, patient_b, len(pair.copies), pair.exact, lowest])
    notes = [
        "Similarity is 1 for identical images. Near copies are re-encoded, resized, flipped, "
        "turned, or shown in another window."
    ]
    if len(pairs) > MOST_PAIRS:
        notes.append(f"audit.json lists {len(pairs) - MOST_PAIRS:,} more pairs of patients.")
    return Table(
        "copied_patients",
        "Pairs of patients from two groups with images in common",
        [
            "input A",
            "patient A",
            "input B",
            "patient B",
            "images",
            "identical",
            "lowest similarity",
        ],
        rows,
        formats={"lowest similarity": ".3f"},
        notes=notes,
    )


def _trial_table(audit: Audit) -> Iterator[Table]:
    if audit.trial is None:
        return
    rows = [*audit.trial.rows, audit.trial.total]
    yield Table(
        "copy_trial",
        "Copies made from these images for the test, and the copies that the search found",
        ["change", "copies", "found", "recall", "wrong links", "precision"],
        [[r.kind, r.copies, r.found, r.recall, r.wrong, r.precision] for r in rows],
        formats={"recall": ".3f", "precision": ".3f"},
        notes=[
            f"Made from {audit.trial.images:,} images, including neighbouring slices.",
            "Windows are level/width in HU, if the images are in -600/1500.",
            "Links between the images themselves, which are real copies or mistakes of the "
            f"search: {audit.trial.linked_originals:,}.",
        ],
    )


def _mask_table(audit: Audit) -> Iterator[Table]:
    if not audit.masks:
        return
    rows = []
    for m in audit.masks:
        rows.append([m.input, m.slices, m.lesion_free, m.fitted, m.lesion_area, m.outside_share])
    yield Table(
        "mask_table",
        "Slices with a readable mask",
        [
            "input",
            "slices",
            "without lesion",
            "with lung field",
            "lesion area (px)",
            "outside lung",
        ],
        rows,
        formats={"slices": ",", "lesion area (px)": ",", "outside lung": ".2%"},
        notes=[
            "Outside lung: share of the lesion area outside the convex hull of the remaining lung "
            "plus LUNG_TOLERANCE (see Thresholds), in slices with a lung field."
        ],
    )


def _class_tables(audit: Audit) -> Iterator[Table]:
    if audit.counts:
        yield Table(
            "class_table",
            "Classes by group",
            ["group", "class", "patients", "scans", "slices", "slices per scan"],
            [
                [c.group, c.label, c.patients or None, c.scans, c.slices, c.slices / c.scans]
                for c in audit.counts
            ],
            formats={"patients": ",", "scans": ",", "slices": ",", "slices per scan": ".1f"},
        )
    if audit.associations:
        yield Table(
            "association_table",
            "Association of the class with the group or origin; each patient counts once",
            ["class with", "Cramér's V", "p"],
            [[a.with_what, a.cramers_v, a.p_value] for a in audit.associations],
            formats={"Cramér's V": ".3f", "p": ".2g"},
            notes=["p: Monte-Carlo test of Pearson's chi-square with fixed margins."],
        )


def _probe_table(audit: Audit) -> Iterator[Table]:
    rows = [
        [
            *(group, r.label, r.features, r.patients),
            *(r.auc.estimate, r.auc.low, r.auc.high, r.is_shortcut),
        ]
        for group, results in audit.probes.items()
        for r in results
    ]
    if rows:
        yield Table(
            "probe_table",
            "AUC of a classifier that gets file properties only; one class against the others",
            ["group", "class", "features", "patients", "AUC", "from", "to", "shortcut"],
            rows,
            formats={"AUC": ".2f", "from": ".2f", "to": ".2f", "patients": ","},
            notes=[
                "Shallow decision trees, cross-validated by patient; a patient's score is the mean "
                "over the slices. Intervals are bootstrapped over patients; with 95 % "
                "confidence, those of all classes of a group hold simultaneously. File size also "
                "depends on the content of an image."
            ],
            intervals={"AUC": ("from", "to")},
        )


def _threshold_table() -> Table:
    return Table(
        "threshold_table",
        "Thresholds of the findings",
        ["name", "value", "meaning and reason"],
        [[name, float(value), value.meaning] for name, value in THRESHOLDS.items()],
        formats={"value": "g"},
        notes=["Defined in ct_lesion/audit/thresholds.py."],
    )
