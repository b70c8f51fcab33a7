"""Ranges and choices of config values, which are checked before anything starts.

Every number that determines memory or run time is bounded, because a config may come from an
untrusted checkpoint. The bounds are far above the values in the shipped configs.
"""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

from detectron2.config import CfgNode

from .errors import ConfigError, reason

CHOICES: dict[str, tuple[Any, ...]] = {
    "MODEL.FAST_PATH": ("auto", "half", "off"),
    "MODEL.RESNETS.DEPTH": (18, 34, 50, 101, 152),
    "MODEL.RESNETS.RES5_DILATION": (1, 2),
    "MODEL.FPN.FUSE_TYPE": ("sum", "avg"),
    "MODEL.ROI_BOX_HEAD.SCORE_ACTIVATION_TEST": ("softmax", "sigmoid"),
    "MODEL.ROI_BATCH.CONTENT": ("deltas", "boxes"),
    "MODEL.ROI_BATCH.PADDING": ("even", "random"),
    "MODEL.CLASSIFIER.TRAIN_BATCHNORM": ("affine", "none"),
    "INPUT.FORMAT": ("RGB", "BGR"),
    "INPUT.MASK_FORMAT": ("polygon", "bitmask"),
    "INPUT.RANDOM_FLIP": ("none", "horizontal", "vertical"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.ON_CORRUPT": ("stop", "skip"),
    "INPUT.WINDOW.KIND": ("unknown", "fixed", "range"),
    "DATALOADER.SAMPLER_TRAIN": (
        "TrainingSampler",
        "RandomSubsetTrainingSampler",
        "RepeatFactorTrainingSampler",
    ),
    "SOLVER.OPTIMIZER": ("SGD", "Adam", "AdamW"),
    "SOLVER.LR_SCHEDULER_NAME": (
        "WarmupMultiStepLR",
        "WarmupCosineLR",
        "WarmupStepWithFixedGammaLR",
    ),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("value", "norm"),
}
"""The allowed values of each key with a fixed set of choices."""


class Range(NamedTuple):
    """The allowed values of a number, or of each number of a list.

    Attributes:
        low, high: lowest and highest value.
        above: ``low`` itself is not allowed.
        least, most: shortest and longest length of a list.
    """

    low: float
    high: float
    above: bool = False
    least: int = 1
    most: int = 16

    def holds(self, value: Any) -> bool:
        """Whether a value is a number in this range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        low, high = (f"{bound:,.10g}" for bound in (self.low, self.high))
        return f"above {low}, at most {high}" if self.above else f"{low} to {high}"


_SHARE = Range(0, 1)
_ITERATIONS = 10**9
_FACTOR = Range(0, 10**6)
# The first matching pattern applies to a key.
_RANGES: dict[str, Range] = {
    # ---- the network: layers, channels, anchors, regions
    "MODEL.PIXEL_MEAN": Range(-(2**16), 2**16),
    "MODEL.PIXEL_STD": Range(1e-3, 2**16),
    "MODEL.BACKBONE.FREEZE_AT": Range(0, 5),
    "MODEL.RESNETS.NUM_GROUPS": Range(1, 64),
    "MODEL.RESNETS.WIDTH_PER_GROUP": Range(1, 512),
    "MODEL.RESNETS.*_OUT_CHANNELS": Range(1, 512),
    "MODEL.FPN.OUT_CHANNELS": Range(1, 1024),
    "MODEL.ANCHOR_GENERATOR.SIZES": Range(0, 4096, above=True),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Range(0, 100, above=True),
    "MODEL.ANCHOR_GENERATOR.OFFSET": _SHARE,
    "MODEL.RPN.CONV_DIMS": Range(-1, 1024),
    "MODEL.*_TOPK_*": Range(1, 12_000),  # Detectron2's largest default
    "MODEL.*.BATCH_SIZE_PER_IMAGE": Range(1, 2**16),
    "MODEL.*.POSITIVE_FRACTION": _SHARE,
    "MODEL.*.IOU_THRESHOLDS": _SHARE,
    "MODEL.*.NMS_THRESH*": _SHARE,
    "MODEL.*.SCORE_THRESH_TEST": _SHARE,
    "MODEL.*.BBOX_REG_WEIGHTS": Range(0, 1000, above=True),
    "MODEL.*.POOLER_RESOLUTION": Range(1, 64),
    "MODEL.*.POOLER_SAMPLING_RATIO": Range(0, 16),
    "MODEL.*.NUM_CONV": Range(0, 32),
    "MODEL.*.NUM_FC": Range(0, 16),
    "MODEL.*.CONV_DIM": Range(1, 2048),
    "MODEL.*.FC_DIM": Range(1, 2**14),
    "MODEL.ROI_BATCH.SIZE": Range(1, 4096),
    "MODEL.ROI_BATCH.SCORE_THRESH": Range(-1, 1),
    "MODEL.CLASSIFIER.WIDTH": Range(1, 2**14),
    "MODEL.*.NUM_CLASSES": Range(1, 1000),
    # ---- slices; 2,048 pixels is the largest matrix of a CT scanner
    "INPUT.MIN_SIZE_*": Range(0, 2048),  # 0 keeps the size
    "INPUT.MAX_SIZE_*": Range(1, 4096),
    "INPUT.CROP.SIZE": Range(0, 4096, above=True),
    "INPUT.ROTATION": Range(0, 180),
    "INPUT.INTENSITY": _SHARE,
    # ---- evaluation
    "TEST.DETECTIONS_PER_IMAGE": Range(1, 10_000),
    "TEST.PAPER_SCORE_THRESH": _SHARE,
    "TEST.EVAL_PERIOD": Range(0, _ITERATIONS),
    "TEST.PATIENCE": Range(0, _ITERATIONS),
    "TEST.PRECISE_BN.NUM_ITER": Range(1, _ITERATIONS),
    "TEST.AUG.MIN_SIZES": Range(0, 2048),
    "TEST.AUG.MAX_SIZE": Range(1, 4096),
    # ---- training
    "SEED": Range(-1, 2**31 - 1),  # the rank is added, and NumPy accepts seeds below 2**32
    "VIS_PERIOD": Range(0, _ITERATIONS),
    "DATALOADER.NUM_WORKERS": Range(0, 256),
    "DATALOADER.REPEAT_THRESHOLD": _SHARE,
    "SOLVER.MAX_ITER": Range(1, _ITERATIONS),
    "SOLVER.CHECKPOINT_PERIOD": Range(1, _ITERATIONS),
    "SOLVER.IMS_PER_BATCH": Range(1, 2**16),
    "SOLVER.REFERENCE_WORLD_SIZE": Range(0, 2**16),
    "SOLVER.BASE_LR": Range(0, 10**6, above=True),
    "SOLVER.BASE_LR_END": _FACTOR,
    "SOLVER.BIAS_LR_FACTOR": _FACTOR,
    "SOLVER.MOMENTUM": _SHARE,
    "SOLVER.WEIGHT_DECAY*": _FACTOR,
    "SOLVER.GAMMA": _FACTOR,
    "SOLVER.STEPS": Range(1, _ITERATIONS, most=1000, least=0),
    "SOLVER.NUM_DECAYS": Range(0, 1000),
    "SOLVER.WARMUP_FACTOR": _SHARE,
    "SOLVER.WARMUP_ITERS": Range(0, _ITERATIONS),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Range(0, 10**6, above=True),
}
# for keys without a range above, by section and for all other sections
_SECTION_DEFAULTS = {"MODEL": Range(-(2**16), 2**16, most=100, least=0)}
_DEFAULT = Range(-(2**31), 2**31, most=1000, least=0)
_NAMES = ("MODEL.RPN.IN_FEATURES", "MODEL.ROI_HEADS.IN_FEATURES", "MODEL.RESNETS.OUT_FEATURES")
"""Lists of names that must not be empty."""
_MODEL_SECTIONS = ("MODEL", "INPUT", "TEST")

LARGEST_BATCH = 2**28
"""Most feature values of all regions of a slice (1 GiB); shipped configs have 50 million."""

Job = Literal["training", "evaluation", "prediction"]


def check_choice(key: str, value: object) -> None:
    """Check the value of a key in :data:`CHOICES`.

    Raises:
        ConfigError: names the key, its value and the allowed values.
    """
    if problem := _choice_problem(key, value):
        raise ConfigError(f"{problem}.")


def check_values(cfg: CfgNode, where: str, job: Job = "prediction") -> None:
    """Check the ranges and choices of all keys.

    Args:
        where: source of the config, for the message.
        job: training and evaluation also need datasets and an output folder.

    Raises:
        ConfigError: one line with each invalid key, its value, and what is expected.
    """
    problems = value_problems(cfg, sections=None)
    datasets = {"training": "TRAIN", "evaluation": "TEST"}.get(job)
    if datasets and not cfg.DATASETS[datasets]:
        problems.append(f"DATASETS.{datasets} is empty, expected a dataset")
    if datasets:
        problems += _folder_problems(cfg.OUTPUT_DIR)
    if problems:
        raise ConfigError(f"{where}: {'; '.join(problems)}.")


def value_problems(cfg: CfgNode, sections: Sequence[str] | None = _MODEL_SECTIONS) -> list[str]:
    """Problems in the values of a config, one phrase per key.

    Args:
        sections: top-level sections to check; ``None`` for all. By default those that determine a
            model's predictions.
    """
    problems = []
    for key, value in _keys(cfg):
        if sections is None or key.partition(".")[0] in sections:
            problem = (_choice_problem if key in CHOICES else _number_problem)(key, value)
            problems += [problem] if problem else []
    problems = problems or _batch_problems(cfg)
    if sections is None and not problems:
        problems += _schedule_problems(cfg)
    return problems


def _keys(node: CfgNode, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Full names of all keys, with their values."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{parent}{key}.")
        else:
            yield f"{parent}{key}", value


def _choice_problem(key: str, value: Any) -> str | None:
    if value in CHOICES[key]:
        return None
    return f"{key} is {_short(value)}, expected one of {', '.join(map(str, CHOICES[key]))}"


def _number_problem(key: str, value: Any) -> str | None:
    if key in _NAMES and not value:
        return f"{key} is empty, expected at least one name"
    leaves = [leaf for leaf in _leaves(value) if leaf is not None]
    allowed = next((r for pattern, r in _RANGES.items() if fnmatchcase(key, pattern)), None)
    if allowed is None:  # a value of any type; only numbers in it are checked
        allowed = _SECTION_DEFAULTS.get(key.partition(".")[0], _DEFAULT)
        leaves = [leaf for leaf in leaves if type(leaf) in (int, float)]
    if not all(map(allowed.holds, leaves)):
        return f"{key} is {_short(value)}, expected {allowed}"
    lengths = [len(part) for part in _lists(value)]
    if key in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD") and lengths != [3]:
        return f"{key} is {_short(value)}, expected 3 numbers, one for each channel of the images"
    if lengths and min(lengths) < allowed.least:
        return f"{key} is {_short(value)}, expected at least one number"
    if lengths and max(lengths) > allowed.most:
        return f"{key} has {max(lengths):,} values, expected at most {allowed.most:,}"
    return None


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        return (leaf for item in value for leaf in _leaves(item))
    return (value,)


def _lists(value: Any) -> Iterator[Sequence[Any]]:
    if isinstance(value, (list, tuple)):
        yield value
        for item in value:
            yield from _lists(item)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _batch_problems(cfg: CfgNode) -> list[str]:
    """Check the product of regions, channels and pixels that a box or mask head holds at once."""
    heads = {
        "MODEL.ROI_BOX_HEAD": ("MODEL.RPN.POST_NMS_TOPK_TEST", cfg.MODEL.RPN.POST_NMS_TOPK_TEST, 1),
        "MODEL.ROI_MASK_HEAD": (
            *("TEST.DETECTIONS_PER_IMAGE", cfg.TEST.DETECTIONS_PER_IMAGE),
            4,  # its deconvolution doubles both sides
        ),
    }
    problems = []
    for name, (regions_key, regions, pixels) in heads.items():
        head = cfg.MODEL[name.removeprefix("MODEL.")]
        channels = max(cfg.MODEL.FPN.OUT_CHANNELS, head.CONV_DIM if head.NUM_CONV else 1)
        size = regions * channels * head.POOLER_RESOLUTION**2 * pixels
        if size > LARGEST_BATCH:
            problems.append(
                f"{regions_key} {regions:,} with {channels:,} channels and "
                f"{name}.POOLER_RESOLUTION {head.POOLER_RESOLUTION} needs {size:,} numbers, "
                f"expected at most {LARGEST_BATCH:,}"
            )
    return problems


def _schedule_problems(cfg: CfgNode) -> list[str]:
    """Check training keys that must agree with each other."""
    solver, problems = cfg.SOLVER, []
    if list(solver.STEPS) != sorted(set(solver.STEPS)):
        problems.append(f"SOLVER.STEPS is {_short(solver.STEPS)}, expected increasing iterations")
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR" and solver.BASE_LR_END > solver.BASE_LR:
        problems.append(
            f"SOLVER.BASE_LR_END is {solver.BASE_LR_END}, expected at most SOLVER.BASE_LR, which "
            f"is {solver.BASE_LR}"
        )
    if cfg.TEST.PATIENCE and not cfg.TEST.EVAL_PERIOD:
        problems.append(
            f"TEST.PATIENCE is {cfg.TEST.PATIENCE}, but TEST.EVAL_PERIOD is 0, so training never "
            "evaluates: set TEST.EVAL_PERIOD to a number of iterations"
        )
    return problems


def _folder_problems(folder: str) -> list[str]:
    if not folder:
        return ["OUTPUT_DIR is empty, expected a folder"]
    path = Path(folder)
    try:
        existing = next((p for p in (path, *path.parents) if p.exists()), path)
        if existing.exists() and not existing.is_dir():
            return [f"OUTPUT_DIR is {folder}, but {existing} is not a folder"]
    except (OSError, ValueError) as error:
        return [f"OUTPUT_DIR is {_short(folder)}, which cannot be used ({reason(error)})"]
    return []
