import pytest
import torch
from torch import nn

from ct_lesion import load_config
from ct_lesion.engine.builders import build_optimizer
from ct_lesion.errors import ConfigError


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))


def cfg_with(*overrides: object):
    return load_config("segmentation/resnet18_t1.yaml", overrides)


def test_the_papers_adam(model):
    optimizer = build_optimizer(cfg_with(), model)
    assert type(optimizer) is torch.optim.Adam
    assert {(g["lr"], g["weight_decay"]) for g in optimizer.param_groups} == {(1e-5, 1e-3)}


@pytest.mark.parametrize(("name", "kind"), [("SGD", torch.optim.SGD), ("AdamW", torch.optim.AdamW)])
def test_other_optimisers_by_name(model, name, kind):
    assert type(build_optimizer(cfg_with("SOLVER.OPTIMIZER", name), model)) is kind


def test_norms_have_their_own_weight_decay_and_frozen_weights_are_left_out(model):
    model[2].requires_grad_(False)
    optimizer = build_optimizer(cfg_with("SOLVER.WEIGHT_DECAY_NORM", 0.0), model)
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert decays == {
        id(model[0].weight): 1e-3,
        id(model[0].bias): 1e-3,
        id(model[1].weight): 0.0,
        id(model[1].bias): 0.0,
    }


def test_gradients_are_clipped_when_asked(model):
    clip = ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5]
    optimizer = build_optimizer(cfg_with(*clip), model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    assert all((p.grad == 0.5).all() for p in model.parameters())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_gradients_are_unscaled_before_they_are_clipped(name):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    clip = ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0]
    keys = ["SOLVER.OPTIMIZER", name, "SOLVER.AMP.ENABLED", True, "SOLVER.BASE_LR", 0.5]
    optimizer = build_optimizer(cfg_with(*keys, *clip), layer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for gradient in (0.25, 4.0):  # clipped to 0.25 and 1
        optimizer.zero_grad()
        scaler.scale(gradient * layer.weight.sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    state = optimizer.state[layer.weight]
    if name == "SGD":  # momentum 0.9, rates 0.5: -0.5 * 0.25 - 0.5 * (0.9 * 0.25 + 1)
        assert layer.weight.item() == pytest.approx(-0.7375, abs=1e-3)  # and weight decay
    else:  # 0.9 * (0.1 * 0.25) + 0.1 * 1
        assert state["exp_avg"].item() == pytest.approx(0.1225, abs=1e-3)


def test_an_unknown_optimiser_is_refused(model):
    with pytest.raises(ConfigError, match=r"SOLVER\.OPTIMIZER is 'Adagrad', expected one of SGD"):
        build_optimizer(cfg_with("SOLVER.OPTIMIZER", "Adagrad"), model)
