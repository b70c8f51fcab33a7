"""COVIDCTMaskNet: its outputs, and which weights are trained.

Shapes: B images, N RoIs per image, C classes, H x W pixels.
"""

import numpy as np
import pytest
import torch
from detectron2.export import TracingAdapter
from detectron2.utils.events import EventStorage
from torch.nn.modules.batchnorm import _BatchNorm
from toy_classifiers import DETECTOR, N, make_inputs, make_model, train_step

from ct_lesion.modeling import COVIDCTMaskNet
from ct_lesion.modeling.classifier import classification_loss
from ct_lesion.modeling.roi_batch import box_outputs


@pytest.fixture(scope="module")
def model() -> COVIDCTMaskNet:
    return make_model().eval()


# ---- outputs ------------------------------------------------------------------------------------
def test_inference_output(model: COVIDCTMaskNet) -> None:
    outputs = model(make_inputs((64, 64), (64, 64)))
    assert len(outputs) == 2
    for output in outputs:
        assert output["logits"].shape == (3,)
        assert output["probabilities"].sum().item() == pytest.approx(1)
        assert output["pred_class"] == output["logits"].argmax().item()
        assert output["roi_batch"].shape == (N, 5)
        regions = output["instances"]
        assert len(regions) == N
        torch.testing.assert_close(regions.scores, output["roi_batch"][:, 0])
        assert (regions.scores.diff() <= 0).all()
    assert not torch.equal(outputs[0]["roi_batch"], outputs[1]["roi_batch"])


@torch.no_grad()
def test_it_has_the_methods_of_a_generalized_rcnn(model: COVIDCTMaskNet) -> None:
    (item,) = make_inputs((64, 60))
    images = model.preprocess_image([item])
    assert images.image_sizes == [(64, 60)]
    assert images.tensor.shape[-2:] == (64, 64)
    torch.testing.assert_close(
        images.tensor[0, :, :, :60], (item["image"] - model.pixel_mean) / model.pixel_std
    )
    larger = [{**item, "height": 128, "width": 120}]
    (raw,), (scaled,) = model.inference(larger, do_postprocess=False), model.inference(larger)
    assert raw["instances"].image_size == (64, 60)
    assert scaled["instances"].image_size == (128, 120)
    assert torch.equal(raw["logits"], model(larger)[0]["logits"])
    with pytest.raises(ValueError, match="takes no detected_instances"):
        model.inference(larger, [raw["instances"]])


@torch.no_grad()
def test_it_can_be_traced(model: COVIDCTMaskNet) -> None:
    first, second = ([{"image": i["image"]}] for i in make_inputs((64, 64), (64, 64)))
    adapter = TracingAdapter(model, first)
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    (output,), (expected,) = adapter.outputs_schema(traced(second[0]["image"])), model(second)
    assert output.keys() == expected.keys()
    for key in ("logits", "probabilities", "pred_class", "roi_batch"):
        torch.testing.assert_close(output[key], expected[key])
    boxes = output["instances"].pred_boxes.tensor
    torch.testing.assert_close(boxes, expected["instances"].pred_boxes.tensor)
    assert not torch.equal(output["logits"], model(first)[0]["logits"])


def test_training_draws_its_regions_every_vis_period() -> None:
    model = make_model("VIS_PERIOD", 2)
    inputs = make_inputs((64, 96), (64, 96))
    pictures = []
    for iteration in range(3):
        with EventStorage(iteration) as storage:
            model(inputs)
        pictures.append(storage._vis_data)
    assert [len(drawn) for drawn in pictures] == [1, 0, 1]
    name, picture, _ = pictures[0][0]
    assert name == "Ranked regions, true and predicted class"
    assert picture.shape[0] == 3 and picture.dtype == np.uint8
    slice_ = inputs[0]["image"].numpy().astype(np.uint8)
    assert picture.shape == slice_.shape
    assert (picture != slice_).any()  # boxes and text


@pytest.mark.parametrize(
    "sizes",
    [((64, 64),) * 3, ((64, 64), (96, 64), (64, 64)), ((60, 64), (64, 61), (40, 48), (64, 64))],
    ids=["one size", "two sizes", "sizes off the stride"],
)
@torch.no_grad()
def test_rows_do_not_depend_on_the_batch(model: COVIDCTMaskNet, sizes) -> None:
    inputs = make_inputs(*sizes)
    for alone, together in zip((model([x])[0] for x in inputs), model(inputs), strict=True):
        torch.testing.assert_close(alone["roi_batch"], together["roi_batch"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone["logits"], together["logits"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_images_of_one_size_pass_the_backbone_together(model: COVIDCTMaskNet) -> None:
    sizes = []
    hook = model.backbone.register_forward_hook(lambda _, args, out: sizes.append(len(args[0])))
    model(make_inputs(*[(64, 64)] * 4))
    hook.remove()
    assert sizes == [4]


@torch.no_grad()
def test_regions_are_in_pixels_of_the_original_slice(model: COVIDCTMaskNet) -> None:
    (item,) = make_inputs((64, 64))
    (small,), (large,) = model([item]), model([item | {"height": 128, "width": 192}])
    assert large["instances"].image_size == (128, 192)
    torch.testing.assert_close(
        large["instances"].pred_boxes.tensor,
        small["instances"].pred_boxes.tensor * torch.tensor([3.0, 2, 3, 2]),
    )
    assert torch.equal(small["roi_batch"], large["roi_batch"])


@pytest.mark.parametrize("batchnorm", ["affine", "none"])
def test_no_valid_box_still_gives_a_prediction_and_trains(batchnorm: str) -> None:
    model = make_model(
        "MODEL.ROI_BATCH.SCORE_THRESH", 2.0, "MODEL.CLASSIFIER.TRAIN_BATCHNORM", batchnorm
    )
    inputs = make_inputs((64, 64), (64, 64))
    assert train_step(model, inputs).isfinite()
    # distributed training waits for a gradient of each of them
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    for output in model.eval()(inputs):
        assert not output["roi_batch"].any()
        assert output["pred_class"] in range(3)
        assert len(output["instances"]) == N


@pytest.mark.parametrize("key", ["SCORE_ACTIVATION_TEST sigmoid", "CONTENT boxes"])
@torch.no_grad()
def test_rows_follow_the_keys(model: COVIDCTMaskNet, key: str) -> None:
    node = "ROI_BOX_HEAD" if "SCORE" in key else "ROI_BATCH"
    name, value = key.split()
    other = make_model(f"MODEL.{node}.{name}", value).eval()
    inputs = make_inputs((64, 80))
    (before,), (after,) = model(inputs), other(inputs)
    if name == "CONTENT":
        boxes = after["instances"].pred_boxes.tensor / torch.tensor([80.0, 64, 80, 64])
        torch.testing.assert_close(after["roi_batch"][:, 1:], boxes)
    else:
        # the logits are the same, but their sigmoid differs from their softmax
        assert not torch.allclose(before["roi_batch"][:, 0], after["roi_batch"][:, 0])


@torch.no_grad()
def test_two_lesion_classes() -> None:
    model = make_model(leaf="resnet18_t1_both").eval()
    (output,) = model(make_inputs((64, 64)))
    assert set(output["instances"].pred_classes.tolist()) == {0, 1}


# ---- the cached path ----------------------------------------------------------------------------
@torch.no_grad()
def test_given_roi_batches_skip_the_detector(model: COVIDCTMaskNet) -> None:
    seen = model(make_inputs((64, 64), (96, 96)))
    again = model([{"roi_batch": x["roi_batch"]} for x in seen])
    for a, b in zip(seen, again, strict=True):
        torch.testing.assert_close(a["logits"], b["logits"])
        assert "instances" not in b


def test_given_roi_batches_cannot_train_batchnorm() -> None:
    inputs = [{"roi_batch": torch.zeros(N, 5), "label": 0}]
    with pytest.raises(ValueError, match=r"TRAIN_BATCHNORM to none"):
        make_model().train()(inputs)
    with pytest.raises(ValueError, match="Some inputs"):
        make_model().eval()(inputs + make_inputs((64, 64)))


# ---- training -----------------------------------------------------------------------------------
def test_loss_is_binary_cross_entropy_against_one_hot() -> None:
    model = make_model("MODEL.CLASSIFIER.TRAIN_BATCHNORM", "none")
    inputs = make_inputs((64, 64), (64, 64))
    with EventStorage() as storage:
        losses = model.train()(inputs)
        assert 0 <= storage.latest()["classification/train_accuracy"][0] <= 1
    assert list(losses) == ["loss_cls"]
    logits = torch.stack([x["logits"] for x in model.eval()(inputs)])
    probability = logits.sigmoid()
    right = torch.eye(3)[[0, 1]]
    expected = -(right * probability.log() + (1 - right) * (1 - probability).log()).mean()
    torch.testing.assert_close(losses["loss_cls"], expected)


@pytest.mark.parametrize("batchnorm", ["affine", "none"])
def test_only_the_intended_weights_are_trained(batchnorm: str) -> None:
    model = make_model("MODEL.CLASSIFIER.TRAIN_BATCHNORM", batchnorm).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = make_inputs((64, 64), (64, 64))
    train_step(model, inputs)
    norms = {
        f"backbone.{name}.{parameter}"
        for name, module in model.backbone.named_modules()
        for parameter in ("weight", "bias")
        if isinstance(module, _BatchNorm) and "shortcut" not in name
    }
    learning = {name for name in before if name.startswith("classifier.")}
    if batchnorm == "affine":
        learning |= norms
    named = dict(model.named_parameters())
    assert {name for name, p in named.items() if p.requires_grad} == learning
    assert {name for name, p in named.items() if p.grad is not None} == learning
    assert all(named[name].grad.any() for name in learning)
    train_step(model, inputs)
    changed = {name for name, v in model.state_dict().items() if not torch.equal(v, before[name])}
    assert changed == learning  # no running statistic, no shortcut, no other weight


def test_detector_stays_in_test_mode() -> None:
    model = make_model()
    parts = [module for name in DETECTOR for module in getattr(model, name).modules()]
    assert model.training
    assert not any(module.training for module in parts)
    for mode in (True, False, True):
        assert model.train(mode) is model
        assert model.training is model.classifier.training is mode
        assert not any(module.training for module in parts)


def test_gradient_is_that_of_the_whole_detector() -> None:
    """Passing only the kept proposals with gradients gives the gradients of all proposals."""
    model = make_model().train()
    (item,) = inputs = make_inputs((64, 64))
    model(inputs)["loss_cls"].backward()
    actual = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    images = model.preprocess_image([item])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    (outputs,) = box_outputs(model.roi_heads, features, proposals)
    rows = model.roi_batch.rows(outputs, model.roi_batch.rank(outputs))
    classification_loss(model.classifier(rows[None]), torch.tensor([item["label"]])).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(actual[name], parameter.grad, atol=1e-5, rtol=1e-3)


def test_labels_are_checked() -> None:
    model = make_model().train()
    (item,) = make_inputs((64, 64))
    with pytest.raises(ValueError, match="no 'label'"):
        model([{"image": item["image"]}])
    with pytest.raises(ValueError, match=r"\[3\].*NUM_CLASSES is 3"):
        model([item | {"label": 3}])
