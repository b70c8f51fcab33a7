import numpy as np
import pytest
from scipy.stats import fisher_exact

from ct_lesion.audit.classes.balance import (
    associations,
    count_classes,
    find_associations,
    find_imbalance,
    independence_p_value,
)


def people(label: str, numbers: range, slices: int = 1) -> list[tuple]:
    return [(f"{label}{n}", "s", f"{i}", label) for n in numbers for i in range(slices)]


def test_classes_are_counted_in_patients_scans_and_slices(make_input):
    dataset = make_input(
        "train", [("1", "a", "0", "CP"), ("1", "b", "0", "CP"), ("2", "a", "0", "NCP")]
    )
    (cp, ncp) = count_classes([dataset])
    assert (cp.patients, cp.scans, cp.slices) == (1, 2, 2)
    assert (ncp.patients, ncp.scans, ncp.slices) == (1, 1, 1)


def test_few_patients_and_imbalance_are_reported_despite_many_slices(make_input):
    slices = people("CP", range(60)) + people("NCP", range(9), slices=50)
    findings = {f.code: f for f in find_imbalance(count_classes([make_input("train", slices)]))}
    assert findings["few_patients_of_a_class"].where == ["NCP: 9 patients"]
    assert findings["unbalanced_classes"].what == (
        "train: the classes are unbalanced: 60 patients of CP, 9 of NCP."
    )
    assert "slices_and_patients_disagree" in findings


def test_balanced_classes_and_slices_without_patients_have_no_findings(make_input):
    balanced = make_input("train", people("CP", range(12)) + people("NCP", range(12)))
    unnamed = make_input("test", [(None, None, str(i), "CP") for i in range(3)])
    assert list(find_imbalance(count_classes([balanced, unnamed]))) == []


def test_the_p_value_matches_fishers_exact_test():
    # two-sided with equal rows: tables equally far from independence are equally improbable
    table = np.array([[8, 2], [3, 7]])
    exact = fisher_exact(table).pvalue
    assert independence_p_value(table) == pytest.approx(exact, abs=0.01)


def test_a_class_from_a_single_origin_is_reported(make_input):
    apart = [
        make_input("train", people("CP", range(12)), source="here", name="a"),
        make_input("train", people("NCP", range(12)), source="there", name="b"),
    ]
    measured, skipped = associations(apart)
    (finding,) = find_associations(measured)
    assert finding.code == "class_goes_with_origin"
    assert finding.where == [
        "CP patients: 12 in here, 0 in there",
        "NCP patients: 0 in here, 12 in there",
    ]
    assert measured[0].cramers_v == pytest.approx(1)
    assert skipped == []


def test_equal_class_frequencies_in_two_groups_have_no_findings(make_input):
    inputs = [
        make_input(
            group, people("CP", range(start, start + 12)) + people("NCP", range(start, start + 12))
        )
        for group, start in (("train", 0), ("test", 100))
    ]
    measured, skipped = associations(inputs)
    assert [a.with_what for a in measured] == ["group"]
    assert measured[0].cramers_v == 0
    assert list(find_associations(measured)) == []
    assert all("only one origin" in item.why for item in skipped)


def test_a_class_alone_in_a_group_of_two_origins_is_not_checked(make_input):
    inputs = [
        make_input("train", people("CP", range(start, start + 3)), source=source, name=source)
        for start, source in ((0, "here"), (3, "there"))
    ]
    measured, (skipped,) = associations(inputs)
    assert measured == []
    assert skipped.check == "association of class and origin in train"
    assert skipped.why == "there is only one class"
