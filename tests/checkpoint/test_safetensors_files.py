"""Our safetensors reader returns the same as the library's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ct_lesion.checkpoint import read_checkpoint
from ct_lesion.checkpoint.safetensors_files import read_safetensors
from ct_lesion.errors import CheckpointError


def test_reads_what_the_library_wrote(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {
        "float": torch.randn(3, 4),
        "half": torch.randn(5).half(),
        "bfloat": torch.randn(2, 1, 2).bfloat16(),
        "double": torch.randn(2).double(),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    path = tmp_path / "a.safetensors"
    save_file(weights, path, {"key": "value"})
    tensors, metadata = read_safetensors(path)
    assert metadata == {"key": "value"}
    expected = load_file(path)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert read_safetensors(path, weights=False) == ({}, {"key": "value"})


def test_file_that_is_truncated_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(100_000)}, path)
    empty = torch.empty

    def truncate_and_allocate(*args: object, **options: object) -> torch.Tensor:
        with path.open("rb+") as file:
            file.truncate(1000)
        return empty(*args, **options)

    monkeypatch.setattr(torch, "empty", truncate_and_allocate)
    with pytest.raises(CheckpointError, match="ends too early"):
        read_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.int64])
def test_weights_that_are_not_floats_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"conv.weight": torch.ones(3).to(dtype), "count": torch.tensor(3)}, path)
    with pytest.raises(CheckpointError, match=r"tensor conv\.weight is of .* must be floats"):
        read_checkpoint(path)
