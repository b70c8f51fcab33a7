"""Hostile and damaged files are refused in one line, and no code in them runs."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_files import write_released
from torch_zips import with_two_directories

from ct_lesion.checkpoint import CheckpointError, read_checkpoint, read_released
from ct_lesion.checkpoint.restricted_pickle import PickleStream, Unpickler, UnsafeError
from ct_lesion.checkpoint.torch_files import read_torch_file

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3)}
formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


class Call:
    """Pickles as a function call that an ordinary unpickler executes."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple:
        return self.call


def attacks(victim: Path) -> dict[str, object]:
    """Objects that create ``victim`` when they are unpickled by an ordinary unpickler."""
    shell = Call(os.system, f"touch {victim}")
    return {
        "system": shell,
        "eval": Call(eval, f"open({str(victim)!r}, 'w')"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "nested": [({"a": OrderedDict(b=[shell])},)],
        "state": Call(OrderedDict, state=({"c": shell}, {"d": shell})),
        "argument": Call(OrderedDict, [("key", shell)]),
        "bytes": Call(torch.storage._load_from_bytes, pickle.dumps(shell)),
    }


ATTACKS = list(attacks(Path("x")))


def assert_harmless(path: Path, victim: Path) -> None:
    for read in (read_released, read_checkpoint):
        with pytest.raises(CheckpointError, match=r"names|calls") as raised:
            read(path)
        assert "\n" not in str(raised.value)
        assert str(path) in str(raised.value)
    assert not victim.exists()


@formats
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("slot", ["epoch", "anchor_generator", "inside", "model_weights"])
def test_call_in_a_pickle_is_refused(tmp_path: Path, attack: str, slot: str, legacy: bool) -> None:
    victim, path = tmp_path / "victim", tmp_path / "released.pth"
    payload = attacks(victim)[attack]
    if slot == "inside":
        write_released(path, WEIGHTS, legacy=legacy, inside_anchors=payload)
    elif slot == "model_weights":
        write_released(path, {"w": payload}, legacy=legacy)
    else:
        write_released(path, WEIGHTS, legacy=legacy, **{slot: payload})
    assert_harmless(path, victim)


def write_zip(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", "3")
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02(S'touch %s'\nios\nsystem\n.",
        b"\x80\x02(cos\nsystem\nS'touch %s'\no.",
        b"\x80\x02cos\nsystem\nX\x05\x00\x00\x00touch\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x05touch\x85R.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ccollections\nOrderedDict.update\n.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_hand_written_pickle_is_refused(tmp_path: Path, data: bytes) -> None:
    victim = tmp_path / "victim"
    path = write_zip(tmp_path / "released.pth", data.replace(b"%s", str(victim).encode()))
    with pytest.raises(CheckpointError, match=r"names|operation"):
        read_released(path)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not victim.exists()


def test_class_with_the_name_of_the_foreign_one_is_never_imported(tmp_path: Path) -> None:
    module = tmp_path / "evil_module.py"
    module.write_text(f"open({str(tmp_path / 'victim')!r}, 'w'); AnchorGenerator = eval")
    data = b"\x80\x02cevil_module\nAnchorGenerator\nX\x03\x00\x00\x001/0\x85R."
    content = Unpickler(PickleStream(data), 100, foreign_class="AnchorGenerator").load()
    assert content.attributes == {}
    assert not (tmp_path / "victim").exists()


@formats
def test_good_file_is_read_with_its_anchors_and_without_its_class(
    tmp_path: Path, legacy: bool
) -> None:
    weights = WEIGHTS | {
        "t": torch.arange(12.0).reshape(3, 4).T,
        "half": torch.tensor([1.5, -2.0]).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "part": torch.arange(10.0)[3:5],
    }
    released = read_released(write_released(tmp_path / "r.pth", weights, legacy=legacy))
    assert list(released.weights) == list(weights)
    for name, tensor in weights.items():
        assert released.weights[name].dtype == tensor.dtype
        assert torch.equal(released.weights[name], tensor)
    assert released.anchor_sizes == (2, 4, 8, 16, 32)
    assert released.anchor_ratios == (0.1, 0.25, 0.5, 1, 1.5, 2)
    assert (released.epoch, released.model_name) == ("3", "lightweight")


@formats
def test_truncated_file_is_refused(tmp_path: Path, legacy: bool) -> None:
    whole = write_released(tmp_path / "whole.pth", WEIGHTS, legacy=legacy).read_bytes()
    path = tmp_path / "truncated.pth"
    # the last bytes of the legacy format belong to tensors that are not read
    for length in range(0, int(0.9 * len(whole)), len(whole) // 23):
        path.write_bytes(whole[:length])
        for read in (read_released, read_checkpoint):
            with pytest.raises(CheckpointError, match=r"truncated|damaged") as raised:
                read(path)
            assert "\n" not in str(raised.value)


@formats
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flipped_bytes_cause_at_most_an_error(
    tmp_path_factory: pytest.TempPathFactory, legacy: bool, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "r.pth"
    content = bytearray(write_released(path, WEIGHTS, legacy=legacy).read_bytes())
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read_released(path)
    except CheckpointError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a PyTorch"), (b"<html>404</html>", "not a PyTorch"), (b"\x00" * 99, "not a PyT")],
)
def test_not_a_checkpoint(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_released(path)
    with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
        read_checkpoint(path)


def test_other_zip_and_other_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "r.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/b.txt", "c")
    with pytest.raises(CheckpointError, match=r"not of torch\.save"):
        read_released(path)
    torch.save({"model": WEIGHTS}, path)
    with pytest.raises(CheckpointError, match="need no conversion"):
        read_released(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_released(tmp_path / "nothing.pth")


def test_small_file_cannot_ask_for_a_large_tensor(tmp_path: Path) -> None:
    path = tmp_path / "r.pth"
    torch.save({"model_weights": {"w": torch.ones(1).expand(10**6, 10**6)}}, path)
    with pytest.raises(CheckpointError, match="larger than its storage"):
        read_released(path)


def test_compressed_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 10**6 + b"N.")
    with pytest.raises(CheckpointError, match="compressed"):
        read_released(path)


def test_deeply_nested_key_is_never_hashed() -> None:
    nested = b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s."
    assert Unpickler(PickleStream(nested), 100, foreign_class="Any").load() == {}
    with pytest.raises(UnsafeError, match="key that is a tuple"):
        Unpickler(PickleStream(nested), 100).load()


def test_only_checked_records_are_read_from_a_file_with_two_directories(tmp_path: Path) -> None:
    path = tmp_path / "two.pth"
    path.write_bytes(with_two_directories())
    assert "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records()
    with zipfile.ZipFile(path) as archive:
        assert "archive/constants.pkl" not in archive.namelist()
    assert read_torch_file(path) == {}
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_checkpoint(path)


def test_one_list_cannot_become_many_dicts() -> None:
    """A megabyte of references to one long list would fill any memory."""
    pairs = b"(" + b"K\x01K\x01\x86" * 1000 + b"t"  # 1,000 pairs
    call = b"ccollections\nOrderedDict\nh\x00\x85R"
    data = b"\x80\x02" + pairs + b"q\x00" + b"(" + call * 3000 + b"t."
    with pytest.raises(ValueError, match="too many items"):
        Unpickler(PickleStream(data), len(data)).load()


def test_integers_with_equal_hashes_are_refused_as_keys() -> None:
    same = pickle.dumps({n * (2**61 - 1): 0 for n in range(1, 9)}, protocol=2)
    with pytest.raises(UnsafeError, match="key"):
        Unpickler(PickleStream(same), len(same)).load()


@formats
def test_storages_beyond_their_records_are_refused(tmp_path: Path, legacy: bool) -> None:
    """The pickle declares 78 numbers, but only 77 follow."""
    path = tmp_path / "r.pth"
    torch.save({"w": torch.ones(77)[:3]}, path, _use_new_zipfile_serialization=not legacy)
    claim, false_claim = b"K" + bytes([77]), b"K" + bytes([78])
    if legacy:
        data = path.read_bytes()
        assert claim in data
        path.write_bytes(data.replace(claim, false_claim))
    else:
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        assert any(claim in content for content in records.values())
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in records.items():
                archive.writestr(name, content.replace(claim, false_claim))
    with pytest.raises(CheckpointError, match=r"ends too early|another length"):
        read_checkpoint(path)


@formats
def test_meta_device_reads_names_and_shapes_only(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "r.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=not legacy)
    (weight,) = read_torch_file(path, device="meta").values()
    assert weight.is_meta
    assert weight.shape == (2, 3)
