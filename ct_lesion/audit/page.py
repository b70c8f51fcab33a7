"""The page and the json file of an audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from ct_lesion.errors import UserError
from ct_lesion.files import write_together
from ct_lesion.pages.blocks import Section
from ct_lesion.pages.environment import page_environment
from ct_lesion.pages.tables import Table
from ct_lesion.version import __version__

from .copies.findings import PatientPair
from .findings import Severity, by_reason, count
from .run import Audit, describe_input
from .thresholds import THRESHOLDS

PAGE, NUMBERS = "audit.html", "audit.json"
MOST_PLACES = 10
MOST_PAIRS = 30


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse to write over an earlier audit that is not given up.

    Raises:
        UserError: names the folder, and what to do.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: exists and is no folder. Choose another --output.")
    if not overwrite and any((output / name).exists() for name in (PAGE, NUMBERS)):
        raise UserError(
            f"{output}: holds an audit already. Choose another --output, or replace it with "
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
    facts = {"ct_lesion": __version__, "date": date.today().isoformat()}
    numbers = json.dumps({**facts, **audit.as_dict()}, indent=1, allow_nan=False)
    # a file's name may be no text
    page = render(audit).encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        write_together(dict(zip(paths, (page, numbers + "\n"), strict=True)))
    except OSError as error:
        raise UserError(f"{output}: cannot be written to ({error.strerror or error}).") from None
    return paths


def verdict(audit: Audit) -> str:
    """One sentence: how many findings of each severity."""
    severities = audit.severities
    told = [count(severities[s], str(s)) for s in Severity if severities[s]]
    if not told:
        return "Nothing found."
    text = " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)
    return f"{text}." if audit.fails() else f"No errors; {text}."


def render(audit: Audit) -> str:
    """The page as HTML that loads nothing from elsewhere."""
    severities = audit.severities
    groups = dict.fromkeys(one.group for one in audit.inputs)
    return (
        page_environment("ct_lesion.audit")
        .get_template("audit.html")
        .render(
            title=f"Audit of {', '.join(groups)}",
            facts={
                "Inputs": ", ".join(one.name for one in audit.inputs),
                "Slices": f"{sum(len(one.slices) for one in audit.inputs):,}, of which "
                f"{audit.images:,} images were read",
                "Date": date.today().isoformat(),
                "ct_lesion": __version__,
            },
            sections=[s for s in _sections(audit) if s.blocks or s.name == "findings"],
            findings=audit.findings,
            pictures=audit.pictures,
            verdict=verdict(audit),
            worst=next((str(s) for s in Severity if severities[s]), ""),
            most_places=MOST_PLACES,
        )
    )


def _sections(audit: Audit) -> Iterator[Section]:
    yield Section("findings", "Findings")
    yield Section("unchecked", "What was not checked", _not_checked(audit))
    yield Section("inputs", "Inputs", [_inputs_table(audit)])
    yield Section("copies", "Copies of images", [*_copy_blocks(audit)])
    yield Section("trial", "How well copies are found", [*_trial_blocks(audit)])
    yield Section("masks", "Lesion masks", [*_mask_blocks(audit)])
    yield Section("classes", "Classes", [*_class_blocks(audit)])
    yield Section("shortcuts", "Classes from file properties", [*_probe_blocks(audit)])
    yield Section("thresholds", "Thresholds", [_threshold_table()])


def _not_checked(audit: Audit) -> list:
    if not audit.not_checked:
        return ["Everything that this audit knows to check was checked."]
    rows = [["; ".join(checks), why] for why, checks in by_reason(audit.not_checked).items()]
    return [Table("not_checked", "Not checked, and why", ["check", "why not"], rows)]


def _inputs_table(audit: Audit) -> Table:
    columns = ["group", "input", "kind", "patients", "scans", "slices", "images", "source"]
    rows = [[described[c] for c in columns] for described in map(describe_input, audit.inputs)]
    return Table(
        "inputs_table",
        "What was compared: groups must have nothing in common",
        columns,
        rows,
        formats=dict.fromkeys(("patients", "scans", "slices", "images"), ","),
        notes=["Patient numbers are compared within a source; between sources images decide."],
    )


def _copy_blocks(audit: Audit) -> Iterator:
    if audit.pairs:
        yield _pairs_table(audit.pairs)
        if len(audit.pictures) < sum(len(pair.copies) for pair in audit.pairs):
            yield f"Below: {len(audit.pictures)} of the pairs of images; all are in audit.json."
    elif audit.images and len({one.group for one in audit.inputs}) > 1:
        yield f"No copies between groups among {audit.images:,} images."


def _pairs_table(pairs: list[PatientPair]) -> Table:
    rows = [
        [
            *(side for both in zip(p.inputs, p.patients, strict=True) for side in both),
            len(p.copies),
            p.exact,
            min(copy.similarity for copy in p.copies),
        ]
        for p in pairs[:MOST_PAIRS]
    ]
    more = len(pairs) - len(rows)
    return Table(
        "copied_patients",
        "Patients of different groups with images in common",
        ["input", "patient", "looks like", "its patient", "slices", "the same", "least similar"],
        rows,
        formats={"least similar": ".3f"},
        notes=[f"And {more:,} more pairs of patients in audit.json."] if more else [],
    )


def _trial_blocks(audit: Audit) -> Iterator[Table]:
    trial = audit.trial
    if trial is None:
        return
    rows = [[r.kind, r.copies, r.found, r.recall, r.wrong, r.precision] for r in trial.rows]
    found, wrong = (sum(getattr(r, name) for r in trial.rows) for name in ("found", "wrong"))
    rows.append(["all", trial.copies, found, trial.recall, wrong, trial.precision])
    yield Table(
        "copy_trial",
        "Copies of these very images, made and searched for",
        ["what was done to an image", "copies", "found", "recall", "wrong links", "precision"],
        rows,
        formats={"recall": ".3f", "precision": ".3f"},
        notes=[
            f"Among {trial.images:,} images, with neighbouring slices of scans. Links among these "
            f"themselves, which were copies before or are mistakes: {trial.linked_originals:,}."
        ],
    )


def _mask_blocks(audit: Audit) -> Iterator:
    if not audit.masks:
        return
    rows = [
        [
            m.input,
            m.slices,
            m.lesion_free,
            m.lesion_area,
            m.fitted,
            m.outside_area / m.lesion_area if m.fitted and m.lesion_area else None,
        ]
        for m in audit.masks
    ]
    columns = ["input", "slices", "without lesion", "lesion px", "with lung field"]
    columns.append("lesion area beyond it")
    yield Table(
        "mask_table",
        "Masks",
        columns,
        rows,
        formats={"lesion px": ",", "slices": ",", "lesion area beyond it": ".2%"},
        notes=[
            "Beyond: outside the convex hull of the lung that lesions leave, and a tolerance (see "
            "Thresholds)."
        ],
    )


def _class_blocks(audit: Audit) -> Iterator:
    if audit.counts:
        yield Table(
            "class_table",
            "Classes by group",
            ["group", "class", "patients", "scans", "slices", "slices a scan"],
            [
                [c.group, c.label, c.patients or None, c.scans, c.slices, c.slices / c.scans]
                for c in audit.counts
            ],
            formats={**dict.fromkeys(("patients", "scans", "slices"), ","), "slices a scan": ".1f"},
        )
    if audit.associations:
        yield Table(
            "association_table",
            "Do classes go with groups or origins? (patients)",
            ["classes and", "Cramér's V", "p"],
            [[a.with_what, a.cramers_v, a.p_value] for a in audit.associations],
            formats={"Cramér's V": ".3f", "p": ".2g"},
            notes=["Monte-Carlo test of Pearson's chi-square with fixed margins."],
        )


def _probe_blocks(audit: Audit) -> Iterator:
    rows = [
        [group, r.label, r.features, r.patients, r.auc.estimate, r.auc.low, r.auc.high]
        + [r.is_shortcut]
        for group, results in audit.probes.items()
        for r in results
    ]
    if rows:
        yield Table(
            "probe_table",
            "AUC of shallow trees that see no lung, one class against the others",
            ["group", "class", "the model sees", "patients", "AUC", "from", "to", "shortcut"],
            rows,
            formats={"AUC": ".2f", "from": ".2f", "to": ".2f", "patients": ","},
            notes=[
                "Cross-validated by patient; a patient's score is the mean of the slices'. "
                "Intervals over patients, 95 % for the classes of a group together. Compressed "
                "size also depends on what an image shows."
            ],
        )


def _threshold_table() -> Table:
    rows = [[name, one.value, one.meaning] for name, one in THRESHOLDS.items()]
    return Table(
        "threshold_table",
        "From where on this audit warns",
        ["name", "value", "what and why"],
        rows,
        formats={"value": "g"},
        notes=["All of them are in ct_lesion/audit/thresholds.py."],
    )
