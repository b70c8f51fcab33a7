"""The Python examples of the README, which tests run."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def readme_example(name: str) -> str:
    """The only Python example that contains a name."""
    examples = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.S)
    [code] = [example for example in examples if name in example]
    return code
