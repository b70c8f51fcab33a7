"""README and docs: links lead somewhere, commands parse, and the index lists every page.

tests/tools runs the tools on toy data. Here, commands are only parsed (options, names of shipped
configs), because many need other data, a whole training or several machines.
"""

import re
from pathlib import Path

import pytest
from commands import check_command, tool_commands

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "datasets", "ct_lesion/weights")
PAGES = sorted(page for folder in FOLDERS for page in (REPOSITORY / folder).glob("*.md"))


def page_commands() -> list[tuple[str, str, str]]:
    """Page, tool and arguments of every command in a shell block that calls one of our tools."""
    return [
        (page.name, *command)
        for page in PAGES
        for block in re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), flags=re.S)
        for command in tool_commands(without_variables(block))
    ]


def without_variables(block: str) -> str:
    for name, value in re.findall(r'^(\w+)="(.*?)"$', block, flags=re.M | re.S):
        block = block.replace(f"${name}", value)
    return block


@pytest.mark.parametrize(("page", "tool", "rest"), page_commands())
def test_a_command_parses(page, tool, rest, monkeypatch):
    assert (REPOSITORY / "tools" / f"{tool}.py").is_file(), f"{page}: no tool {tool}"
    check_command(tool, rest, monkeypatch)


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
