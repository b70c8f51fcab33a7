from ct_lesion.scans.names import natural_key, safe_name, unique_names


def test_safe_names():
    assert safe_name("NCP/12 (a).x") == "NCP_12_a_.x"
    assert safe_name("..") == "scan"
    assert safe_name("患者") == "scan"


def test_repeated_names_are_numbered_without_collisions():
    assert unique_names(["a", "a", "A", "a-2", "b"]) == ["a", "a-2", "A-3", "a-2-2", "b"]


def test_natural_order():
    names = ["s10", "s2", "S1", "s02", "a", "a1", "3", "x²"]
    assert sorted(names, key=natural_key) == ["3", "a", "a1", "S1", "s02", "s2", "s10", "x²"]
