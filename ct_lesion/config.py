"""The config keys that ct_lesion adds to Detectron2's, and the shipped configs."""

import json
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from yaml import YAMLError

from .errors import ConfigError
from .yaml_files import check_config_file

NOT_A_CONFIG = (
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    SyntaxError,
    RecursionError,
    MemoryError,
    OSError,
    YAMLError,
)
"""Exceptions that Detectron2 raises for a wrong key or value. Text values are parsed as Python
literals, so they include the parser's exceptions."""

BASIC_BLOCK_DEPTHS = (18, 34)
"""Depths of ResNets made of basic blocks; deeper ones have bottlenecks."""

CLASSIFIER = "COVIDCTMaskNet"
"""MODEL.META_ARCHITECTURE of the classifier."""


def add_ct_lesion_config(cfg: CfgNode) -> None:
    """Add ct_lesion's keys with their defaults to a Detectron2 config, in place."""
    # ---- Speed ----------------------------------------------------------------------------------
    # "auto" uses faster equivalents of Detectron2's modules where possible (some need Numba), in
    # training, evaluation, RoI-batch extraction and prediction; "off" uses Detectron2's modules
    # only; "half" is "auto" with half-precision inference on a GPU. With "auto", logits agree with
    # "off" within 1e-4, except that regions whose scores differ by less than 1e-5 may swap ranks.
    cfg.MODEL.FAST_PATH = "auto"

    # ---- Detector -------------------------------------------------------------------------------
    # Activation that turns RoI class logits into scores at test time: "softmax", or "sigmoid",
    # which scores each class of a region independently (paper, section 3, hack 1). Training always
    # uses softmax cross-entropy.
    cfg.MODEL.ROI_BOX_HEAD.SCORE_ACTIVATION_TEST = "softmax"

    # ---- RoI batch: what the classifier reads ---------------------------------------------------
    cfg.MODEL.ROI_BATCH = CfgNode()
    # N, the number of ranked regions of a slice (paper: 128; 256 for ResNet50).
    cfg.MODEL.ROI_BATCH.SIZE = 128
    # Regions with a score at or below this are dropped; a negative value keeps all (paper: -0.01).
    cfg.MODEL.ROI_BATCH.SCORE_THRESH = -0.01
    # IoU above which the lower-scored of two regions of a class is dropped.
    cfg.MODEL.ROI_BATCH.NMS_THRESH = 0.75
    # Drop regions whose decoded box has no area (paper, section 3, hack 2).
    cfg.MODEL.ROI_BATCH.REMOVE_EMPTY = True
    # What a row holds beside the score: "deltas", the box regression output before decoding (as in
    # the published implementation), or "boxes", x0, y0, x1, y1 divided by image width and height
    # (as in the paper's text).
    cfg.MODEL.ROI_BATCH.CONTENT = "deltas"
    # How a batch is filled with copies if fewer than N regions remain: "even" spreads the copies
    # evenly over the ranks (deterministic), "random" draws them at random as in the published
    # implementation (seeded by SEED).
    cfg.MODEL.ROI_BATCH.PADDING = "even"

    # ---- Classification module S ----------------------------------------------------------------
    cfg.MODEL.CLASSIFIER = CfgNode()
    # Width of the two hidden layers (paper: 512; 1024 for ResNet50).
    cfg.MODEL.CLASSIFIER.WIDTH = 512
    # Number of image classes: Control, Common Pneumonia, COVID-19.
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = 3
    # Parameters trained beside S: "affine", the BatchNorm scales and shifts of the backbone's main
    # path (paper), or "none". With "none" a slice's RoI batch is constant and computed only once.
    cfg.MODEL.CLASSIFIER.TRAIN_BATCHNORM = "affine"
    # Earlier versions wrote this key into checkpoints and config.yaml. It is ignored.
    cfg.register_deprecated_key("MODEL.CLASSIFIER.ALLOW_SCRATCH")

    # ---- Data -----------------------------------------------------------------------------------
    # Train even if DATASETS.TRAIN and DATASETS.TEST share patients (by the records' patient id).
    # Results on shared patients are too optimistic; the run's record and the report say so.
    cfg.DATASETS.ALLOW_SHARED_PATIENTS = False

    # How the 8-bit slices were made from HU. Training copies it from the datasets into the
    # checkpoint, and prediction makes its slices the same way. Set it only if the datasets do not
    # record it.
    cfg.INPUT.WINDOW = CfgNode()
    # "unknown", "fixed" (maps the window of LEVEL and WIDTH to 0..255), or "range" (maps each
    # slice's minimum, ignoring padding of -1024 HU and less, and maximum to 0 and 255).
    cfg.INPUT.WINDOW.KIND = "unknown"
    # Centre and full width in HU of a "fixed" window; 0 for other kinds.
    cfg.INPUT.WINDOW.LEVEL = 0.0
    cfg.INPUT.WINDOW.WIDTH = 0.0
    # Clip limit of OpenCV's CLAHE, applied after the window to 8 x 8 tiles of the full-size slice;
    # 0: no CLAHE.
    cfg.INPUT.WINDOW.CLAHE = 0.0
    # Shorter side in pixels to which larger slices were shrunk last (cubic); 0: not shrunk.
    cfg.INPUT.WINDOW.SIDE = 0

    # What training does with a slice that cannot be read: "stop", or "skip", which replaces it with
    # another random slice and lists it in the log and in training.json. Evaluation always stops,
    # because metrics of fewer slices are not comparable.
    cfg.INPUT.ON_CORRUPT = "stop"

    # ---- Training augmentation, beside Detectron2's own -----------------------------------------
    # Flip vertically with probability 0.5 (paper: no); INPUT.RANDOM_FLIP "horizontal" flips
    # horizontally. Public archives mix slices with the spine at the top and at the bottom.
    cfg.INPUT.VERTICAL_FLIP = False
    # Largest rotation in degrees, in both directions (paper: none).
    cfg.INPUT.ROTATION = 0.0
    # Largest relative change of brightness and of contrast, e.g. 0.2 (paper: none).
    cfg.INPUT.INTENSITY = 0.0

    # ---- Optimiser and evaluation ---------------------------------------------------------------
    # "SGD" (Detectron2's), "Adam" (paper) or "AdamW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Metric on the first test set that selects the checkpoint kept as model_best.
    cfg.TEST.BEST_METRIC = "segm/AP"
    # Stop the training after this many evaluations (TEST.EVAL_PERIOD) in a row without a new best
    # TEST.BEST_METRIC; 0: train to SOLVER.MAX_ITER (paper).
    cfg.TEST.PATIENCE = 0
    # Also log the loss on the test sets at each evaluation during training, as val_loss/... in
    # metrics.json. This takes one more pass over their slices.
    cfg.TEST.EVAL_LOSS = False
    # Lowest score of the detections that count in the report's version of the paper's Table 2 and
    # in the per-image AP of the published implementation. COCO AP counts all detections above
    # MODEL.ROI_HEADS.SCORE_THRESH_TEST.
    cfg.TEST.PAPER_SCORE_THRESH = 0.75


def is_classifier(cfg: CfgNode) -> bool:
    """Whether a config describes a COVID-CT-Mask-Net rather than a segmentation model."""
    return cfg.MODEL.META_ARCHITECTURE == CLASSIFIER


def get_config_file(name: str) -> str:
    """Path of a shipped config, e.g. ``get_config_file("segmentation/resnet18_t1.yaml")``.

    The configs are inside an installed package, or beside it in a checkout. The name may begin with
    ``configs/``, as paths in a checkout do.

    Raises:
        ConfigError: there is no such config; the message suggests similar names.
    """
    for root in _config_roots():
        if (file := root / name.removeprefix("configs/")).is_file():
            return str(file)
    folder_and_name = "/".join(Path(name).parts[-2:]).removesuffix(".yaml")
    stems = [known.removesuffix(".yaml") for known in _config_names()]
    similar = [f"{stem}.yaml" for stem in get_close_matches(folder_and_name, stems, cutoff=0.5)]
    advice = f"Similar names: {', '.join(similar)}. " if similar else ""
    what = "is not a file" if Path(name).exists() else "does not exist"
    raise ConfigError(
        f"{name} {what}, and no shipped config has this name. {advice}"
        f"The shipped configs are in {' and '.join(map(str, _config_roots()))}."
    )


def shipped_configs() -> list[str]:
    """Names of the shipped configs for :func:`load_config`, without their ``Base-`` files."""
    return [name for name in _config_names() if not Path(name).name.startswith("Base-")]


def matching_config(cfg: CfgNode) -> str:
    """Name of a shipped config that builds the same model; ``""`` if there is none.

    If several match, a config with the same training datasets is preferred, then one from a folder
    (``segmentation/``, ``classification/``, ``quick/``).
    """
    wanted = _model_keys(cfg)
    same = [name for name, other in _shipped().items() if _model_keys(other) == wanted]
    same.sort(key=lambda n: (_shipped()[n].DATASETS.TRAIN != cfg.DATASETS.TRAIN, "/" not in n))
    return same[0] if same else ""


@cache
def _shipped() -> dict[str, CfgNode]:
    return {name: load_config(name) for name in shipped_configs()}


def _model_keys(cfg: CfgNode) -> str:
    """``MODEL`` as JSON, without the keys that do not describe the model."""
    model = cfg.MODEL.clone()
    for key in ("WEIGHTS", "DEVICE", "FAST_PATH"):
        del model[key]
    del model.ROI_HEADS["SCORE_THRESH_TEST"]
    return json.dumps(model, sort_keys=True)  # makes lists and tuples equal


def _config_roots() -> list[Path]:
    """Folders of shipped configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return [root for root in (package / "configs", package.parent / "configs") if root.is_dir()]


def _config_names() -> list[str]:
    roots = _config_roots()
    return sorted({p.relative_to(root).as_posix() for root in roots for p in root.rglob("*.yaml")})


def find_config(config_file: str) -> str:
    """Path of a config given as a path or as the name of a shipped config."""
    return config_file if Path(config_file).is_file() else get_config_file(config_file)


def load_config(config_file: str, overrides: Sequence[str] = ()) -> CfgNode:
    """Detectron2's defaults, ct_lesion's keys, then a yaml file, then overrides.

    Args:
        config_file: path of a yaml file, or the name of a shipped one (see
            :func:`get_config_file`).
        overrides: alternating keys and values, e.g. ``["SOLVER.BASE_LR", "1e-4"]``.

    Raises:
        ConfigError: the config does not exist.
        ValueError: the file is not plain yaml, or one of its base configs cannot be used.
        Others of ``NOT_A_CONFIG``: an unknown key, or a value of the wrong type.
    """
    cfg = get_cfg()
    add_ct_lesion_config(cfg)
    path = find_config(config_file)
    check_config_file(path)
    cfg.merge_from_file(path, allow_unsafe=False)  # the default executes yaml tags
    cfg.merge_from_list(list(overrides))
    return cfg


def config_fault(error: BaseException) -> str:
    """The message of one of ``NOT_A_CONFIG`` in one line; an unknown key gets similar ones."""
    text = " ".join(str(error.args[0] if error.args else "").split()) or type(error).__name__
    unknown = re.fullmatch(r"Non-existent (?:config )?key: (\S+)", text)
    if unknown is None:
        return text
    cfg = get_cfg()
    add_ct_lesion_config(cfg)
    similar = get_close_matches(unknown[1], _keys(cfg), cutoff=0.8)
    advice = f"Similar keys: {', '.join(similar)}." if similar else "See docs/configs.md."
    return f"there is no config key {unknown[1]}. {advice}"


def _keys(cfg: CfgNode, above: str = "") -> Iterator[str]:
    """Dotted names of all keys below a node, e.g. ``SOLVER.BASE_LR``."""
    for name, value in cfg.items():
        yield f"{above}{name}"
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{above}{name}.")
