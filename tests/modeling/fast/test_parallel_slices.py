import threading
from typing import ClassVar

import pytest
import torch
from torch import nn

from ct_lesion.modeling.fast.parallel_slices import ParallelSlices, map_on_cores


class Doubler(nn.Module):
    """Knows on which threads, with how many of torch's, and with which copy it was called."""

    calls: ClassVar[list[tuple[str, int, bool, int]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, 2.0)

    def forward(self, batch):
        thread = threading.current_thread().name
        self.calls.append((thread, torch.get_num_threads(), torch.is_grad_enabled(), id(self)))
        if any("bad" in item for item in batch):
            raise ValueError("a bad slice")
        return [{"value": self.layer(item["image"])} for item in batch]


@pytest.fixture
def doubler(monkeypatch):
    monkeypatch.setattr(Doubler, "calls", [])
    return Doubler()


def batch(count: int) -> list[dict]:
    return [{"image": torch.tensor([float(i)])} for i in range(count)]


def test_a_batch_passes_slice_by_slice_in_order(doubler):
    outputs = ParallelSlices(doubler, 2)(batch(9))
    assert [o["value"].item() for o in outputs] == [2.0 * i for i in range(9)]
    assert not any(o["value"].requires_grad for o in outputs)
    assert len(doubler.calls) == 9
    assert {threads for _, threads, _, _ in doubler.calls} == {1}, "one of torch's threads each"
    assert id(doubler) not in {model for *_, model in doubler.calls}, "a copy each"


@pytest.mark.parametrize("slices", [1, 2])
def test_threads_are_as_before(doubler, slices):
    before = torch.get_num_threads()
    ParallelSlices(doubler, 2)(batch(slices))
    assert [call[1] for call in doubler.calls] == [1] * slices
    assert torch.get_num_threads() == before
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [before], "new threads start as before"


def test_a_process_with_one_core_does_the_same_in_its_own_thread(doubler):
    outputs = ParallelSlices(doubler, 1)(batch(3))
    assert [o["value"].item() for o in outputs] == [0.0, 2.0, 4.0]
    assert [call[0] for call in doubler.calls] == [threading.current_thread().name] * 3


def test_copies_share_their_weights(doubler):
    parallel = ParallelSlices(doubler, 2)
    with torch.no_grad():
        doubler.layer.weight.fill_(3.0)
    assert [o["value"].item() for o in parallel(batch(3))] == [0.0, 3.0, 6.0]
    assert [name for name, _ in parallel.named_parameters()] == ["model.layer.weight"]


def test_a_fault_in_a_slice_is_raised_and_the_model_goes_on(doubler):
    parallel = ParallelSlices(doubler, 2)
    with pytest.raises(ValueError, match="a bad slice"):
        parallel([*batch(2), {"image": torch.zeros(1), "bad": True}])
    assert len(parallel(batch(5))) == 5


def test_mapping_keeps_the_order():
    assert map_on_cores(lambda x: x * x, range(5), 2) == [0, 1, 4, 9, 16]
