from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ct_lesion.data.datasets.covidx_lists import (
    CTSlice,
    Problems,
    parse_name,
    parse_sample_line,
    read_list,
)
from ct_lesion.data.datasets.covidx_splits import (
    check_splits_apart,
    draw_sample,
    select_sample,
    split_patients,
)

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "splits"
needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the published lists are not beside this checkout"
)


def slices(label: int, patients, per_patient: int = 3) -> list[CTSlice]:
    return [CTSlice(label, str(p), "1", f"{i:04d}") for p in patients for i in range(per_patient)]


def test_patient_in_two_splits_is_returned_and_slice_in_two_is_a_problem():
    splits = {
        "train": [CTSlice(2, "96", "1", "a"), CTSlice(2, "7", "1", "a"), CTSlice(0, "8", "1", "a")],
        "val": [CTSlice(2, "96", "2", "a")],
        "test": [CTSlice(1, "96", "3", "a"), CTSlice(2, "7", "1", "a")],
    }
    problems = Problems()
    assert check_splits_apart(splits, problems) == [
        "96: train (NCP), val (NCP), test (CP)",
        "7: train (NCP), test (NCP)",
    ]
    assert "NCP_7_1_a: train, test" in str(problems)
    assert "NCP_96" not in str(problems)


def test_with_ids_per_class_the_same_number_in_two_classes_is_two_people():
    splits = {"train": [CTSlice(2, "96", "1", "a")], "test": [CTSlice(1, "96", "3", "a")]}
    assert check_splits_apart(splits, Problems()) == ["96: train (NCP), test (CP)"]
    assert check_splits_apart(splits, Problems(), ids_per_class=True) == []


def test_sample_depends_on_names_and_seed_only():
    train = [s for label in range(3) for s in slices(label, range(20))]
    problems = Problems()
    sample = draw_sample(train, 10, 0, problems)
    assert Counter(s.label for s in sample) == {0: 10, 1: 10, 2: 10}
    assert len({s.image_id for s in sample}) == 30
    assert draw_sample(train[::-1], 10, 0, problems) == sample
    assert draw_sample(train, 10, 1, problems) != sample
    assert set(draw_sample(train, 5, 0, problems)) < set(sample)
    # another slice replaces a missing one; the others stay
    without = [s for s in train if s != sample[0]]
    assert set(sample[1:]) < set(draw_sample(without, 10, 0, problems))
    assert not problems


def test_sample_is_spread_over_the_patients():
    train = [s for label in range(3) for s in slices(label, range(50), per_patient=10)]
    sample = draw_sample(train, 100, 0, Problems())
    # 100 of 500 slices at random miss a patient with 10 slices about once in ten
    assert len({s.patient for s in sample if s.label == 1}) > 35


def test_class_too_small_for_the_sample_is_named():
    problems = Problems()
    draw_sample([*slices(0, range(4)), *slices(1, [5])], 5, 0, problems)
    assert "Common Pneumonia has 3 training slices, --per-class is 5" in str(problems)
    assert "COVID-19 has 0 training slices" in str(problems)
    assert "Control" not in str(problems)


def test_published_sample_keeps_its_order_and_reports_unknown_slices():
    splits = {"train": slices(0, [1]), "val": slices(1, [2]), "test": []}
    problems = Problems()
    names = ("Normal_1_1_0002", "Normal_1_1_0000", "NCP_9_9_9", "CP_2_1_0001")
    wanted = [parse_name(f"{name}.png") for name in names]
    sample, unknown = select_sample(wanted, splits, problems)
    assert [s.image_id for s in sample] == ["Normal_1_1_0002", "Normal_1_1_0000"]
    assert unknown == ["NCP_9_9_9"]
    assert "in val or test (1):\n  CP_2_1_0001: val" in str(problems)


def test_published_sample_without_training_slices_is_a_problem():
    problems = Problems()
    assert select_sample([CTSlice(2, "9", "9", "9")], {"train": slices(0, [1])}, problems) == (
        [],
        ["NCP_9_9_9"],
    )
    assert "no slice of --sample-list is in the train split" in str(problems)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.tuples(*[st.integers(3, 30)] * 3),
    seed=st.integers(0, 1000),
    fractions=st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3)]),
)
def test_patients_are_never_divided_and_each_class_is_stratified(counts, seed, fractions):
    everything = [s for c, n in enumerate(counts) for s in slices(c, range(100 * c, 100 * c + n))]
    problems = Problems()
    splits = split_patients(everything, fractions, seed, problems)
    assert not problems
    assert sorted(s for own in splits.values() for s in own) == sorted(everything)
    assert check_splits_apart(splits, problems) == []
    for label, total in enumerate(counts):
        people = [{s.patient for s in own if s.label == label} for own in splits.values()]
        for own, fraction in zip(people, fractions, strict=True):
            assert len(own) >= 1
            assert abs(len(own) - fraction * total) < 2
    assert splits == split_patients(everything[::-1], fractions, seed, Problems())


def test_seed_changes_the_split():
    everything = [
        s for label in range(3) for s in slices(label, range(50 * label, 50 * label + 30))
    ]
    tests = [
        {s.patient for s in split_patients(everything, (0.6, 0.2, 0.2), seed, Problems())["test"]}
        for seed in (0, 1)
    ]
    assert tests[0] != tests[1]


def test_a_patient_with_scans_of_two_classes_is_not_divided():
    # in each class the patients are numbered from 0, i.e. 10 people have scans of all classes
    everything = [s for label in range(3) for s in slices(label, range(10))]
    splits = split_patients(everything, (0.6, 0.2, 0.2), 0, Problems())
    assert check_splits_apart(splits, Problems()) == []
    assert [len({s.patient for s in own}) for own in splits.values()] == [6, 2, 2]
    apart = split_patients(everything, (0.6, 0.2, 0.2), 0, Problems(), ids_per_class=True)
    assert len(check_splits_apart(apart, Problems())) > 0
    assert check_splits_apart(apart, Problems(), ids_per_class=True) == []


def test_class_with_too_few_patients_is_named():
    everything = [*slices(0, range(10)), *slices(1, range(10, 20)), *slices(2, [99])]
    problems = Problems()
    split_patients(everything, (0.6, 0.2, 0.2), 0, problems)
    assert "val has no COVID-19" in str(problems) and "test has no COVID-19" in str(problems)
    assert "train" not in str(problems)


@needs_published
def test_published_lists():
    problems = Problems()
    splits = {
        name: read_list(PUBLISHED / f"{name}_COVIDx_CT-1.txt", problems)
        for name in ("train", "val", "test")
    }
    overlap = check_splits_apart(splits, problems)
    listed = read_list(
        PUBLISHED / "authors_train_split_classification.txt", problems, parse_sample_line
    )
    sample, unknown = select_sample(listed, splits, problems)
    assert not problems, str(problems)
    assert [len(s) for s in splits.values()] == [61782, 21036, 21191]
    assert overlap == []
    assert unknown == []
    assert Counter(s.label for s in sample) == {0: 1000, 1: 1000, 2: 1000}
    # no number occurs in two classes, so a number is taken as one person
    every = {(s.patient, s.label) for own in splits.values() for s in own}
    assert len(every) == len({patient for patient, _ in every}) == 1489
