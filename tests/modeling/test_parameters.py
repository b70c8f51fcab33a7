import pytest
from detectron2.modeling import build_model
from torch import nn

from ct_lesion import load_config
from ct_lesion.modeling.parameters import count_parameters, format_parameter_counts

# Counts of the published implementation. Its box regressor and mask predictor have rows for the
# background, which Detectron2's lack: 516 + 129 parameters, ResNet50 516 + 257.
PUBLISHED = {
    "resnet18": 14_511_074,
    "resnet18_t1": 6_051_810,
    "resnet18_t2": 3_919_330,
    "resnet34": 24_619_234,
    "resnet34_t1": 11_439_330,
    "resnet34_t2": 4_584_162,
    "resnet50": 31_727_842,
}


@pytest.mark.parametrize("leaf", PUBLISHED)
def test_segmentation_models_have_the_published_size(leaf):
    model = build_model(load_config(f"segmentation/{leaf}.yaml", ["MODEL.DEVICE", "cpu"]))
    background = 773 if leaf == "resnet50" else 645
    counts = count_parameters(model)
    assert counts.total == counts.trainable == PUBLISHED[leaf] - background


def test_frozen_parameters_count_as_not_trainable():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    counts = count_parameters(model)
    assert (counts.total, counts.trainable) == (26, 10)
    assert "(26), 0.00M trainable (10)" in format_parameter_counts(model)
