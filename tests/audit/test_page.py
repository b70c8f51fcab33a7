import json
import os
import re

import pytest

from ct_lesion.audit.copies.findings import PatientPair, find_copied
from ct_lesion.audit.copies.pictures import PairPicture
from ct_lesion.audit.copies.search import Copy
from ct_lesion.audit.copies.trials import TrialReport, TrialRow
from ct_lesion.audit.findings import Finding, NotChecked, Severity, by_severity
from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.names import find_shared
from ct_lesion.audit.page import check_output, render, verdict, write_audit
from ct_lesion.audit.run import NO_IMAGES, Audit, AuditOptions, run_audit
from ct_lesion.errors import UserError


def with_findings(*severities: Severity) -> Audit:
    findings = by_severity(Finding(s, f"a_{s}", f"One {s}.") for s in severities)
    return Audit([], AuditOptions(), findings)


@pytest.mark.parametrize(
    ("severities", "text", "fails", "fails_strictly"),
    [
        ([], "No findings.", False, False),
        ([Severity.NOTE], "No errors; 1 note.", False, False),
        ([Severity.NOTE, Severity.WARNING], "No errors; 1 warning and 1 note.", False, True),
        ([Severity.WARNING] * 2 + [Severity.ERROR], "1 error and 2 warnings.", True, True),
    ],
)
def test_the_verdict_counts_severities_and_sets_the_outcome(
    severities, text, fails, fails_strictly
):
    audit = with_findings(*severities)
    assert verdict(audit) == text
    assert (audit.fails(), audit.fails(strict=True)) == (fails, fails_strictly)
    assert text in render(audit)


def test_errors_come_first_and_only_the_page_shortens_long_lists(tmp_path):
    places = [f"patient <{n}>" for n in range(14)]
    findings = [
        Finding(Severity.NOTE, "small", "A note."),
        Finding(Severity.ERROR, "big", "An error.", places, "Do something."),
    ]
    audit = Audit([], AuditOptions(), by_severity(findings), [NotChecked("a check", "a reason")])
    page, numbers = write_audit(audit, tmp_path / "out")
    html = page.read_text()
    assert html.index("An error.") < html.index("A note.")
    assert "patient &lt;9&gt;" in html
    assert "patient &lt;10&gt;" not in html
    assert "and 4 more in audit.json" in html
    assert "a reason" in html
    assert "Not for clinical use" in html
    assert not re.search(r"(src|href)=\"(?!#|data:)", html)  # needs no network
    content = json.loads(numbers.read_text())
    assert content["findings"][0]["where"] == places
    assert content["severities"] == {"error": 1, "warning": 0, "note": 1}
    assert content["not_checked"] == [{"check": "a check", "why": "a reason"}]
    assert content["thresholds"]["SHORTCUT_AUC"]["value"] == 0.7


def test_a_file_name_that_is_not_valid_text_can_be_reported(tmp_path):
    finding = Finding(Severity.ERROR, "corrupt_image", "One.", [os.fsdecode(b"a\xff.png")])
    page, numbers = write_audit(Audit([], AuditOptions(), [finding]), tmp_path)
    assert r"a\udcff.png" in page.read_text(encoding="utf-8")
    assert json.loads(numbers.read_text())["findings"][0]["count"] == 1


def test_the_page_shows_copies_side_by_side_their_patients_and_the_trial():
    copies = (Copy(0, 1, "same bytes"), Copy(2, 3, "near copy", "flipped left-right", 0.97))
    pair = PatientPair(("cncb", "covidx"), ("12", "845"), ("train", "test"), copies)
    picture = PairPicture("data:image/jpeg;base64,AA", "data:image/jpeg;base64,BB", ("a", "b"), "x")
    rows = (TrialRow("resized", 40, 39, 1), TrialRow("flipped", 10, 10, 0))
    trial = TrialReport(200, rows, 0)
    audit = Audit([], AuditOptions(), list(find_copied([pair])), images=4, pairs=[pair])
    audit.pictures, audit.trial = [picture], trial
    html = render(audit)
    assert (
        "patient 12 of cncb looks like patient 845 of covidx: 1 identical image and 1 near copy"
        in html
    )
    assert html.count("<img ") == 2
    assert "0.980" in html  # total recall, 49 of 50
    assert audit.as_dict()["copy_search_trial"]["recall"] == 0.98


def test_an_earlier_audit_is_replaced_only_with_overwrite(tmp_path):
    check_output(tmp_path, overwrite=False)
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(UserError, match="--overwrite"):
        check_output(tmp_path, overwrite=False)
    check_output(tmp_path, overwrite=True)


def test_lists_can_be_audited_and_the_page_names_the_checks_not_made(tmp_path):
    for group, patient in (("train", 1), ("test", 1)):
        line = f"NCP_{patient}_2_{group}.png 2 0 0 5 5\n"
        (tmp_path / f"{group}.txt").write_text(line)
    inputs = read_inputs([f"{group}={tmp_path / group}.txt" for group in ("train", "test")])
    lines: list[str] = []
    audit = run_audit(inputs, AuditOptions(), lines.append)
    assert {f.code for f in audit.findings if f.severity is Severity.ERROR} == {
        "patient_in_two_groups",
        "scan_in_two_groups",
    }
    assert any(item.why == "there are no images" for item in audit.not_checked)
    assert lines[0].startswith("[1/5]")
    assert "only a list was given" in render(audit)


def test_without_images_masks_are_not_checked(lesion_archive):
    options = AuditOptions(images=False)
    audit = run_audit(read_inputs([str(lesion_archive)]), options, lambda line: None)
    assert audit.images == 0
    assert audit.masks == []
    assert {item.why for item in audit.not_checked} == {NO_IMAGES}


def test_the_published_lists_share_no_patient(shared):
    folder = shared / "data/splits"
    lists = [f"{name}={folder / name}_COVIDx_CT-1.txt" for name in ("val", "test")]
    lists.append(f"train={folder / 'authors_train_split_classification.txt'}")
    inputs = read_inputs(lists)
    assert find_shared(inputs) == []
    assert [len({s.patient for s in dataset.slices}) for dataset in inputs] == [332, 293, 608]
