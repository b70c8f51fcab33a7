"""``TEST.AUG``: evaluates a segmenter with Detectron2's test-time augmentation.

Each slice is shown in several sizes and mirrored. The boxes of all views are merged by NMS, and the
masks of the merged boxes are averaged over the views.
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
    """What ``TEST.AUG`` does not do in this run, for the log.

    Raises:
        ConfigError: it is on in an evaluation of a classifier.
    """
    if not cfg.TEST.AUG.ENABLED:
        return []
    if training:
        return ["TEST.AUG is ignored in training: it is used with --eval-only."]
    if is_classifier(cfg):
        raise ConfigError(
            "TEST.AUG.ENABLED is True, but test-time augmentation is for segmenters, and "
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}: set it to False."
        )
    return []


def augmentation_settings(cfg: CfgNode) -> dict[str, Any]:
    """``TEST.AUG`` as JSON values."""
    aug = cfg.TEST.AUG
    return {"min_sizes": list(aug.MIN_SIZES), "max_size": aug.MAX_SIZE, "flip": aug.FLIP}


def with_augmentation(model: GeneralizedRCNN, cfg: CfgNode) -> GeneralizedRCNNWithTTA:
    """A segmenter that expects slices as :func:`without_resizing` loads them."""
    # one view at a time: views of several sizes would be padded to the largest, which changes what
    # is found near their borders
    return GeneralizedRCNNWithTTA(cfg, model, batch_size=1)


def without_resizing(cfg: CfgNode) -> CfgNode:
    """The config of a test loader that keeps the size of slices.

    Detectron2 resizes the views from its mapper's resized image; from the slice itself they are
    resized once, as in training.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.freeze()
    return cfg


def log_gain(cfg: CfgNode, plain: dict, augmented: dict) -> None:
    """Log AP with and without augmentation, from the results of ``test`` and ``test_with_TTA``."""
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
