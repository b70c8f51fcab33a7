import pytest

from ct_lesion.data.datasets.covidx_lists import (
    CTSlice,
    Problems,
    parse_line,
    parse_name,
    parse_sample_line,
    read_list,
)
from ct_lesion.errors import DatasetError


def test_line_is_a_slice_with_its_body_box():
    ct_slice = parse_line("NCP_96_1328_0032.png 2 9 94 512 405")
    assert ct_slice == CTSlice(2, "96", "1328", "0032", (9, 94, 512, 405))
    assert ct_slice.image_id == "NCP_96_1328_0032"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("NCP_96_1328_0032.png 2 9 94 512", "5 fields, expected 6"),
        ("NCP_96_1328_0032.png 2 9 94 512 405 1", "7 fields, expected 6"),
        ("NCP_96_0032.png 2 9 94 512 405", "'NCP_96_0032.png' is not of the form"),
        ("NCP__1328_0032.png 2 9 94 512 405", "is not of the form"),
        ("ABC_96_1328_0032.png 2 9 94 512 405", "unknown class 'ABC', expected Normal, CP, NCP"),
        ("NCP_96_1328_0032.png 3 9 94 512 405", "unknown class '3', expected 0, 1 or 2"),
        ("NCP_96_1328_0032.png 1 9 94 512 405", "class 1 contradicts the name .*NCP is class 2"),
        ("NCP_96_1328_0032.png 2 -9 94 512 405", "-9 94 512 405 is not four whole numbers"),
        ("NCP_96_1328_0032.png 2 9 94.5 512 405", "is not four whole numbers"),
        ("NCP_96_1328_0032.png 2 512 94 512 405", "body box 512 94 512 405 is empty"),
        ("NCP_96_1328_0032.png 2 9 405 512 94", "body box 9 405 512 94 is empty"),
    ],
)
def test_malformed_line_says_what_is_wrong(line, message):
    with pytest.raises(ValueError, match=message):
        parse_line(line)


def test_all_problems_of_a_list_are_reported_by_line(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(
        "CP_1_2_0001.png 1 0 0 5 5\n\nCP_1_2_0001.png 1 0 0 5 5\n"
        "nonsense\nABC_1_2_3.png 1 0 0 5 5\n"
    )
    problems = Problems()
    assert [s.image_id for s in read_list(path, problems)] == ["CP_1_2_0001"]
    text = str(problems)
    assert f"{path}:3: CP_1_2_0001 is already in line 1" in text
    assert f"{path}:4: 1 fields, expected 6" in text
    assert f"{path}:5: unknown class 'ABC'" in text
    with pytest.raises(DatasetError, match="Nothing was written"):
        problems.raise_if_any()


def test_list_may_have_windows_line_ends_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbfCP_1_2_0001.png 1 0 0 5 5\r\nCP_1_2_0002.png 1 0 0 5 5\r\n")
    problems = Problems()
    assert [s.slice for s in read_list(path, problems)] == ["0001", "0002"]
    assert not problems


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"", "is empty"), (b"\n \n", "is empty"), (b"\xff\xfe\x00", "codec")],
)
@pytest.mark.parametrize("parse", [parse_line, parse_sample_line])
def test_unreadable_list_is_named(tmp_path, content, message, parse):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    problems = Problems()
    assert read_list(path, problems, parse) == []
    assert str(path) in str(problems) and message in str(problems)


def test_problems_show_ten_of_a_kind_and_the_number():
    problems = Problems()
    problems.add("missing", *(f"slice {i}" for i in range(25)))
    lines = str(problems).splitlines()
    assert lines[0] == "missing (25):"
    assert lines[10:] == ["  slice 9", "  ... and 15 more"]


def test_no_problems_raise_nothing():
    problems = Problems()
    problems.add("kind without items")
    assert not problems
    problems.raise_if_any()


def test_sample_list_takes_class_digits_and_class_names(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("0_1728_1013_0023.png\nCP_5_6_0007.png\n2_96_1328_0032.jpg\n")
    problems = Problems()
    listed = read_list(path, problems, parse_sample_line)
    assert [s.image_id for s in listed] == [
        "Normal_1728_1013_0023",
        "CP_5_6_0007",
        "NCP_96_1328_0032",
    ]
    assert not problems


def test_sample_list_refuses_unknown_class_duplicates_and_other_forms(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("3_1_2_0003.png\n0_1_2_0003.png\nNormal_1_2_0003.png\n0_1_0003.png\n")
    problems = Problems()
    read_list(path, problems, parse_sample_line)
    assert f"{path}:1: unknown class '3'" in str(problems)
    assert f"{path}:3: Normal_1_2_0003 is already in line 2" in str(problems)
    assert f"{path}:4: 'Normal_1_0003.png' is not of the form" in str(problems)


@pytest.mark.parametrize("name", ["NCP_96_1328_0032.png", "NCP_96_1328_0032.jpeg"])
def test_name_and_id_are_inverse(name):
    assert parse_name(name).image_id == name.rsplit(".", 1)[0]
