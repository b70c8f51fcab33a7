"""The help of each job: what it does, examples that parse, and where results go."""

import ast
import re

import pytest
from commands import check_command, tool_commands
from tool_runs import TOOLS, load_tool

from tools.__main__ import INSTALL, as_jobs, find_jobs

PRINT_ONLY = {"models", "scans", "analyze-model", INSTALL}
PLACE = re.compile(r"\b(writes?|written|gets)\b", flags=re.I)


@pytest.mark.parametrize("job", find_jobs())
def test_help_has_examples_that_parse_and_says_where_results_go(job, monkeypatch):
    file = find_jobs()[job]
    text = as_jobs(load_tool(file.name).__doc__)
    assert re.search(rf"^    ct-lesion {job}( |$)", text, flags=re.M), f"{job}: no example"
    indented = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    for tool, rest in tool_commands(indented):
        check_command(tool, rest, monkeypatch)
    assert job in PRINT_ONLY or PLACE.search(text), f"{job}: where do results go?"
    assert max(map(len, text.splitlines())) <= 100


def test_help_names_jobs_rather_than_files():
    assert as_jobs("python tools/train_net.py A, of tools/show_predictions.py") == (
        "ct-lesion train A, of ct-lesion show-predictions"
    )
    for file in TOOLS.glob("[a-z]*.py"):
        assert "tools/" not in as_jobs(ast.get_docstring(ast.parse(file.read_text())))


def test_tools_import_ct_lesion_before_detectron2():
    """Importing Detectron2 itself prints torch's warnings, which ct_lesion silences."""
    for file in TOOLS.glob("[a-z]*.py"):
        packages = re.findall(r"^(?:from|import) (ct_lesion|detectron2)\b", file.read_text(), re.M)
        assert packages[:1] != ["detectron2"], file
