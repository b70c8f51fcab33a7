"""Module S: size, names, initialisation and shapes."""

import pytest
import torch

from ct_lesion.modeling import ClassificationModule


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_and_names() -> None:
    module = ClassificationModule(num_rois=128, width=512, num_classes=3)
    assert count(module) == 592_387  # the paper's "0.6M"
    assert [name for name, _ in module.named_children()] == ["fc1", "fc2", "logits"]
    # ResNet50: 1280 x 1024 + 1024, 1024 x 1024 + 1024, 1024 x 3 + 3
    assert count(ClassificationModule(num_rois=256, width=1024)) == 2_364_419


def test_initialisation_is_kaiming_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    module = ClassificationModule(num_rois=128, width=512)
    for layer in (module.fc1, module.fc2, module.logits):
        expected = (2 / layer.out_features) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert not layer.bias.any()


def test_forward_by_hand() -> None:
    module = ClassificationModule(num_rois=1, width=1, num_classes=2)
    with torch.no_grad():
        module.fc1.weight.copy_(torch.tensor([[1.0, 2, 3, 4, 5]]))
        module.fc2.weight.fill_(2)
        module.fc2.bias.fill_(1)
        module.logits.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    # 1 + 2 + 3 + 4 + 5 = 15, 2 * 15 + 1 = 31; the ReLU stops -15, 2 * 0 + 1 = 1
    roi_batch = torch.stack([torch.ones(1, 5), -torch.ones(1, 5)])
    assert module(roi_batch).tolist() == [[31, -31], [1, -1]]


def test_wrong_number_of_rois_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 5\).*MODEL.ROI_BATCH.SIZE is 8"):
        ClassificationModule(num_rois=8)(torch.zeros(2, 4, 5))
