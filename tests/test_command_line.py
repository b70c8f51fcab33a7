import errno
import sys

import pytest

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError


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
def test_user_and_disk_errors_are_one_line_and_exit_code_2(error, line, capsys) -> None:
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


def test_ctrl_c_prints_no_traceback(capsys) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        run_tool(main)
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


DOC = """Report runs.

Examples:
    python tools/train_net.py --resume
"""


def test_help_shows_the_docstring(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/report.py"])
    lines = tool_parser(DOC).format_help().splitlines()
    assert lines[0] == "usage: report.py [-h]"
    assert lines[2] == "Report runs."
    assert lines[-2:] == ["Examples:", "    python tools/train_net.py --resume"]
