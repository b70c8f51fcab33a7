"""``TEST.EVAL_LOSS``: means worked out by hand; the state of the training does not change."""

import copy
import random

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch import nn

from ct_lesion.engine.builders import build_mapper
from ct_lesion.engine.hooks.validation_loss import validation_loss, without_augmentation


class Losses(nn.Module):
    """Two losses: brightness of a slice after BatchNorm in test mode, and a random number."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=0, momentum=0.5)
        self.norm.running_mean.fill_(10)
        self.norm.running_var.fill_(4)

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        assert self.training
        (item,) = batch
        return {"loss_cls": self.norm(item["image"][None]).mean(), "loss_mask": torch.rand(())}


def grey(image_id: int, value: float) -> list[dict]:
    return [{"image_id": image_id, "image": torch.full((1, 2, 2), value)}]


def random_state() -> tuple:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_the_mean_over_slices_of_each_part() -> None:
    model, slices = Losses().eval(), [grey(1, 12.0), grey(2, 20.0)]
    before, state = random_state(), copy.deepcopy(model.state_dict())
    losses = validation_loss(model, slices)
    assert losses["loss_cls"] == ((12 - 10) / 2 + (20 - 10) / 2) / 2
    assert losses["total"] == losses["loss_cls"] + losses["loss_mask"]
    # a slice's draw depends neither on its position nor on the random state
    torch.rand(3)
    again = validation_loss(model, slices[::-1])
    assert again["loss_mask"] == losses["loss_mask"]
    assert not model.training and not model.norm.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.set_rng_state(torch.tensor(before[2], dtype=torch.uint8))
    validation_loss(model, slices)
    assert random_state() == before


def test_a_segmenter_on_slices_with_and_without_lesions(toy_cfg) -> None:
    cfg = toy_cfg(**{"INPUT.RANDOM_FLIP": "horizontal", "INPUT.ROTATION": 30.0})
    torch.manual_seed(0)
    model = build_model(cfg).train()
    mapper = build_mapper(without_augmentation(cfg), True)
    records = DatasetCatalog.get("cncb_lesion_test")[1:3]
    assert [bool(record["annotations"]) for record in records] == [True, False]
    state = copy.deepcopy(model.state_dict())
    loader = [[mapper(record)] for record in records]
    losses = validation_loss(model, loader)
    parts = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    assert set(losses) == {"total", *parts}
    assert all(np.isfinite(value) and value > 0 for value in losses.values())
    assert losses == validation_loss(model, [[mapper(record)] for record in records])
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
