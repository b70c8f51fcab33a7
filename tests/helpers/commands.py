"""Finds commands in pages and help texts, and parses their arguments without running them."""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator

import pytest
from tool_runs import TOOLS, load_tool

from ct_lesion.config import find_config

JOBS = {"audit": "audit_dataset", "train": "train_net"}
LAUNCHER = re.compile(r"^(srun|torchrun|python -m torch\S*) .*?(?=tools/)")
COMMAND = re.compile(
    r"(?:python (?:-\S+ )*tools/(?P<file>\w+)\.py|ct-lesion (?P<job>[a-z][\w-]*))\b(?P<rest>.*)"
)

VARIABLE = r'^(\w+)="(.*?)"$'


class Parsed(Exception):
    """Stops a tool after it has parsed its arguments."""


def tool_commands(text: str) -> Iterator[tuple[str, str]]:
    """Tool and arguments of each line that calls a tool."""
    for line in command_lines(text):
        if match := COMMAND.search(LAUNCHER.sub("python ", line)):
            job = (match["file"] or match["job"]).replace("-", "_")
            yield JOBS.get(job, job), match["rest"].strip()


def command_lines(text: str) -> Iterator[str]:
    """The commands of a shell text, each on one line, with its variables filled in.

    Comments, assignments and empty lines are left out.
    """
    for name, value in re.findall(VARIABLE, text, flags=re.M | re.S):
        text = re.sub(rf"\${name}\b", lambda _, value=value: value, text)
    text = re.sub(VARIABLE, "", text, flags=re.M | re.S)
    for line in text.replace("\\\n", " ").splitlines():
        if line := re.sub(r"\s#.*$|^#.*$", "", line).strip():
            yield line


def check_command(tool: str, rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the tool accepts the arguments and that the config that they name exists."""
    arguments = shlex.split(re.sub(r"\s[|>&]+\s.*$|&$", "", rest).replace("...", ""))
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, args=None, namespace=None):
        parse(parser, args, namespace)
        raise Parsed

    module = load_tool(f"{tool}.py")
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(sys, "argv", [f"{tool}.py", *arguments])
        with pytest.raises(Parsed):
            module.main()
    if "--config-file" in arguments:
        config = arguments[arguments.index("--config-file") + 1]
        if "/" in config and not config.startswith("RUN/"):  # else a placeholder
            checkout = TOOLS.parent / config
            find_config(str(checkout) if config.startswith("configs/") else config)
