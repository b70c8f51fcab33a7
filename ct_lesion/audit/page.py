"""The HTML page and the json file of an audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from ct_lesion.errors import UserError
from ct_lesion.files import write_together
from ct_lesion.json_files import without_nan
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
    """Check that the output folder can be written without replacing an earlier audit.

    Raises:
        UserError: it is not a folder, or holds an audit and ``overwrite`` is not given.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: exists and is not a folder. Choose another --output.")
    if not overwrite and any((output / name).exists() for name in (PAGE, NUMBERS)):
        raise UserError(
            f"{output}: already holds an audit. Choose another --output, or replace it with "
            "--overwrite."
        )


def write_audit(audit: Audit, output: str | Path) -> list[Path]:
    """Write ``audit.html`` and ``audit.json``, both or neither.

    Returns:
        Their paths.

    Raises:
        UserError: they cannot be written.
    """
    paths = [Path(output) / name for name in (PAGE, NUMBERS)]
    content = {"ct_lesion": __version__, "date": date.today().isoformat(), **audit.as_dict()}
    numbers = json.dumps(without_nan(content), indent=1, allow_nan=False)
    # file names may hold bytes that are not valid text
    page = render(audit).encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        write_together(dict(zip(paths, (page, numbers + "\n"), strict=True)))
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror or error}).") from None
    return paths


def verdict(audit: Audit) -> str:
    """One sentence with the number of findings of each severity."""
    severities = audit.severities
    counts = [count(severities[s], str(s)) for s in Severity if severities[s]]
    if not counts:
        return "No findings."
    text = " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)
    return f"{text}." if audit.fails() else f"No errors; {text}."


def render(audit: Audit) -> str:
    """The page as HTML that loads nothing from the network."""
    slices = sum(len(dataset.slices) for dataset in audit.inputs)
    template = page_environment("ct_lesion.audit").get_template("audit.html")
    return template.render(
        title=f"Audit of {', '.join(groups_of(audit.inputs))}",
        facts={
            "Inputs": ", ".join(dataset.name for dataset in audit.inputs),
            "Slices": f"{slices:,}; {audit.images:,} images were read",
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
    yield Section("shortcuts", "Classes from file properties", [*_probe_table(audit)])
    yield Section("thresholds", "Thresholds", [_threshold_table()])


def _not_checked(audit: Audit) -> Block:
    if not audit.not_checked:
        return "All checks of this audit were made."
    rows = [["; ".join(checks), why] for why, checks in by_reason(audit.not_checked).items()]
    return Table("not_checked", "Checks that could not be made", ["check", "reason"], rows)


def _inputs_table(audit: Audit) -> Table:
    columns = ["group", "input", "kind", "patients", "scans", "slices", "images", "source"]
    described = [dataset.describe() for dataset in audit.inputs]
    return Table(
        "inputs_table",
        "Compared inputs; groups must have nothing in common",
        columns,
        [[values[column] for column in columns] for values in described],
        formats=dict.fromkeys(("patients", "scans", "slices", "images"), ","),
        notes=["Patient ids are compared within a source; across sources only images are."],
    )


def _copy_blocks(audit: Audit) -> Iterator[Block]:
    if audit.pairs:
        yield _pairs_table(audit.pairs)
        if len(audit.pictures) < sum(len(pair.copies) for pair in audit.pairs):
            yield f"Below: {len(audit.pictures)} of the pairs of images; all are in audit.json."
    elif audit.images and len(groups_of(audit.inputs)) > 1:
        yield f"No copies between groups among {audit.images:,} images."


def _pairs_table(pairs: list[PatientPair]) -> Table:
    rows = []
    for pair in pairs[:MOST_PAIRS]:
        (input_a, input_b), (patient_a, patient_b) = pair.inputs, pair.patients
        least = min(copy.similarity for copy in pair.copies)
        rows.append([input_a, patient_a, input_b, patient_b, len(pair.copies), pair.exact, least])
    more = len(pairs) - len(rows)
    return Table(
        "copied_patients",
        "Patients of different groups with images in common",
        ["input", "patient", "looks like", "its patient", "slices", "identical", "least similar"],
        rows,
        formats={"least similar": ".3f"},
        notes=[f"And {more:,} more pairs of patients in audit.json."] if more else [],
    )


def _trial_table(audit: Audit) -> Iterator[Table]:
    if audit.trial is None:
        return
    rows = [*audit.trial.rows, audit.trial.total]
    yield Table(
        "copy_trial",
        "Search for copies made of these images",
        ["what was done to an image", "copies", "found", "recall", "wrong links", "precision"],
        [[r.kind, r.copies, r.found, r.recall, r.wrong, r.precision] for r in rows],
        formats={"recall": ".3f", "precision": ".3f"},
        notes=[
            f"Among {audit.trial.images:,} images, including neighbouring slices. Links between "
            f"these images, earlier copies or mistakes: {audit.trial.linked_originals:,}."
        ],
    )


def _mask_table(audit: Audit) -> Iterator[Table]:
    if not audit.masks:
        return
    rows = []
    for m in audit.masks:
        outside = m.outside_area / m.lesion_area if m.fitted and m.lesion_area else None
        rows.append([m.input, m.slices, m.lesion_free, m.lesion_area, m.fitted, outside])
    yield Table(
        "mask_table",
        "Masks",
        ["input", "slices", "without lesion", "lesion px", "with lung field", "lesion area beyond"],
        rows,
        formats={"lesion px": ",", "slices": ",", "lesion area beyond": ".2%"},
        notes=[
            "Beyond: outside the convex hull of the remaining lung, widened by a tolerance (see "
            "Thresholds)."
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
            "Association of classes with groups and origins, over patients",
            ["classes and", "Cramér's V", "p"],
            [[a.with_what, a.cramers_v, a.p_value] for a in audit.associations],
            formats={"Cramér's V": ".3f", "p": ".2g"},
            notes=["Monte-Carlo test of Pearson's chi-square with fixed margins."],
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
            "AUC of shallow trees that see no lung, one class against the others",
            ["group", "class", "features", "patients", "AUC", "from", "to", "shortcut"],
            rows,
            formats={"AUC": ".2f", "from": ".2f", "to": ".2f", "patients": ","},
            notes=[
                "Cross-validated by patient; a patient's score is the mean of the slice scores. "
                "Intervals over patients, 95 % for all classes of a group together. File size also "
                "depends on the content of an image."
            ],
            intervals={"AUC": ("from", "to")},
        )


def _threshold_table() -> Table:
    return Table(
        "threshold_table",
        "Thresholds of the warnings",
        ["name", "value", "meaning and reason"],
        [[name, float(value), value.meaning] for name, value in THRESHOLDS.items()],
        formats={"value": "g"},
        notes=["Defined in ct_lesion/audit/thresholds.py."],
    )
