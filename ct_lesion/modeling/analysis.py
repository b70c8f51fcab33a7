"""Parameters, activations and FLOPs of a network by part, counted by fvcore.

fvcore counts a multiply-add as one FLOP, and the outputs of convolutions and matrix products as
activations. The box and mask heads run once per region, and the number of regions varies between
slices. NMS and the score threshold are therefore disabled: the counts are for the largest number of
regions that the config allows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from detectron2.config import CfgNode
from detectron2.export import TracingAdapter
from detectron2.modeling import build_model
from detectron2.utils.analysis import FlopCountAnalysis
from fvcore.nn import ActivationCountAnalysis
from fvcore.nn.jit_analysis import JitModelAnalysis
from torch import nn

from ct_lesion.errors import ConfigError, UserError, reason

SMALLEST_SIDE = 32
"""Smallest side of the input in pixels: the stride of a ResNet's last stage."""
GREY = 127.0  # of all pixels; the counts do not depend on it
NO_NMS = 2.0  # IoU threshold above any IoU
PARTS = (
    ("backbone.bottom_up", "backbone"),
    ("backbone", "FPN"),
    ("proposal_generator", "RPN"),
    ("roi_heads.box", "box head"),
    ("roi_heads.mask", "mask head"),
    ("roi_heads", "other RoI heads"),
    ("classifier", "S"),
)
"""Prefixes of module names, and their part; the first match counts. Each other top-level module is
a separate part."""


@dataclass(frozen=True)
class PartSize:
    """Counts of a part of a network for one slice."""

    part: str
    parameters: int = 0
    activations: int = 0
    flops: int = 0

    def plus(self, parameters: int = 0, activations: int = 0, flops: int = 0) -> "PartSize":
        """The part with these counts added."""
        return replace(
            self,
            parameters=self.parameters + parameters,
            activations=self.activations + activations,
            flops=self.flops + flops,
        )


@dataclass(frozen=True)
class NetworkSize:
    """Counts of a network for one slice.

    Attributes:
        side: side of the square input, in pixels.
        proposals: number of inputs of the box head; ``None`` without a proposal generator.
        regions: number of inputs of the mask head or S; ``None`` without RoI heads.
        parts: parts in the order of the network.
        not_counted: operators that fvcore cannot count, with their number of calls.
    """

    side: int
    proposals: int | None
    regions: int | None
    parts: tuple[PartSize, ...]
    not_counted: dict[str, int]

    @property
    def total(self) -> PartSize:
        """The sums over the parts."""
        total = PartSize("total")
        for part in self.parts:
            total = total.plus(part.parameters, part.activations, part.flops)
        return total


def measure_network(cfg: CfgNode, side: int | None = None) -> NetworkSize:
    """Count parameters, activations and FLOPs of any Detectron2 model, on the CPU.

    Args:
        cfg: config of the model; it is not changed, and no weights are loaded.
        side: side of the square input, in pixels; default: ``INPUT.MIN_SIZE_TEST``.

    Raises:
        ConfigError: the input is too small, or the model cannot run on the CPU.
    """
    side = _input_side(cfg, side)
    with _one_line_errors(cfg, side):
        model = build_counted_model(cfg)
        numbers = _count_regions(model)
        adapter = TracingAdapter(model, _inputs(cfg, side), allow_non_tensor=True)
        activations = _trace(ActivationCountAnalysis(adapter, adapter.flattened_inputs))
        flops = _trace(FlopCountAnalysis(model, _inputs(cfg, side)))
    return NetworkSize(
        side=side,
        proposals=numbers.get("proposals"),
        regions=numbers.get("regions"),
        parts=tuple(_parts(model, flops, activations)),
        not_counted=dict(flops.unsupported_ops().most_common()),
    )


def count_flops(cfg: CfgNode) -> int:
    """Count only the FLOPs, at the config's input size; takes half as long as measuring all.

    Raises:
        ConfigError: see :func:`measure_network`.
    """
    side = _input_side(cfg, None)
    with _one_line_errors(cfg, side):
        return int(_trace(FlopCountAnalysis(build_counted_model(cfg), _inputs(cfg, side))).total())


@contextmanager
def _one_line_errors(cfg: CfgNode, side: int) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (KeyError, AssertionError, ImportError, RuntimeError) as error:  # as Detectron2 raises
        raise ConfigError(
            f"The {cfg.MODEL.META_ARCHITECTURE} (MODEL.META_ARCHITECTURE) of this config cannot "
            f"run on an input of {side} x {side} on the CPU: {reason(error).rstrip('!')}."
        ) from error


def build_counted_model(cfg: CfgNode) -> nn.Module:
    """Build a model in test mode on the CPU that keeps its largest number of regions on any input.

    The random state does not change.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RPN.NMS_THRESH = NO_NMS
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = NO_NMS
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = -1.0
    with torch.random.fork_rng(devices=[]):
        return build_model(cfg).eval()


def _input_side(cfg: CfgNode, side: int | None) -> int:
    side = cfg.INPUT.MIN_SIZE_TEST if side is None else side
    if side < SMALLEST_SIDE:
        raise ConfigError(
            f"The side of the input (--size, or INPUT.MIN_SIZE_TEST) is {side}, expected at least "
            f"{SMALLEST_SIDE} pixels."
        )
    return side


def _inputs(cfg: CfgNode, side: int) -> list[dict]:
    return [{"image": torch.full((len(cfg.MODEL.PIXEL_MEAN), side, side), GREY)}]


def _count_regions(model: nn.Module) -> dict[str, int]:
    """Add hooks to a model; the returned dict gets the numbers of proposals and regions."""
    numbers: dict[str, int] = {}

    def record(name: str, module: nn.Module | None) -> None:
        if module is not None:  # its output is a list of Instances, and losses
            module.register_forward_hook(
                lambda _, __, output: numbers.update({name: len(output[0][0])})
            )

    record("proposals", getattr(model, "proposal_generator", None))
    record("regions", getattr(model, "roi_heads", None))
    if hasattr(model, "roi_batch"):  # the classifier calls only parts of its RoI heads
        numbers["regions"] = model.roi_batch.size
    return numbers


def _trace(analysis: JitModelAnalysis) -> JitModelAnalysis:
    """Run an analysis without warnings; it caches its results."""
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    with torch.no_grad():
        analysis.total()
    return analysis


def _parts(
    model: nn.Module, flops: JitModelAnalysis, activations: JitModelAnalysis
) -> Iterator[PartSize]:
    """The parts that have parameters or counts, in the order of the network."""
    with_fpn = hasattr(getattr(model, "backbone", None), "bottom_up")
    sizes: dict[str, PartSize] = {}
    for name, module in model.named_modules():
        part = _part_of(name, with_fpn)
        sizes[part] = sizes.get(part, PartSize(part)).plus(
            activations=_count_without_children(activations, name, module),
            flops=_count_without_children(flops, name, module),
        )
    for name, parameter in model.named_parameters():
        part = _part_of(name, with_fpn)
        sizes[part] = sizes[part].plus(parameters=parameter.numel())
    order = list(dict(PARTS).values())
    known = [sizes.pop(part) for part in dict.fromkeys(order) if part in sizes]
    for size in [*known, *sizes.values()]:
        if size.parameters or size.activations or size.flops:
            yield size


def _part_of(name: str, with_fpn: bool) -> str:
    """The part of a module or parameter of this name."""
    for beginning, part in PARTS:
        if name.startswith(beginning):
            return "backbone" if part == "FPN" and not with_fpn else part
    return name.partition(".")[0] or "other"


def _count_without_children(analysis: JitModelAnalysis, name: str, module: nn.Module) -> int:
    path = f"model.{name}" if name else "model"  # TracingAdapter holds the model as "model"
    children = (f"{path}.{child}" for child, _ in module.named_children())
    return int(analysis.total(path) - sum(analysis.total(child) for child in children))
