"""The whole audit, on folders of pictures."""

import cv2
import pytest
from audit_toys import textured

from ct_lesion.audit.classes import shortcut_probe
from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.run import Audit, AuditOptions, run_audit

PATIENTS = 12


@pytest.fixture
def audit_classes(tmp_path, monkeypatch):
    """Audits class folders with one slice per patient, each class in its file format."""
    monkeypatch.setattr(shortcut_probe, "RESAMPLES", 200)

    def run(**endings: str) -> Audit:
        for index, (name, ending) in enumerate(endings.items()):
            for number in range(PATIENTS):
                patient = PATIENTS * index + number
                path = tmp_path / f"classes/{name}/{patient}/1/0001.{ending}"
                path.parent.mkdir(parents=True)
                cv2.imwrite(str(path), textured(patient))
        return run_audit(
            read_inputs([f"train={tmp_path / 'classes'}"]), AuditOptions(), lambda line: None
        )

    return run


def test_a_class_with_another_file_format_is_a_shortcut(audit_classes):
    audit = audit_classes(Normal="png", CP="png", NCP="jpg")
    (finding,) = audit.findings
    assert finding.code == "class_from_file_properties"
    assert "COVID-19 (AUC 1.00)" in finding.what
    assert "file format (1.00)" in finding.where[0]
    assert audit.fails(strict=True)
    assert not audit.fails()


def test_classes_with_equal_file_properties_have_no_findings(audit_classes):
    audit = audit_classes(Normal="png", CP="png", NCP="png")
    assert audit.findings == []
    assert audit.images == 3 * PATIENTS
    assert set(audit.probes) == {"train"}


def test_the_numbers_of_an_audit_are_plain_values(audit_classes):
    plain = audit_classes(Normal="png", NCP="jpg").as_dict()
    assert plain["inputs"][0]["patients"] == 2 * PATIENTS
    assert {c["label"]: c["slices"] for c in plain["classes"]} == {
        "Control": PATIENTS,
        "COVID-19": PATIENTS,
    }
    by_format = [r for r in plain["shortcut_probe"]["train"] if r["features"] == "file format"]
    assert by_format[0]["auc"]["estimate"] == 1
