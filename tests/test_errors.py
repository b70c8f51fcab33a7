import pytest

from ct_lesion.errors import UserError, one_line, printable, reason


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a file is damaged.\nmore of it", "a file is damaged"),
        ("\n  two   words\n", "two words"),
        ("", "ValueError"),
        ("Exception thrown in ITK's reader: a.cxx:12:\nsitk::ERROR: no such file.", "no such file"),
        ("x" * 400, "x" * 300),
    ],
)
def test_reason_is_one_short_line(text: str, line: str) -> None:
    assert reason(ValueError(text)) == line


def test_the_reason_of_a_system_error_leaves_out_the_path():
    assert reason(FileNotFoundError(2, "No such file or directory", "a.txt")) == (
        "No such file or directory"
    )


def test_control_characters_do_not_reach_the_terminal():
    hostile = "a\x1b[31mb\x07\r\u202ec\udcff"
    assert printable(hostile) == "a\\x1b[31mb\\x07\\r\\u202ec\\udcff"
    assert printable("é 患\n\t") == "é 患\n\t"
    assert one_line(UserError(f"{hostile}: no such file.")).isprintable()
