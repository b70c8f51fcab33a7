import errno

import pytest

from ct_lesion.command_line import run_tool
from ct_lesion.errors import UserError, reason


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("SEED: wrong"), "Error: SEED: wrong\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/a.json"),
            "Error: Cannot write out/a.json: no space left on the disk. Make room, or choose "
            "another folder.\n",
        ),
        (OSError(errno.EROFS, "Read-only file system"), "Error: Cannot write: the disk is read-"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x"), "Error: Cannot write x: the disk quo"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(error, line, capsys) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_tool(main)
    assert exit_.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise OSError(errno.ENOENT, "No such file", "x")

    with pytest.raises(OSError, match="No such file"):
        run_tool(main)


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
