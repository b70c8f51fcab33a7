"""Small COVIDCTMaskNets with random weights, and inputs for them."""

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ct_lesion import load_config
from ct_lesion.modeling import COVIDCTMaskNet

N = 16
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BATCH.SIZE", N, "MODEL.CLASSIFIER.WIDTH", 32]
SMALL += ["MODEL.RPN.PRE_NMS_TOPK_TEST", 200, "MODEL.RPN.POST_NMS_TOPK_TEST", 60]
DETECTOR = ("backbone", "proposal_generator", "roi_heads")


def make_cfg(*overrides: object, leaf: str = "resnet18_t2") -> CfgNode:
    return load_config(f"classification/{leaf}.yaml", [*SMALL, *overrides])


def make_model(*overrides: object, leaf: str = "resnet18_t2") -> COVIDCTMaskNet:
    """Random weights, larger than the initial ones, so that regions differ in score and place."""
    torch.manual_seed(0)
    model = build_model(make_cfg(*overrides, leaf=leaf))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("cls_score.weight", "bbox_pred.weight", "objectness_logits.weight")):
                parameter.mul_(30)
        for norm in (m for m in model.modules() if isinstance(m, _BatchNorm)):
            norm.running_mean.normal_(std=0.1)
    return model


def make_inputs(*sizes: tuple[int, int]) -> list[dict]:
    generator = torch.Generator().manual_seed(5)
    return [
        {"image": torch.randint(256, (3, *size), generator=generator).float(), "label": i % 3}
        for i, size in enumerate(sizes)
    ]


def train_step(model: nn.Module, inputs: list[dict]) -> torch.Tensor:
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-2)
    loss = model(inputs)["loss_cls"]
    loss.backward()
    optimizer.step()
    return loss.detach()
