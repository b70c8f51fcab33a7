import hashlib
import re

import pytest

from ct_lesion.scans.names import natural_key, safe_name, unique_names


@pytest.mark.parametrize("name", ["NCP-12-1", "A_1", "1", "scan.2"])
def test_safe_names_stay(name):
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "names",
    [
        ["患者", "病人", "Иван", "Пётр", "scan"],
        ["A/1", "A_1", "A 1", "A\\1", "A//1"],
        ["-1", "1", "1-", "_1", ".1"],
        ["", "..", ".", "_"],
        ["x" * 300, "x" * 301],
        ["é", "e\u0301", "e"],
    ],
)
def test_different_patients_get_different_safe_names(names):
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,120}", name, re.ASCII) for name in safe)


def test_a_changed_name_ends_in_a_hash_of_the_text():
    digest = hashlib.sha256(b"A/1").hexdigest()
    assert safe_name("A/1") == f"A_1-{digest[:8]}"


def test_repeated_names_are_numbered_without_collisions():
    assert unique_names(["a", "a", "A", "a-2", "b"]) == ["a", "a-2", "A-3", "a-2-2", "b"]


def test_natural_order():
    names = ["s10", "s2", "S1", "s02", "a", "a1", "3", "x²"]
    assert sorted(names, key=natural_key) == ["3", "a", "a1", "S1", "s02", "s2", "s10", "x²"]


def test_a_minus_sign_counts_and_a_separating_dash_does_not():
    names = ["z_20.png", "z_-100.png", "z_-20.png", "z_3.png", "z_-3.25.png", "z_-3.5.png"]
    assert sorted(names, key=natural_key) == [
        "z_-100.png", "z_-20.png", "z_-3.5.png", "z_-3.25.png", "z_3.png", "z_20.png"
    ]  # fmt: skip
    assert sorted(["-2", "1", "-10"], key=natural_key) == ["-10", "-2", "1"]
    assert sorted(["IM-10", "IM-9", "1-10", "1-9"], key=natural_key) == [
        "1-9", "1-10", "IM-9", "IM-10"
    ]  # fmt: skip


def test_a_number_of_any_length_has_its_place():
    names = ["9" * 5000, "2", "1" * 200]
    assert sorted(names, key=natural_key) == ["2", "1" * 200, "9" * 5000]


def test_reserved_names_are_numbered():
    assert unique_names(["Index.html", "a"], ["index.html"]) == ["Index.html-2", "a"]


def test_many_equal_names_are_numbered_without_trying_all_numbers():
    tries = []

    class Counted(str):
        def __format__(self, form: str) -> str:
            tries.append(self)
            return str(self)

    names = unique_names([Counted("ct") for _ in range(100)])
    assert names == ["ct", *(f"ct-{number}" for number in range(2, 101))]
    assert len(tries) == 99
