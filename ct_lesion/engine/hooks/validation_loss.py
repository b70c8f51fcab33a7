"""``TEST.EVAL_LOSS``: logs the loss on the test sets during training."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from detectron2.utils.logger import log_every_n_seconds
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ct_lesion.data.loading.seeding import derived_seed, seeded
from ct_lesion.data.loading.unreadable import EVALUATION_ADVICE, NamingMapper, StopAtUnreadable
from ct_lesion.engine.across_processes import unwrap_model

logger = logging.getLogger(__name__)


class ValidationLoss(HookBase):
    """Logs the losses of each evaluation as ``val_loss/total``, ``val_loss/loss_mask``, ...

    Each value is the mean over the slices of a test set. With several test sets, names start with
    the set's name. The values do not depend on earlier evaluations, so the hook has no state.
    """

    def __init__(self, cfg: CfgNode, build_mapper: Callable[[CfgNode, bool], Callable]) -> None:
        """
        Args:
            cfg: config of the run, with ``DATASETS.TEST`` and ``TEST.EVAL_PERIOD``.
            build_mapper: the trainer's; called for training (True) with a config that does not
                augment.
        """
        self._cfg = cfg
        self._build_mapper = build_mapper

    def after_step(self) -> None:
        done, period = self.trainer.iter + 1, self._cfg.TEST.EVAL_PERIOD
        if period > 0 and done % period == 0 and done != self.trainer.max_iter:
            self._log()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:  # not after a failure
            self._log()

    def _log(self) -> None:
        model = unwrap_model(self.trainer.model)
        for name in self._cfg.DATASETS.TEST:
            means = validation_loss(model, self._loader(name), name)
            prefix = f"{name}/" if len(self._cfg.DATASETS.TEST) > 1 else ""
            for part, value in means.items():
                scalar = f"{prefix}val_loss/{part}"
                self.trainer.storage.put_scalar(scalar, value, smoothing_hint=False)
            listed = ", ".join(f"{part} {value:.4g}" for part, value in means.items())
            logger.info(f"Loss on {name}: {listed}")

    def _loader(self, name: str) -> Iterable[list[dict]]:
        mapper = self._build_mapper(without_augmentation(self._cfg), True)
        loader = build_detection_test_loader(
            DatasetCatalog.get(name),
            mapper=NamingMapper(mapper),
            num_workers=self._cfg.DATALOADER.NUM_WORKERS,
        )
        return StopAtUnreadable(loader, EVALUATION_ADVICE)


def without_augmentation(cfg: CfgNode) -> CfgNode:
    """Copy a config so that its training mapper loads slices as in an evaluation."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TRAIN = (cfg.INPUT.MIN_SIZE_TEST,)
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.CROP.ENABLED = False
    cfg.INPUT.VERTICAL_FLIP = False
    cfg.INPUT.ROTATION = cfg.INPUT.INTENSITY = 0.0
    cfg.freeze()
    return cfg


def validation_loss(
    model: nn.Module, loader: Iterable[list[dict]], name: str = ""
) -> dict[str, float]:
    """Compute the mean losses of a model over slices, and their sum as ``total``.

    The model runs in training mode, because only then it computes losses, but BatchNorm uses its
    running statistics. Statistics, gradients, mode and random state of the training do not change.
    The sampling of regions is seeded by the slice's id, so that evaluations are comparable.

    Args:
        model: in training mode returns a dict of losses; not wrapped for distributed training.
        loader: batches of one slice each, this process's share.
        name: name of the dataset, for the progress log.

    Returns:
        The mean of each loss by name; the same in all processes.
    """
    modes = {module: module.training for module in model.modules()}
    sums: dict[str, float] = defaultdict(float)
    slices = 0
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    try:
        # A temporary storage takes what the model logs about a training step. At iteration 1, a
        # VIS_PERIOD above 1 draws nothing.
        with torch.no_grad(), EventStorage(1):
            for batch in loader:
                with seeded(derived_seed("validation loss", str(batch[0].get("image_id", "")))):
                    losses = model(batch)
                for part, loss in losses.items():
                    sums[part] += float(loss)
                slices += 1
                log_every_n_seconds(logging.INFO, f"Loss on {name}: {slices} slices", n=10)
    finally:
        for module, training in modes.items():
            module.training = training
    gathered = comm.all_gather((dict(sums), slices))
    count = max(sum(number for _, number in gathered), 1)
    parts = {
        part: sum(s.get(part, 0.0) for s, _ in gathered) / count
        for part in sorted({part for s, _ in gathered for part in s})
    }
    return {"total": sum(parts.values()), **parts}
