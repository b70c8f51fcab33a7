"""Writes docs/configs.md: every key that ct_lesion adds, from the comments in ct_lesion/config.py.

python tests/helpers/config_reference.py > docs/configs.md
"""

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from ct_lesion.config import add_ct_lesion_config

HEAD = """# Config keys

Every key that ct_lesion adds to [Detectron2's](https://detectron2.readthedocs.io/modules/config.html),
with its default. Set keys in a yaml config or on the command line: `tools/train_net.py ...
MODEL.ROI_BATCH.SIZE 64`. The defaults and the configs in `configs/` reproduce the paper.
`ct_lesion/config_values.py` has the allowed ranges; values outside them are refused before a run
starts.

This page is generated from `ct_lesion/config.py` by `tests/helpers/config_reference.py`.
"""
SECTION = re.compile(r"# -{2,} (.+?) -{2,}$")
KEY = re.compile(r"cfg\.([A-Z0-9_.]+) = (.+)$")


class Keys(NamedTuple):
    """Keys that share a comment, and their defaults; empty for a group like ``INPUT.WINDOW``."""

    section: str
    defaults: dict[str, str]
    meaning: str


def read_keys(source: str) -> Iterator[Keys]:
    """Keys and comments in the body of ``add_ct_lesion_config``, in order."""
    section, comment, defaults = "", [], {}
    for line in [*map(str.strip, source.splitlines()), "#"]:
        if defaults and (line.startswith("#") or not line):
            yield Keys(section, defaults, " ".join(comment))
            comment, defaults = [], {}
        if title := SECTION.match(line):
            section = title[1]
        elif line.startswith("# "):
            comment.append(line[2:])
        elif key := KEY.match(line):
            defaults[key[1]] = "" if key[2] == "CfgNode()" else key[2]
        elif not line.startswith("cfg."):
            comment = []  # it explained code, not a key


def markdown() -> str:
    lines, section = [HEAD], ""
    for keys in read_keys(inspect.getsource(add_ct_lesion_config)):
        defaults = {key: value for key, value in keys.defaults.items() if value}
        if keys.section != section:
            section = keys.section
            lines += [f"## {section}", "", "| key | default | meaning |", "|---|---|---|"]
        if not keys.meaning:
            continue  # a group without a comment
        names = "<br>".join(f"`{key}`" for key in defaults or keys.defaults)
        values = "<br>".join(f"`{value}`" for value in defaults.values())
        lines.append(f"| {names} | {values} | {keys.meaning} |")
    return "\n".join(lines).replace("\n## ", "\n\n## ").replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
