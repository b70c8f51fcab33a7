"""ImageNet weights: same outputs as torchvision, checks of depth and file hash."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_resnet_backbone
from released_files import random_resnet
from torch import nn

import ct_lesion
from ct_lesion.checkpoint import (
    CheckpointError,
    LesionCheckpointer,
    torchvision_resnet,
)


def save_resnet(path: Path, depth: int) -> Path:
    torch.save(random_resnet(depth).state_dict(), path)
    return path


def detector(leaf: str, *overrides: str) -> nn.Module:
    cfg = ct_lesion.load_config(f"segmentation/{leaf}.yaml", ["MODEL.DEVICE", "cpu", *overrides])
    return build_model(cfg).eval()


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_every_stage_equals_torchvisions(tmp_path: Path, depth: int) -> None:
    cfg = ct_lesion.load_config(f"segmentation/resnet{depth}.yaml")
    cfg.MODEL.RESNETS.OUT_FEATURES = ["stem", "res2", "res3", "res4", "res5"]
    model = nn.Module()
    model.backbone = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    checkpointer = LesionCheckpointer(model.eval())
    checkpointer.load(str(save_resnet(tmp_path / "imagenet.pth", depth)))
    assert checkpointer.last_report.fresh == []
    assert checkpointer.last_report.unexpected == ["fc.weight", "fc.bias"]
    theirs = random_resnet(depth)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        ours = model.backbone(image)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        torch.testing.assert_close(ours["stem"], x, rtol=1e-5, atol=1e-5)
        for i in range(1, 5):
            x = getattr(theirs, f"layer{i}")(x)
            torch.testing.assert_close(ours[f"res{i + 1}"], x, rtol=1e-5, atol=1e-5)


def test_truncated_backbone_drops_the_last_layers(tmp_path: Path) -> None:
    model = detector("resnet18_t2")
    checkpointer = LesionCheckpointer(model)
    checkpointer.load(str(save_resnet(tmp_path / "imagenet.pth", 18)))
    summary = checkpointer.last_report.summary()
    assert "backbone.bottom_up.res4 (" in summary
    assert "backbone.bottom_up.res5 (" in summary
    assert "fc (2 tensors)" in summary
    assert not [n for n in checkpointer.last_report.fresh if "bottom_up" in n]
    assert torch.equal(
        model.backbone.bottom_up.res3[1].conv2.weight,
        random_resnet(18).layer2[1].conv2.weight,
    )


@pytest.mark.parametrize(
    ("leaf", "depth"),
    [("resnet18", 34), ("resnet34", 18), ("resnet18_t2", 34), ("resnet34_t2", 18)]
    + [("resnet34", 50)],
)
def test_wrong_depth_is_refused(tmp_path: Path, leaf: str, depth: int) -> None:
    model = detector(leaf)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    own = int(leaf[6:8])
    with pytest.raises(CheckpointError, match=f"ResNet{depth}.*backbone is a ResNet{own}"):
        LesionCheckpointer(model).load(str(save_resnet(tmp_path / "imagenet.pth", depth)))
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_stride_in_1x1_is_refused(tmp_path: Path) -> None:
    model = detector("resnet50", "MODEL.RESNETS.STRIDE_IN_1X1", "True")
    with pytest.raises(CheckpointError, match="STRIDE_IN_1X1"):
        LesionCheckpointer(model).load(str(save_resnet(tmp_path / "imagenet.pth", 50)))


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ResNet18 in PyTorch's cache, named like torchvision's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    file = save_resnet(folder / "file.pth", 18)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    path = file.rename(folder / f"resnet18-{digest}.pth")
    weights = SimpleNamespace(url=f"https://example.invalid/models/{path.name}")
    monkeypatch.setitem(torchvision_resnet.WEIGHTS, "resnet18", weights)
    return path


def test_cached_file_is_used(cached: Path) -> None:
    checkpointer = LesionCheckpointer(detector("resnet18_t1"))
    checkpointer.load("torchvision://resnet18")
    assert checkpointer.last_report.path == str(cached)


def test_damaged_cached_file_is_refused(cached: Path) -> None:
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="damaged: its SHA-256"):
        torchvision_resnet.fetch_torchvision("torchvision://resnet18")


def test_download_is_checked_too(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.unlink()
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, path: Path(path).write_bytes(b"other")
    )
    with pytest.raises(CheckpointError, match="damaged"):
        torchvision_resnet.fetch_torchvision("torchvision://resnet18")


def test_without_network_the_message_has_url_and_path(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached.unlink()

    def no_network(url: str, path: str) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(CheckpointError, match="download it elsewhere") as raised:
        LesionCheckpointer(detector("resnet18_t2")).load("torchvision://resnet18")
    assert str(cached) in str(raised.value)
    assert "https://example.invalid" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_message_about_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="torchvision://resnet34"):
        torchvision_resnet.fetch_torchvision("torchvision://resnet19")
    for name, weights in torchvision_resnet.WEIGHTS.items():
        assert weights.url.startswith(f"https://download.pytorch.org/models/{name}-")
