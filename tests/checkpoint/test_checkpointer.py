"""Saving, resuming and loading; a failure never leaves an incomplete file."""

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from fvcore.common.checkpoint import PeriodicCheckpointer
from safetensors import safe_open
from torch import nn

import ct_lesion
from ct_lesion.checkpoint import (
    CheckpointError,
    LesionCheckpointer,
    read_checkpoint,
    read_description,
    weight_files,
    write_weights,
)
from ct_lesion.checkpoint.resuming import find_complete


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[n]) for n, x in a.state_dict().items())


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_run_resumes_where_it_was_saved(tmp_path: Path) -> None:
    model = small_model()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    described = []

    def description() -> dict[str, str]:
        described.append(1)
        return {"format_version": "1", "metrics": str(len(described))}

    saver = LesionCheckpointer(model, str(tmp_path), description=description, optimizer=optimizer)
    saver.save("model_0000001", iteration=1)
    saver.save("model_0000002", iteration=2)
    assert files(tmp_path) == {"model_0000001.pth", "model_0000002.pth", "last_checkpoint"}
    other = small_model(1)
    other_optimizer = torch.optim.Adam(other.parameters())
    loader = LesionCheckpointer(other, str(tmp_path), optimizer=other_optimizer)
    rest = loader.resume_or_load("", resume=True)
    assert rest == {"iteration": 2}
    assert same_weights(other, model)
    assert other_optimizer.state_dict()["state"][0]["step"] == 1
    assert loader.last_description == {"format_version": "1", "metrics": "2"}
    assert loader.last_report.fresh == loader.last_report.unexpected == []


def test_works_with_the_periodic_checkpointer(tmp_path: Path) -> None:
    periodic = PeriodicCheckpointer(
        LesionCheckpointer(small_model(), str(tmp_path)), period=2, max_iter=7, max_to_keep=2
    )
    for iteration in range(7):
        periodic.step(iteration)
    kept = {"model_0000003.pth", "model_0000005.pth", "model_final.pth", "last_checkpoint"}
    assert files(tmp_path) == kept
    assert LesionCheckpointer(small_model(), str(tmp_path)).resume_or_load("")["iteration"] == 6


def test_weights_alone_do_not_become_the_last_checkpoint(tmp_path: Path) -> None:
    model = small_model()
    checkpointer = LesionCheckpointer(
        model, str(tmp_path), description={"format_version": "1", "metrics": "{}"}
    )
    checkpointer.save("model_0000001")
    path = checkpointer.save_weights("model_best")
    assert path == tmp_path / "model_best.safetensors"
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert read_description(path)["metrics"] == "{}"
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(model.state_dict())
    other = small_model(1)
    LesionCheckpointer(other).load(str(path))
    assert same_weights(other, model)


def test_parameters_that_share_memory_are_saved(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    path = LesionCheckpointer(model, str(tmp_path)).save_weights("tied")
    assert set(read_checkpoint(path).model) == {"a.weight", "a.bias", "b.weight", "b.bias"}


def half_written(content: object, path: Path, *_: object, **__: object) -> None:
    Path(path).write_bytes(b"half")
    raise OSError("[Errno 28] No space left on device")


def interrupted(content: object, path: Path, *_: object, **__: object) -> None:
    Path(path).write_bytes(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("failure", "error"), [(half_written, CheckpointError), (interrupted, KeyboardInterrupt)]
)
@pytest.mark.parametrize("kind", ["save", "save_weights"])
def test_failed_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: object, error: type, kind: str
) -> None:
    checkpointer = LesionCheckpointer(small_model(), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    checkpointer.save_weights("model_best")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(torch, "save", failure)
    monkeypatch.setattr(weight_files, "save_file", failure)
    checkpointer.model = small_model(1)
    for name in ("model_0000001", "model_best", "model_0000002"):
        with pytest.raises(error) as raised:
            getattr(checkpointer, kind)(name)
        if error is CheckpointError:
            assert "No space left" in str(raised.value)
            assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_partial_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    checkpointer = LesionCheckpointer(small_model(), str(tmp_path))
    (tmp_path / ".partial-0-model_0000001.pth").write_bytes(b"half")
    assert not checkpointer.has_checkpoint()
    checkpointer.begin_new_run()
    checkpointer.save("model_0000001")
    assert files(tmp_path) == {"model_0000001.pth", "last_checkpoint"}


def test_content_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    checkpointer = LesionCheckpointer(small_model(), str(tmp_path))
    with pytest.raises(CheckpointError, match=r"pathlib\.\S*Path"):
        checkpointer.save("model_0000001", folder=Path("x"))
    assert files(tmp_path) == set()


INFINITE_STATE = {"optimizer": {"state": {0: {"exp_avg_sq": torch.tensor([1.0, torch.inf])}}}}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"model": {}}, "it holds no weights"),
        ({"model": {"a": 1.0}}, "its entry a is not a tensor"),
        ({"model": {"a": torch.ones(1)}, "iteration": True}, "iteration is not a whole number"),
        ({"model": {"a": torch.ones(1)}, "iteration": 1.0}, "iteration is not a whole number"),
        (
            {"model": {"a": torch.ones(1)}, "ct_lesion": {"a": 1}},
            "description has values that are not text",
        ),
        ({"model_weights": {"a": torch.ones(1)}, "model": {}}, "published implementation"),
        ({"model": {"a": torch.ones(1)}, "b": {2**61: 1}}, "int"),
        ({"model": {"a": torch.tensor([torch.nan])}}, r"model\.a \(1 of 1 values\)"),
        (
            {"model": {"a": torch.ones(1)}, "trainer": {"_trainer": INFINITE_STATE}},
            r"trainer\._trainer\.optimizer\.state\.0\.exp_avg_sq \(1 of 2 values\)",
        ),
    ],
)
def test_content_that_a_resumed_run_would_refuse_is_not_written(
    tmp_path: Path, content: dict, why: str
) -> None:
    path = tmp_path / "model_0000001.pth"
    with pytest.raises(CheckpointError, match=why) as refusal:
        weight_files.write_torch(path, content)
    assert "\n" not in str(refusal.value)
    assert files(tmp_path) == set()
    torch.save(content, path)  # the reader agrees
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* can be resumed from"):
        find_complete(tmp_path)


def test_a_checkpoint_with_infinite_optimizer_state_is_skipped(tmp_path: Path) -> None:
    """An infinite ``exp_avg_sq`` of Adam makes every later update of its weight zero."""
    model = {"a": torch.ones(1)}
    weight_files.write_torch(tmp_path / "model_0000001.pth", {"model": model})
    torch.save({"model": model, **INFINITE_STATE}, tmp_path / "model_0000003.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth")
    assert find_complete(tmp_path) == tmp_path / "model_0000001.pth"


def test_another_process_writes_nothing(tmp_path: Path) -> None:
    checkpointer = LesionCheckpointer(small_model(), str(tmp_path), save_to_disk=False)
    checkpointer.save("model")
    assert checkpointer.save_weights("model") is None
    assert files(tmp_path) == set()


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
def test_wrapped_model_is_saved_and_loaded_without_ddp_prefix(tmp_path: Path) -> None:
    model = nn.parallel.DistributedDataParallel(small_model())
    path = LesionCheckpointer(model, str(tmp_path)).save_weights("wrapped")
    other = nn.parallel.DistributedDataParallel(small_model(1))
    LesionCheckpointer(other).load(str(path))
    assert same_weights(other.module, model.module)
    torch.save(model.state_dict(), tmp_path / "prefixed.pth")
    LesionCheckpointer(small_model(1)).load(str(tmp_path / "prefixed.pth"))


# ---- loading ------------------------------------------------------------------------------------
def test_the_report_lists_dropped_and_newly_initialised_tensors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = ["MODEL.DEVICE", "cpu"]
    segmenter = build_model(ct_lesion.load_config("segmentation/resnet18_t2.yaml", overrides))
    path = LesionCheckpointer(segmenter, str(tmp_path)).save_weights("segmenter")
    classifier = build_model(ct_lesion.load_config("classification/resnet18_t2.yaml", overrides))
    checkpointer = LesionCheckpointer(classifier)
    with caplog.at_level(logging.INFO):
        checkpointer.load(str(path))
    report = checkpointer.last_report
    assert report.path == str(path)
    assert {name.split(".")[0] for name in report.missing} == {"classifier"}
    assert "newly initialised (not in the checkpoint): classifier (6 tensors)" in caplog.text
    assert "dropped (not in the model): roi_heads.mask_head (6 tensors)" in caplog.text
    assert len(report.summary().splitlines()) == 3
    two = build_model(
        ct_lesion.load_config(
            "segmentation/resnet18_t2.yaml", [*overrides, "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
        )
    )
    checkpointer = LesionCheckpointer(two)
    checkpointer.load(str(path))
    names = [name for name, _, _ in checkpointer.last_report.wrong_shape]
    assert "roi_heads.box_predictor.cls_score.weight" in names
    assert not checkpointer.last_report.missing
    assert "cls_score.weight 2x128, here 3x128" in checkpointer.last_report.summary()


def test_nothing_to_load(tmp_path: Path) -> None:
    checkpointer = LesionCheckpointer(small_model(), str(tmp_path))
    assert checkpointer.resume_or_load("", resume=True) == {}
    assert checkpointer.last_report is None


@pytest.mark.parametrize("name", ["model.pickle", "MODEL.PICKLE", "model.pyth", "https://x/y.pyth"])
def test_pickles_are_refused_with_advice_how_to_convert_them(tmp_path: Path, name: str) -> None:
    path = name if "://" in name else str(tmp_path / name)
    if "://" not in name:
        Path(path).write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(CheckpointError, match=r"pickle.*Convert it"):
        LesionCheckpointer(small_model()).load(path)


def test_unusable_files_are_refused_and_the_next_load_works(tmp_path: Path) -> None:
    model = small_model()
    checkpointer = LesionCheckpointer(model, str(tmp_path))
    good = checkpointer.save_weights("good")
    nan = {n: t * float("nan") for n, t in model.state_dict().items() if t.is_floating_point()}
    torch.save(nan, tmp_path / "nan.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": {"a": "b"}}, tmp_path / "text.pth")
    torch.save({"model": {}}, tmp_path / "empty.pth")
    torch.save({"other.weight": torch.ones(1)}, tmp_path / "other.pth")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-7])
    (tmp_path / "zero.safetensors").write_bytes(b"")
    messages = {
        "nan.pth": "NaN",
        "list.pth": "a list, not a dict",
        "text.pth": "entry a is not a tensor",
        "empty.pth": "holds no weights",
        "other.pth": "none of its 1 tensors",
        "cut.safetensors": "truncated",
        "zero.safetensors": "truncated",
        "missing.pth": "does not exist",
    }
    for name, message in messages.items():
        with pytest.raises(CheckpointError, match=message) as raised:
            checkpointer.load(str(tmp_path / name))
        assert name in str(raised.value)
        assert "\n" not in str(raised.value)
    checkpointer.load(str(good))


def test_a_missing_last_checkpoint_is_named(tmp_path: Path) -> None:
    checkpointer = LesionCheckpointer(small_model(), str(tmp_path))
    checkpointer.save("model_0000001")
    (tmp_path / "model_0000001.pth").unlink()
    with pytest.raises(CheckpointError, match=r"model_0000001\.pth does not exist"):
        checkpointer.resume_or_load("", resume=True)


def test_weights_have_the_permissions_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_weights(tmp_path / "weights.safetensors", {"a": torch.ones(2)}, {})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
