"""Loading of trained models from checkpoints that carry their config."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from detectron2.config import CfgNode

from ct_lesion.checkpoint import (
    DEFAULT_MODEL,
    AboutModel,
    CheckpointError,
    check_size,
    config_from_description,
    description_value,
    locate_shipped,
    read_description,
)
from ct_lesion.config import NOT_A_CONFIG, config_fault, is_classifier
from ct_lesion.config_values import check_values
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES
from ct_lesion.data.datasets.lesion_masks import MASK_TYPES
from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.checks import window_of_weights
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.setup import read_config
from ct_lesion.errors import ConfigError, UserError, printable
from ct_lesion.evaluation.calibration import TEMPERATURE_LIMITS
from ct_lesion.modeling.fast.inference import fast_inference
from ct_lesion.scans.windows import UNKNOWN, Window

# by number of classes, for checkpoints without class names
LESION_CLASSES = {len(m.classes): list(m.classes) for m in map(MASK_TYPES.get, ("merge", "both"))}
LONGEST_NAME = 100  # characters of a class name; longer names are cut


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in test mode, with its config and class names.

    Attributes:
        model: built from Detectron2's modules.
        network: the same model with the faster modules of ``MODEL.FAST_PATH``.
        cfg: the model's config.
        classes: names of the lesion classes (segmenter) or the image classes (classifier).
        path: the checkpoint.
        weights_sha256: hash of the tensors.
        temperature: divides the logits before the softmax; 1 if it was not fitted.
        window: how the training images were made from HU.
        about: name, training data and licence; ``None`` if the checkpoint does not record them.
    """

    model: torch.nn.Module
    network: torch.nn.Module
    cfg: CfgNode
    classes: tuple[str, ...]
    path: Path
    weights_sha256: str
    temperature: float = 1.0
    window: Window = UNKNOWN
    about: AboutModel | None = None

    @cached_property
    def config_sha256(self) -> str:
        """SHA-256 of the config without paths and device, which do not change the results."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.MODEL.WEIGHTS = cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""
        return hashlib.sha256(cfg.dump().encode()).hexdigest()

    @property
    def score_thresh(self) -> float:
        """Detections with a score above it are kept."""
        return self.cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST


def load_segmenter(
    path: str | Path = DEFAULT_MODEL,
    *,
    device: str | None = None,
    score_thresh: float | None = None,
    config_file: str | None = None,
    overrides: Sequence[str] = (),
) -> TrainedModel:
    """Load a lesion segmenter.

    Args:
        path: checkpoint, or ``ct_lesion://NAME``; default: the model shipped with ct_lesion.
        device: "cpu", "cuda" or "cuda:0"; default: a GPU if there is one.
        score_thresh: 0 or more, below 1; detections with a score above it are kept. Default:
            ``TEST.PAPER_SCORE_THRESH``.
        config_file: default: the config in the checkpoint.
        overrides: alternating config keys and values.

    Raises:
        CheckpointError: the file cannot be read, has no config, or is not a segmenter.
        ConfigError: the device is not available, or a key or value is invalid.
    """
    path = locate_shipped(path)
    cfg = _config(path, config_file, overrides, device)
    if is_classifier(cfg) or not cfg.MODEL.MASK_ON:
        raise CheckpointError(
            f"{path} is not a lesion segmenter (MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE}, MASK_ON {cfg.MODEL.MASK_ON}). Give a segmenter with "
            "--segmentation."
        )
    threshold = cfg.TEST.PAPER_SCORE_THRESH if score_thresh is None else score_thresh
    if not 0 <= threshold < 1:
        raise ConfigError(
            f"The score threshold is {threshold} (--score-thresh or TEST.PAPER_SCORE_THRESH). Give "
            "a number of at least 0 and below 1."
        )
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = float(threshold)
    return _load(path, cfg, LESION_CLASSES.get(cfg.MODEL.ROI_HEADS.NUM_CLASSES, []))


def load_classifier(path: str | Path, *, device: str | None = None) -> TrainedModel:
    """Load a COVID-CT-Mask-Net; see :func:`load_segmenter` for arguments and errors."""
    cfg = _config(path, None, (), device)
    if not is_classifier(cfg):
        raise CheckpointError(
            f"{path} is not a classifier (MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE}). Give a classifier with --classifier."
        )
    return _load(path, cfg, IMAGE_CLASSES)


def load_model(
    path: str | Path, *, device: str | None = None, score_thresh: float | None = None
) -> TrainedModel:
    """Load the segmenter or classifier in a checkpoint; see :func:`load_segmenter`.

    Raises:
        ConfigError: ``score_thresh`` is given for a classifier.
    """
    path = locate_shipped(path)
    if not is_classifier(_config(path, None, (), device)):
        return load_segmenter(path, device=device, score_thresh=score_thresh)
    if score_thresh is not None:
        raise ConfigError(
            f"{path} is a classifier, which has no score threshold. Leave the threshold out."
        )
    return load_classifier(path, device=device)


def _config(
    path: str | Path, config_file: str | None, overrides: Sequence[str], device: str | None
) -> CfgNode:
    if not Path(path).is_file():
        raise CheckpointError(
            f"{path} does not exist. Check the path; ct-lesion models lists the shipped models."
        )
    if config_file:
        cfg = read_config(config_file, list(overrides))
        if not Window.from_config(cfg).is_known:
            window_of_weights(path).into_config(cfg)
    else:
        description = read_description(path)
        try:
            cfg = config_from_description(description)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        check_size(cfg, path)
        try:
            cfg.merge_from_list(list(overrides))
        except NOT_A_CONFIG as error:
            raise ConfigError(f"--opts {' '.join(overrides)}: {config_fault(error)}") from None
        if overrides:
            check_values(cfg, f"{path} with overrides {list(overrides)}")
    cfg.MODEL.WEIGHTS = str(path)
    cfg.MODEL.DEVICE = _device(device)
    return cfg


def _device(wanted: str | None) -> str:
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        raise ConfigError(f"--device {wanted}: unknown device. Use cpu or cuda.") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {wanted}: no GPU is available. Use --device cpu.")
    return wanted


def _load(path: str | Path, cfg: CfgNode, usual_classes: Sequence[str]) -> TrainedModel:
    cfg.freeze()
    window = Window.from_config(cfg)  # checked before the weights are read
    model = load_trained(cfg)
    description = _description(path)
    count = (
        cfg.MODEL.CLASSIFIER.NUM_CLASSES if is_classifier(cfg) else cfg.MODEL.ROI_HEADS.NUM_CLASSES
    )
    return TrainedModel(
        model=model,
        network=fast_inference(model, cfg),
        cfg=cfg,
        classes=_class_names(description, usual_classes, count),
        path=Path(path),
        weights_sha256=hash_weights(model.state_dict()),
        temperature=_temperature(path, description),
        window=window,
        about=AboutModel.of(description),
    )


def _class_names(
    description: Mapping[str, str], usual: Sequence[str], count: int
) -> tuple[str, ...]:
    """The class names in the checkpoint, else the usual names, as unique, printable lines.

    If these are not ``count`` such names: "class 1", "class 2", ...
    """
    names = description_value(description, "class_names") or usual
    if isinstance(names, dict):
        names = names.get("images", usual)
    are_texts = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
    cleaned = [printable(" ".join(n.split()))[:LONGEST_NAME] for n in names] if are_texts else []
    if len({*cleaned} - {""}) != count or len(cleaned) != count:
        return tuple(f"class {index + 1}" for index in range(count))
    return tuple(cleaned)


def _temperature(path: str | Path, description: Mapping[str, str]) -> float:
    """The temperature in the checkpoint's description, else 1.

    Raises:
        CheckpointError: it is not a number within :data:`TEMPERATURE_LIMITS`.
    """
    fitted = description_value(description, "temperature") or {"value": 1.0}
    value = fitted.get("value") if isinstance(fitted, dict) else None
    low, high = TEMPERATURE_LIMITS
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise CheckpointError(
            f"{path}: its temperature is {str(value)[:80]}, expected a number from {low:g} to "
            f"{high:g}. Fit it again with ct-lesion calibrate."
        )
    return float(value)


def _description(path: str | Path) -> dict[str, str]:
    """The checkpoint's description; empty for checkpoints without one."""
    try:
        return read_description(path)
    except UserError:
        return {}


def describe_models(models: Sequence[TrainedModel], score_thresh: float) -> dict[str, str]:
    """Facts about the models, by the labels that the page shows."""
    facts = {}
    for kind, model in zip(("Segmentation", "Classification"), models, strict=False):
        # the folder too, because file names such as model_best.safetensors are often the same
        name = model.about.name if model.about else "/".join(model.path.parts[-2:])
        facts[f"{kind} model"] = name
        if model.about:
            facts[f"{kind} training data"] = model.about.trained_on
            facts[f"{kind} licence"] = model.about.licence
        facts[f"{kind} weights, SHA-256"] = model.weights_sha256
        facts[f"{kind} window"] = model.window.label
    facts["Score threshold"] = f"{score_thresh:g}"
    return facts
