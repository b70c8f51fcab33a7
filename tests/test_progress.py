"""Progress bars are for terminals: a log file would fill with their carriage returns."""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def test_every_progress_bar_is_off_without_a_terminal():
    found = 0
    for file in [*REPOSITORY.glob("ct_lesion/**/*.py"), *REPOSITORY.glob("tools/*.py")]:
        text = file.read_text("utf-8")
        if "tqdm" not in text:
            continue
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "tqdm":
                found += 1
                names = [keyword.arg for keyword in call.keywords]
                assert "disable" in names, f"{file.name}, line {call.lineno}: disable=None"
    assert found
