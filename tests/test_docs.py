"""README and docs: links lead somewhere, commands parse, and the index lists every page.

The tools themselves are run by tests/tools, on toy data. Commands whose inputs or time a test does
not have (CNCB, a whole training, several machines) are only parsed here: options, shipped configs.
"""

import argparse
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from ct_lesion.config import find_config

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for path in [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        *REPOSITORY.glob("datasets/*.md"),
        *REPOSITORY.glob("ct_lesion/weights/*.md"),
    ]
)
JOBS = {"audit": "audit_dataset", "train": "train_net"}
STARTED_BY_OTHERS = re.compile(r"^(srun|torchrun|python -m torch\S*) .*?(?=tools/)")
COMMAND = re.compile(
    r"(?:python (?:-\S+ )*tools/(?P<file>\w+)\.py|ct-lesion (?P<job>[a-z]\S*))\b(?P<rest>.*)"
)


class Parsed(Exception):
    """Ends a tool once its arguments are parsed."""


def commands_of(page: Path) -> list[str]:
    """Shell commands of a page, a line each, without comments and variables."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    text = "\n".join(blocks).replace("\\\n", " ")
    for name, value in re.findall(r'^(\w+)="(.*?)"$', text, flags=re.M):
        text = text.replace(f"${name}", value)
    lines = text.splitlines()
    return [re.sub(r"\s#.*$|^#.*$", "", line).strip() for line in lines]


def tool_commands() -> list[tuple[str, str, str]]:
    """Page, tool and arguments of every command that calls one of our tools."""
    found = []
    for page in PAGES:
        for line in commands_of(page):
            if match := COMMAND.search(STARTED_BY_OTHERS.sub("python ", line)):
                job = (match["file"] or match["job"]).replace("-", "_")
                found.append((page.name, JOBS.get(job, job), match["rest"].strip()))
    return found


@pytest.mark.parametrize(("page", "tool", "rest"), tool_commands())
def test_a_command_parses(page, tool, rest, monkeypatch):
    file = REPOSITORY / "tools" / f"{tool}.py"
    assert file.is_file(), f"{page}: no tool {tool}"
    arguments = shlex.split(re.sub(r"\s[|>&]+\s.*$|&$", "", rest).replace("...", ""))
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, args=None, namespace=None):
        parse(parser, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", [str(file), *arguments])
    spec = importlib.util.spec_from_file_location(f"docs_{tool}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(Parsed):
        module.main()
    if "--config-file" in arguments:
        config = arguments[arguments.index("--config-file") + 1]
        if "/" in config:  # else a placeholder
            find_config(str(REPOSITORY / config) if config.startswith("configs/") else config)


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


def test_the_readme_is_read_in_a_minute():
    assert len((REPOSITORY / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_version_is_the_same_everywhere():
    from ct_lesion import __version__

    assert f"version: {__version__}\n" in (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert f"## {__version__}\n" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
