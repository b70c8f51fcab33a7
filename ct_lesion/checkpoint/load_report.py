"""Reports which tensors of a checkpoint were loaded, dropped or newly initialised."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# number of name parts by which tensors are grouped: roi_heads.mask_head (6 tensors)
GROUP_DEPTH = {"backbone": 3, "roi_heads": 2, "proposal_generator": 1}
MAX_GROUPS = 12
# BatchNorm's counter is unused with a fixed momentum, and pixel statistics come from the config
UNIMPORTANT = ("num_batches_tracked", "pixel_mean", "pixel_std")


@dataclass(frozen=True)
class LoadReport:
    """Comparison of the tensor names in a model and in a checkpoint.

    Attributes:
        path: path of the checkpoint.
        loaded: names of loaded tensors.
        missing: names in the model only; newly initialised.
        unexpected: names in the checkpoint only; dropped.
        wrong_shape: name, shape in the checkpoint, shape in the model; newly initialised, too.
    """

    path: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    @property
    def fresh(self) -> list[str]:
        """Names of newly initialised tensors: missing in the checkpoint or of another shape."""
        return [*self.missing, *(name for name, _, _ in self.wrong_shape)]

    def summary(self) -> str:
        """Lines for the log: tensors loaded, newly initialised, dropped or of another shape."""
        lines = [f"loaded {self.path}: {_count(len(self.loaded))}"]
        if self.missing:
            lines.append(f"newly initialised (not in the checkpoint): {group_names(self.missing)}")
        if self.unexpected:
            lines.append(f"dropped (not in the model): {group_names(self.unexpected)}")
        if self.wrong_shape:
            listed = [
                f"{name} {'x'.join(map(str, theirs))}, here {'x'.join(map(str, ours))}"
                for name, theirs, ours in self.wrong_shape[:MAX_GROUPS]
            ]
            more = len(self.wrong_shape) - len(listed)
            listed += [f"and {more} more"] if more else []
            lines.append(
                f"newly initialised (another shape in the checkpoint): {'; '.join(listed)}"
            )
        return "\n  ".join(lines)


def group_names(names: Iterable[str]) -> str:
    """Parameter names, grouped by module and counted.

    >>> group_names(["classifier.fc1.weight", "classifier.fc1.bias", "pixel_mean"])
    'classifier (2 tensors), pixel_mean (1 tensor)'
    """
    groups = Counter(_group(name) for name in names)
    listed = [f"{group} ({_count(count)})" for group, count in groups.items()]
    more = len(listed) - MAX_GROUPS
    return ", ".join(listed[:MAX_GROUPS] + ([f"and {more} more groups"] if more > 0 else []))


def is_important(name: str) -> bool:
    """Whether the report should mention a tensor of this name if it was not loaded."""
    return not name.endswith(UNIMPORTANT)


def _group(name: str) -> str:
    parts = name.split(".")
    depth = GROUP_DEPTH.get(parts[0], 1)
    return ".".join(parts[: min(depth, max(len(parts) - 1, 1))])


def _count(number: int) -> str:
    return f"{number} tensor{'' if number == 1 else 's'}"
