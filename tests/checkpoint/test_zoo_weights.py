"""Detectron2's ``.pkl``: same arrays as an ordinary unpickler, loaded as Detectron2 does."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone, build_model

from ct_lesion import load_config
from ct_lesion.checkpoint import CheckpointError, LesionCheckpointer, read_checkpoint
from ct_lesion.checkpoint.array_pickle import read_array_pickle

ARRAYS = {
    "conv": np.arange(600, dtype="f4").reshape(2, 3, 100),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "steps": np.arange(6, dtype="i4")[::2],
    "number": np.array(7),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 3), "f4"),
    "half": np.ones(3, "f2"),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("numpy_1", [False, True], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_all_protocols(tmp_path: Path, protocol: int, numpy_1: bool) -> None:
    data = pickle.dumps({"model": ARRAYS, "__author__": "Detectron2 Model Zoo"}, protocol)
    now, other = (b"numpy._core.", b"numpy.core.")
    if numpy_1 and protocol < 4:
        data = data.replace(now, other)
    elif numpy_1:  # names are preceded by their length
        for module in (b"multiarray", b"numeric"):
            length = len(now + module)
            data = data.replace(
                bytes([length]) + now + module, bytes([length - 1]) + other + module
            )
    (tmp_path / "zoo.pkl").write_bytes(data)
    model = read_array_pickle(tmp_path / "zoo.pkl")["model"]
    assert list(model) == list(ARRAYS)
    for name, array in ARRAYS.items():
        expected = torch.from_numpy(np.array(array))
        assert model[name].dtype == expected.dtype
        assert torch.equal(model[name], expected)


def test_array_data_that_python_2_wrote_as_text(tmp_path: Path) -> None:
    minus_one = b"J\xff\xff\xff\xff"
    kind = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN" + 2 * minus_one + b"K\x00tb"
    numbers = np.array([1.5, -2.0], "<f4").tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01K\x02\x85" + kind + b"\x89U\x08" + numbers + b"tb"
    (tmp_path / "old.pkl").write_bytes(b"\x80\x02}U\x01w" + array + state + b"s.")
    assert read_checkpoint(tmp_path / "old.pkl").model["w"].tolist() == [1.5, -2.0]


def backbone_cfg(stride_in_1x1: bool = False) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = stride_in_1x1
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    return cfg


def write_zoo(path: Path, weights: dict[str, torch.Tensor], **extra: object) -> str:
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    path.write_bytes(pickle.dumps({"model": arrays, **extra}, 3))
    return str(path)


def test_imagenet_weights_start_our_resnet50_as_in_detectron2(tmp_path: Path) -> None:
    """Names without the model's prefix, as in Detectron2's torchvision/R-50.pkl."""
    torch.manual_seed(1)
    resnet = build_backbone(backbone_cfg()).bottom_up
    path = write_zoo(
        tmp_path / "R-50.pkl",
        resnet.state_dict(),
        __author__="torchvision",
        matching_heuristics=True,
    )
    model = build_model(load_config("segmentation/resnet50.yaml", ["MODEL.DEVICE", "cpu"]))
    checkpointer = LesionCheckpointer(model)
    checkpointer.load(path)
    ours = {n: t.clone() for n, t in model.state_dict().items()}
    assert torch.equal(ours["backbone.bottom_up.res5.2.conv3.weight"], resnet.res5[2].conv3.weight)
    assert len(checkpointer.last_report.loaded) >= 53 * 5  # convolutions, each with BatchNorm
    DetectionCheckpointer(model).load(path)
    assert all(torch.equal(ours[name], t) for name, t in model.state_dict().items())


def test_another_stride_is_refused_or_causes_a_warning(tmp_path: Path, caplog) -> None:
    weights = build_backbone(backbone_cfg()).bottom_up.state_dict()
    path = write_zoo(
        tmp_path / "R-50.pkl", weights, __author__="torchvision", matching_heuristics=True
    )
    wrapped = torch.nn.ModuleDict({"backbone": build_backbone(backbone_cfg(stride_in_1x1=True))})
    with pytest.raises(CheckpointError, match="STRIDE_IN_1X1 False"):
        LesionCheckpointer(wrapped).load(path)
    caffe2 = {"conv1_w": np.ones((64, 3, 7, 7), "f4"), "conv1_w_momentum": np.ones(1, "f4")}
    (tmp_path / "c2.pkl").write_bytes(pickle.dumps(caffe2, 2))
    wrapped = torch.nn.ModuleDict({"backbone": build_backbone(backbone_cfg())})
    with caplog.at_level(logging.WARNING):
        LesionCheckpointer(wrapped).load(str(tmp_path / "c2.pkl"))
    assert "STRIDE_IN_1X1 True" in caplog.text
    assert (wrapped["backbone"].bottom_up.stem.conv1.weight == 1).all()


def test_a_complete_model_of_the_zoo_keeps_its_names(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    weights = {n: t.clone() + 1 for n, t in model.state_dict().items()}
    checkpointer = LesionCheckpointer(model)
    checkpointer.load(write_zoo(tmp_path / "m.pkl", weights, __author__="Detectron2 Model Zoo"))
    assert all(torch.equal(model.state_dict()[name], t) for name, t in weights.items())
    assert checkpointer.last_report.fresh == []


URL = "https://example.org/zoo/model.pkl"


def test_the_log_names_the_cached_copy_of_downloaded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(2, 1)
    weights = {name: np.full(t.shape, 3, "f4") for name, t in model.state_dict().items()}

    def download(url: str, folder: str, filename: str) -> str:
        assert url == URL
        path = Path(folder, filename)
        path.write_bytes(pickle.dumps({"model": weights, "__author__": "x"}))
        return str(path)

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr("iopath.common.file_io.download", download)
    LesionCheckpointer(model).load(URL)
    assert model.weight.tolist() == [[3, 3]]
    assert f"Weights of {URL} are cached as {tmp_path / 'zoo/model.pkl'}" in caplog.text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"{URL}.other", r"cannot be fetched \(no network\)\. Download it elsewhere"),
        ("nowhere://model.pkl", "is not a known address of weights"),
        ("catalog://nothing", "cannot be fetched .*nothing"),
    ],
)
def test_weights_that_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    def download(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr("iopath.common.file_io.download", download)
    with pytest.raises(CheckpointError, match=message):
        LesionCheckpointer(torch.nn.Linear(2, 1)).load(url)
