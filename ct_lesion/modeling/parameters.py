"""Parameter counts, as in the paper's Table 1."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters; BatchNorm's running statistics are not parameters."""

    total: int
    trainable: int


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count all parameters of a model and those that require a gradient."""
    parameters = list(model.parameters())
    return ParameterCounts(
        total=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
    )


def format_parameter_counts(model: nn.Module) -> str:
    """One line with the counts in millions, of the model and of each of its parts."""
    counts = count_parameters(model)
    parts = ", ".join(
        f"{name} {count_parameters(part).total / 1e6:.2f}M" for name, part in model.named_children()
    )
    return (
        f"{counts.total / 1e6:.2f}M parameters ({counts.total:,}), "
        f"{counts.trainable / 1e6:.2f}M trainable ({counts.trainable:,}): {parts}"
    )
