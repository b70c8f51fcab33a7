"""Hostile and damaged configs."""

from __future__ import annotations

from pathlib import Path

from cases import CANARY, LOADED, Case, file

YAML_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n"
    for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
YAML_MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b}\n  <<: [{', '.join([f'*{a}'] * 10)}]\n"
    for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
YAML_LONG_ALIASES = f"a: &a {'x' * 20_000}\nb: [{', '.join(['*a'] * 12_000)}]\n"
YAML_DEEP = "MODEL: " + "{a: " * 10 + f"[{'{a: 1}, ' * 2000}]" + "}" * 10
YAML_MAPPINGS = f"a: &a {{x: 1}}\nb: [{', '.join(['*a'] * 12_000)}]\n"


def _fan_out(folder: Path) -> Path:
    """Seven files, each with ten times the next as its base: ten million reads."""
    for number in range(7):
        text = f"_BASE_: [{', '.join([f'{number + 1}.yaml'] * 10)}]\n"
        (folder / f"{number}.yaml").write_text(text)
    (folder / "7.yaml").write_text("VERSION: 2\n")
    return folder / "0.yaml"


TAGS = [
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/apply:builtins.eval [\"open('{CANARY}', 'w')\"]",
    f"!!python/object/new:os.mkdir ['{CANARY}']",
    "!!python/name:os.system ''",
    "!!python/module:antigravity ''",
]
OUT_OF_RANGE = "INPUT: {MIN_SIZE_TEST: 100000}\nSOLVER: {MAX_ITER: 0}\nSEED: 4294967296\n"
CASES = [
    *(
        Case(f"tag {n}", "config", file("a.yaml", f"MODEL: {tag}\n"), "for the tag")
        for n, tag in enumerate(TAGS)
    ),
    Case("laughs", "config", file("a.yaml", YAML_LAUGHS), "too large"),
    Case("long text aliased", "config", file("a.yaml", YAML_LONG_ALIASES), "too large"),
    Case("mapping aliased", "config", file("a.yaml", YAML_MAPPINGS), "too large"),
    Case("bases that fan out", "config", _fan_out, "more than 20 files"),
    Case("merges", "config", file("a.yaml", YAML_MERGES), "merges"),
    Case("a large mapping at 11 levels", "config", file("a.yaml", YAML_DEEP), "too deep"),
    Case("nested", "config", file("a.yaml", "[" * 50_000), "too deep"),
    Case("3 MB", "config", file("a.yaml", "a: 1\n" * 600_000), "too long"),
    Case("junk", "config", file("a.yaml", bytes(range(256)) * 50), "codec"),
    Case("a list", "config", file("a.yaml", "[1]"), "mapping"),
    Case("its own base", "config", file("a.yaml", "_BASE_: a.yaml\n"), "itself"),
    Case(
        "base on the network",
        "config",
        file("a.yaml", "_BASE_: https://example.org/a.yaml\n"),
        "local file",
    ),
    Case("base that is no config", "config", file("a.yaml", "_BASE_: /etc/passwd\n"), "passwd"),
    Case("base that never ends", "config", file("a.yaml", "_BASE_: /dev/zero\n"), "zero"),
    Case("unknown key", "config", file("a.yaml", "MODEL: {NO_SUCH: 1}\n"), "NO_SUCH"),
    Case("numbers out of range", "config", file("a.yaml", OUT_OF_RANGE), "MIN_SIZE.*ITER.*SEED"),
    Case("another type", "config", file("a.yaml", "SOLVER: {MAX_ITER: [x]}\n"), "MAX_ITER"),
    Case(
        "nested literal",
        "config",
        file("a.yaml", f'MODEL: {{WEIGHTS: "{"(" * 9999}"}}\n'),
        LOADED,
    ),
    Case(
        "long sum",
        "config",
        file("a.yaml", f'MODEL: {{WEIGHTS: "{"-" * 99999}1"}}\n'),
        "MemoryError|RecursionError|too complex",
    ),
]
