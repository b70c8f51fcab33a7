from pathlib import Path

import cv2
import numpy as np
import pytest
from audit_toys import textured

from ct_lesion.audit.copies.findings import (
    find_copied,
    find_copied_within,
    search_between_groups,
    search_within_groups,
)
from ct_lesion.audit.findings import Severity
from ct_lesion.audit.images.checks import read_images
from ct_lesion.audit.inputs.arguments import read_inputs


@pytest.fixture
def search(tmp_path: Path):
    """Writes a folder of pictures for each group, and searches them for pairs of patients."""

    def run(search_images, **groups: dict[str, np.ndarray]):
        for group, pictures in groups.items():
            for name, pixels in pictures.items():
                path = tmp_path / group / name
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels)
        inputs = read_inputs([f"{group}={tmp_path / group}" for group in groups])
        with read_images(inputs, pytest.fail) as images:
            pairs = search_images(images)
            return pairs, [pair.as_dict(images) for pair in pairs]

    return run


def scan(patient: str, seeds: range, ending: str = "png") -> dict[str, np.ndarray]:
    return {f"{patient}/{seed}.{ending}": textured(seed, 128) for seed in seeds}


def test_identical_images_of_two_patients_are_reported_as_a_pair_of_patients(search):
    train = {**scan("12", range(5)), **scan("13", range(10, 13))}
    test = {**scan("845", range(3)), **scan("846", range(20, 23))}
    pairs, plain = search(search_between_groups, train=train, test=test)
    (pair,) = pairs
    assert pair.patients == ("12", "845")
    assert len(pair.copies) == pair.exact == 3
    (finding,) = find_copied(pairs)
    assert (finding.severity, finding.code) == (Severity.ERROR, "copies_between_groups")
    assert finding.what == "train and test have 3 images in common (1 pair of patients)."
    assert finding.where == [
        "patient 12 of train looks like patient 845 of test: 3 identical images"
    ]
    assert {(s["a"], s["b"]) for s in plain[0]["slices"]} == {
        (f"12/{seed}.png", f"845/{seed}.png") for seed in range(3)
    }


def test_the_group_named_first_comes_first(search):
    pairs, _ = search(search_between_groups, zebra=scan("z", range(2)), ape=scan("a", range(2)))
    assert pairs[0].groups == ("zebra", "ape")
    assert pairs[0].patients == ("z", "a")


def test_a_single_near_copy_is_a_warning(search):
    train, test = scan("12", range(4)), scan("845", range(20, 24))
    test["845/copy.jpg"] = train["12/0.png"]
    pairs, _ = search(search_between_groups, train=train, test=test)
    (finding,) = find_copied(pairs)
    assert (finding.severity, finding.code) == (Severity.WARNING, "single_copies_between_groups")
    assert finding.where[0].endswith(": 1 near copy")


def test_slices_without_a_patient_are_searched_too(search):
    loose = {f"{seed}.png": textured(seed, 128) for seed in range(3)}
    pairs, _ = search(search_between_groups, train=scan("12", range(3)), external=loose)
    assert str(pairs[0]) == (
        "patient 12 of train looks like an unknown patient of external: 3 identical images"
    )


def test_groups_without_copies_have_no_findings(search):
    pairs, plain = search(
        search_between_groups, train=scan("1", range(4)), test=scan("2", range(9, 12))
    )
    assert (pairs, plain, list(find_copied(pairs))) == ([], [], [])


def test_within_a_group_only_identical_images_of_two_patients_are_reported(search):
    train = {**scan("b", range(3)), **scan("a", range(1)), **scan("c", range(7, 9))}
    pairs, _ = search(search_within_groups, train=train)
    (pair,) = pairs
    assert pair.patients == ("a", "b")
    (finding,) = find_copied_within(pairs)
    assert (finding.severity, finding.code) == (Severity.WARNING, "copies_within_a_group")
