import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from ct_lesion import load_config
from ct_lesion.errors import ConfigError
from ct_lesion.modeling.roi_heads import LesionBoxPredictor


def predictor(activation: str) -> LesionBoxPredictor:
    overrides = ["MODEL.ROI_BOX_HEAD.SCORE_ACTIVATION_TEST", activation]
    cfg = load_config("segmentation/resnet18_t1_both.yaml", overrides)
    return LesionBoxPredictor(cfg, ShapeSpec(channels=128))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_follow_the_activation(activation):
    logits = torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]])
    proposals = [Instances((8, 8), scores=torch.zeros(n)) for n in (2, 1)]
    first, second = predictor(activation).predict_probs((logits, None), proposals)
    expected = logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)
    torch.testing.assert_close(torch.cat([first, second]), expected)
    assert len(first) == 2


def test_training_loss_does_not_depend_on_it():
    losses = []
    for activation in ("softmax", "sigmoid"):
        torch.manual_seed(0)
        box_predictor = predictor(activation)
        features = torch.randn(4, 128)
        proposals = Instances((8, 8))
        boxes = torch.tensor([[0.0, 0, 4, 4]]).expand(4, 4)
        proposals.proposal_boxes = proposals.gt_boxes = Boxes(boxes)
        proposals.gt_classes = torch.tensor([0, 1, 2, 2])
        with EventStorage():
            losses.append(box_predictor.losses(box_predictor(features), [proposals])["loss_cls"])
    torch.testing.assert_close(losses[0], losses[1])


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match="SCORE_ACTIVATION_TEST is 'tanh'"):
        predictor("tanh")
