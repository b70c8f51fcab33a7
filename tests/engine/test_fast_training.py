"""Training on the fast path gives the losses and gradients of Detectron2's modules."""

import copy

import numpy as np
import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError
from ct_lesion.modeling.fast import training as fast_training
from ct_lesion.modeling.fast.roi_align import FastROIAlign
from ct_lesion.modeling.fast.training import use_fast_training


def inputs(*lesions: bool) -> list[dict]:
    """Slices of 64 x 64 noise, with or without two lesions."""
    rng, slices = np.random.default_rng(0), []
    for has_lesions in lesions:
        masks = torch.zeros(2, 64, 64, dtype=torch.bool)
        masks[0, 10:30, 10:25] = masks[1, 40:52, 30:60] = True
        masks = BitMasks(masks[: 2 * has_lesions])
        image = torch.from_numpy(rng.integers(0, 256, (3, 64, 64), dtype=np.uint8))
        classes = torch.zeros(len(masks), dtype=torch.int64)
        boxes = masks.get_bounding_boxes() if has_lesions else Boxes(torch.zeros(0, 4))
        found = Instances((64, 64), gt_boxes=boxes, gt_classes=classes, gt_masks=masks)
        slices.append({"image": image, "instances": found, "height": 64, "width": 64})
    return slices


@pytest.mark.parametrize("pooler", ["ROIAlign", "ROIAlignV2"])
@pytest.mark.parametrize("lesions", [(True,), (False,), (True, False)])
def test_losses_and_gradients_are_the_same(toy_cfg, pooler, lesions, monkeypatch) -> None:
    """In double precision, where rounding changes no proposal."""
    # Detectron2 would pass boxes in single and scores in double precision to torchvision
    monkeypatch.setattr(
        "detectron2.modeling.proposal_generator.proposal_utils.batched_nms",
        lambda boxes, scores, *rest: batched_nms(boxes, scores.float(), *rest),
    )
    cfg = toy_cfg(
        **{"MODEL.ROI_BOX_HEAD.POOLER_TYPE": pooler, "MODEL.ROI_MASK_HEAD.POOLER_TYPE": pooler}
    )
    torch.manual_seed(0)
    plain = LesionTrainer.build_model(cfg).double()
    fast = copy.deepcopy(plain)
    assert use_fast_training(fast, cfg)
    assert list(fast.state_dict()) == list(plain.state_dict())
    results = []
    for model in (plain, fast):
        torch.manual_seed(0)
        with EventStorage():
            losses = model(inputs(*lesions))
        sum(losses.values()).backward()
        results.append((losses, {n: p.grad for n, p in model.named_parameters()}))
    (expected, expected_gradients), (actual, gradients) = results
    # targets and anchors stay in single precision in both models
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-5, atol=1e-8)
    assert any(g.abs().max() > 1e-3 for g in gradients.values())


def train(cfg) -> LesionTrainer:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return trainer


@pytest.mark.parametrize(("first", "then"), [("auto", "off"), ("off", "auto")])
def test_a_run_resumes_on_the_other_path(toy_cfg, first, then) -> None:
    quiet = {"TEST.EVAL_PERIOD": 0}
    train(toy_cfg(**quiet, **{"SOLVER.MAX_ITER": 2, "MODEL.FAST_PATH": first}))
    trainer = train(toy_cfg(**quiet, **{"MODEL.FAST_PATH": then}))
    assert trainer.start_iter == 2
    for parameter in trainer.model.parameters():
        state = trainer.optimizer.state.get(parameter, {})
        # a fused optimiser reads weights and state in memory order
        layouts = {parameter.stride(), *(t.stride() for t in state.values() if t.dim())}
        assert len(layouts) == 1


def pooler_types(model) -> set[type]:
    return {type(level) for level in model.roi_heads.box_pooler.level_poolers}


def test_when_it_is_used(toy_cfg, monkeypatch) -> None:
    assert pooler_types(LesionTrainer(toy_cfg()).model) == {FastROIAlign}
    off = toy_cfg(**{"MODEL.FAST_PATH": "off"})
    assert FastROIAlign not in pooler_types(LesionTrainer(off).model)
    with pytest.raises(ConfigError, match="FAST_PATH is 'fast'"):
        LesionTrainer(toy_cfg(**{"MODEL.FAST_PATH": "fast"}))
    monkeypatch.setattr(fast_training, "numba_is_installed", lambda: False)
    assert FastROIAlign not in pooler_types(LesionTrainer(toy_cfg()).model)
