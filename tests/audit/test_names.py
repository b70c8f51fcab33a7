import numpy as np
import pytest

from ct_lesion.audit.findings import Severity
from ct_lesion.audit.inputs.slices import CLASS_SOURCE, LESION_SOURCE, AuditSlice
from ct_lesion.audit.names import find_label_conflicts, find_not_comparable, find_shared


def codes(findings):
    return {finding.code: finding for finding in findings}


def test_groups_with_nothing_in_common_have_no_findings(make_input):
    inputs = [make_input("train", [("1", "a", "0")]), make_input("test", [("2", "b", "0")])]
    assert find_shared(inputs) == []


def test_a_patient_with_different_scans_in_two_groups_is_only_a_patient_leak(make_input):
    train = make_input("train", [("1", "a", "0"), ("1", "a", "1"), ("3", "c", "0")])
    test = make_input("test", [("1", "b", "0"), ("2", "d", "0")])
    (finding,) = find_shared([train, test])
    assert finding.code == "patient_in_two_groups"
    assert finding.severity is Severity.ERROR
    assert finding.what == "1 patient is in both train and test (slices: 2 in train, 1 in test)."
    assert finding.where == ["1: 2 in train, 1 in test"]


def test_a_shared_slice_is_reported_with_its_scan_and_patient(make_input):
    inputs = [make_input(group, [("1", "a", "0")]) for group in ("train", "val", "test")]
    findings = find_shared(inputs)
    # one finding for each pair of groups
    assert [f.code for f in findings].count("slice_in_two_groups") == 3
    assert {"patient_in_two_groups", "scan_in_two_groups"} < set(codes(findings))


def test_inputs_of_a_group_may_share_patients_but_repeated_slices_are_reported(make_input):
    full = make_input("train", [("1", "a", "0"), ("1", "a", "1")])
    sample = make_input("train", [("1", "a", "1")], name="sample")
    (finding,) = find_shared([full, sample])
    assert (finding.code, finding.severity) == ("slice_twice_in_a_group", Severity.NOTE)
    twice = make_input("train", [("1", "a", "0"), ("1", "a", "0")])
    (finding,) = find_shared([twice])
    assert (finding.code, finding.severity) == ("slice_twice_in_a_group", Severity.WARNING)


@pytest.mark.parametrize(
    ("sources", "severity"),
    [((LESION_SOURCE, CLASS_SOURCE), Severity.NOTE), (("here", "there"), Severity.WARNING)],
)
def test_a_patient_number_in_two_sources_is_reported_but_not_as_a_leak(
    make_input, sources, severity
):
    inputs = [
        make_input(group, [("12", "a", "0")], source)
        for group, source in zip(("train", "test"), sources, strict=True)
    ]
    (finding,) = find_shared(inputs)
    assert (finding.code, finding.severity) == ("same_numbers_of_two_sources", severity)
    assert finding.where == ["12"]
    (unchecked,) = find_not_comparable(inputs, same_numbers=False)
    assert "only images can be compared" in unchecked.why
    assert "patient_in_two_groups" in codes(find_shared(inputs, same_numbers=True))
    assert find_not_comparable(inputs, same_numbers=True) == []


def test_slices_without_patients_are_compared_by_name(make_input):
    inputs = [make_input(group, [(None, None, "0")]) for group in ("train", "test")]
    assert set(codes(find_shared(inputs))) == {"slice_in_two_groups"}


def test_one_file_under_two_names_is_found(make_input, write_pictures):
    folder = write_pictures("images", {"a.png": np.zeros((4, 4))})
    (folder / "b.png").symlink_to(folder / "a.png")
    inputs = []
    for group, name in (("train", "a"), ("test", "b")):
        dataset = make_input(group, [], source=group)
        dataset.slices = [AuditSlice(name, image=folder / f"{name}.png", patient=name)]
        inputs.append(dataset)
    assert set(codes(find_shared(inputs))) == {"file_in_two_groups"}


def test_conflicting_labels_are_found(make_input):
    dataset = make_input(
        "train", [("1", "a", "0", "NCP"), ("2", "b", "0", "CP"), ("2", "c", "0", "NCP")]
    )
    other = make_input("train", [("1", "a", "0", "CP")], name="corrected")
    findings = codes(find_label_conflicts([dataset, other]))
    assert findings["labels_that_differ"].where == ["1_a_0: CP, NCP"]
    assert findings["patient_of_several_classes"].where == ["1: CP, NCP", "2: CP, NCP"]
