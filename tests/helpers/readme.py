"""Finds the README's Python examples for the tests that run them."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def readme_example(name: str) -> str:
    """The one Python example that contains the name."""
    examples = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.S)
    [code] = [example for example in examples if name in example]
    return code
