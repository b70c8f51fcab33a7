"""``TEST.AUG``: evaluates a segmenter with Detectron2's test-time augmentation.

Each slice is passed in several sizes and mirrored. NMS merges the boxes of all views, and the masks
of the merged boxes are averaged over the views.
"""

import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, GeneralizedRCNNWithTTA
from tabulate import tabulate

from ct_lesion.config import is_classifier
from ct_lesion.errors import ConfigError

_SHOWN = ("AP", "AP50", "AP75")
logger = logging.getLogger(__name__)


def augmentation_remarks(cfg: CfgNode, training: bool) -> list[str]:
    """A remark for the log if ``TEST.AUG`` is enabled but not used.

    Raises:
        ConfigError: it is enabled in an evaluation of a classifier.
    """
    if not cfg.TEST.AUG.ENABLED:
        return []
    if training:
        return ["TEST.AUG is ignored in training. It is used with --eval-only."]
    if is_classifier(cfg):
        raise ConfigError(
            "TEST.AUG.ENABLED is True, but test-time augmentation is for segmenters, and "
            f"{cfg.MODEL.META_ARCHITECTURE} (MODEL.META_ARCHITECTURE) is a classifier. Set "
            "TEST.AUG.ENABLED to False."
        )
    return []


def augmentation_settings(cfg: CfgNode) -> dict[str, Any]:
    """``TEST.AUG`` as JSON values."""
    aug = cfg.TEST.AUG
    return {"min_sizes": list(aug.MIN_SIZES), "max_size": aug.MAX_SIZE, "flip": aug.FLIP}


def with_augmentation(model: GeneralizedRCNN, cfg: CfgNode) -> GeneralizedRCNNWithTTA:
    """Wrap a segmenter; it then expects slices that are loaded with :func:`without_resizing`."""
    # one view at a time: views of several sizes would be padded to the largest, which changes the
    # detections near their borders
    return GeneralizedRCNNWithTTA(cfg, model, batch_size=1)


def without_resizing(cfg: CfgNode) -> CfgNode:
    """Copy a config so that its test loader does not resize slices.

    Detectron2 resizes the mapper's output to each view. If the mapper keeps the slice's size, each
    view is resized only once, as in training.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.freeze()
    return cfg


def log_gain(cfg: CfgNode, plain: dict, augmented: dict) -> None:
    """Log a table of AP from the results of ``test`` (plain) and ``test_with_TTA`` (augmented)."""
    several = len(cfg.DATASETS.TEST) > 1
    names = cfg.DATASETS.TEST
    pairs = (
        {n: (plain.get(n), augmented.get(f"{n}_TTA")) for n in names}
        if several
        else {names[0]: (plain, {k.removesuffix("_TTA"): v for k, v in augmented.items()})}
    )
    rows = [
        [name, f"{task}/{metric}", before[task][metric], after[task][metric]]
        for name, (before, after) in pairs.items()
        for task in before or ()
        for metric in _SHOWN
    ]
    if rows:  # only the main process has results
        headers = ["dataset", "metric", "plain", "test-time augmentation"]
        table = tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="pipe")
        logger.info(f"Test-time augmentation, {augmentation_settings(cfg)}:\n{table}")
