"""README and docs: links lead somewhere, commands are tested, and the index lists every page.

Every command in a shell block is parsed, and its config is looked up. RUN_BY names the test that
runs its tool on toy data, NOT_RUN why no test runs it.
"""

import re
from pathlib import Path

import pytest
from commands import check_command, command_lines, tool_commands

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "datasets", "ct_lesion/weights")
PAGES = sorted(page for folder in FOLDERS for page in (REPOSITORY / folder).glob("*.md"))

RUN_BY = {  # the test file that runs a tool
    "analyze_model": "tools/test_analyze_model.py",
    "audit_dataset": "tools/test_audit_dataset.py",
    "benchmark": "tools/test_benchmark.py",
    "calibrate": "tools/test_calibrate.py",
    "compare": "tools/test_compare.py",
    "convert_checkpoint": "checkpoint/test_convert_tool.py",
    "export": "tools/test_export.py",
    "install_detectron2": "tools/test_install_detectron2.py",
    "predict": "tools/test_predict.py",
    "prepare_cncb": "tools/test_prepare_cncb.py",
    "prepare_covidx_ct": "tools/test_prepare_covidx_ct.py",
    "prepare_volumes": "tools/test_prepare_volumes.py",
    "report": "tools/test_report.py",
    "scans": "scans/test_listing.py",
    "show_predictions": "tools/test_train_net.py",
    "summarize_seeds": "tools/test_summarize_seeds.py",
    "train_net": "tools/test_train_net.py",
    "visualize_data": "tools/test_visualize_data.py",
}
NOT_RUN = {  # the start of a command: why no test runs it
    "bash tools/quickstart.sh": "takes five minutes; tests/tools run each of its tools",
    "bash tools/run_tests.sh": "runs the tests",
    "bash tools/setup_env.sh": "needs the network; run_tests.sh calls it first",
    "git clone": "needs the network",
    "pip install": "needs the network; setup_env.sh does the same",
    "source .venv/bin/activate": "changes the shell only",
    "nnUNetv2_predict": "another program",
    "cd ": "changes the shell only",
    "export ": "changes the shell only",
    "for ": "repeats commands that are listed",
    "done": "ends a loop",
}
NOT_RUN_AS_WRITTEN = {  # an argument: why tests run its tool without it, or with a smaller value
    "--num-gpus 8": "needs 8 GPUs; tests/tools/test_train_net_processes.py runs two processes",
    "--num-machines 2": "needs two machines; tests/engine/test_launch.py starts two on one",
    "--processes 8": "tests/tools/test_predict_processes.py runs two processes",
    "--rows": "full-size timings take minutes; tests/benchmark runs each kind on toy sizes",
    "--vs-torchvision": "a full-size timing",
    "configs/": "full-size training takes hours; tests override its size and length",
}


def page_commands() -> list[tuple[str, str, str]]:
    """Page, tool and arguments of every command in a shell block that calls one of our tools."""
    return [
        (page.name, *command)
        for page in PAGES
        for block in shell_blocks(page)
        for command in tool_commands(block)
    ]


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), flags=re.S)


@pytest.mark.parametrize(("page", "tool", "rest"), page_commands())
def test_a_command_parses(page, tool, rest, monkeypatch):
    assert (REPOSITORY / "tools" / f"{tool}.py").is_file(), f"{page}: no tool {tool}"
    check_command(tool, rest, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_run_or_listed(page):
    for block in shell_blocks(page):
        for line in command_lines(block):
            tools = [tool for tool, _ in tool_commands(line)]
            assert all(tool in RUN_BY for tool in tools), line
            assert tools or line.startswith(tuple(NOT_RUN)), line


@pytest.mark.parametrize("start", [*NOT_RUN, *NOT_RUN_AS_WRITTEN])
def test_the_list_names_commands_of_the_pages(start):
    lines = [
        line for page in PAGES for block in shell_blocks(page) for line in command_lines(block)
    ]
    if start in NOT_RUN:
        assert any(line.startswith(start) for line in lines)
    else:
        assert any(start in line for line in lines)


@pytest.mark.parametrize(("tool", "test"), RUN_BY.items())
def test_the_listed_test_runs_the_tool(tool, test):
    assert re.search(rf"\b{tool}\b", (REPOSITORY / "tests" / test).read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), flags=re.M)
            assert anchor in map(anchor_of, titles), link


def anchor_of(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_index_lists_every_page():
    index = (REPOSITORY / "docs/README.md").read_text("utf-8")
    for page in REPOSITORY.glob("docs/*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_version_is_the_same_everywhere():
    from ct_lesion import __version__

    assert f"version: {__version__}\n" in (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert f"## {__version__}\n" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
