import threading
from typing import ClassVar

import pytest
import torch
from torch import nn

from ct_lesion.modeling.fast.parallel_slices import ParallelSlices, map_on_cores


class Doubler(nn.Module):
    """Records each call: thread, torch's number of threads, gradient mode, copy of the model."""

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


def test_slices_pass_one_by_one_and_keep_their_order(doubler):
    outputs = ParallelSlices(doubler, 2)(batch(9))
    assert [o["value"].item() for o in outputs] == [2.0 * i for i in range(9)]
    assert not any(o["value"].requires_grad for o in outputs)
    assert len(doubler.calls) == 9
    assert {threads for _, threads, _, _ in doubler.calls} == {1}
    assert id(doubler) not in {model for *_, model in doubler.calls}, "only copies are called"


@pytest.mark.parametrize("slices", [1, 2])
def test_the_number_of_threads_is_restored(doubler, slices):
    before = torch.get_num_threads()
    ParallelSlices(doubler, 2)(batch(slices))
    assert [call[1] for call in doubler.calls] == [1] * slices
    assert torch.get_num_threads() == before
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [before], "the default of new threads is restored"


def test_with_one_core_the_slices_run_in_the_calling_thread(doubler):
    outputs = ParallelSlices(doubler, 1)(batch(3))
    assert [o["value"].item() for o in outputs] == [0.0, 2.0, 4.0]
    assert [call[0] for call in doubler.calls] == [threading.current_thread().name] * 3


def test_copies_share_their_weights(doubler):
    parallel = ParallelSlices(doubler, 2)
    with torch.no_grad():
        doubler.layer.weight.fill_(3.0)
    assert [o["value"].item() for o in parallel(batch(3))] == [0.0, 3.0, 6.0]
    assert [name for name, _ in parallel.named_parameters()] == ["model.layer.weight"]


def test_an_error_in_a_slice_is_raised_and_the_model_stays_usable(doubler):
    parallel = ParallelSlices(doubler, 2)
    with pytest.raises(ValueError, match="a bad slice"):
        parallel([*batch(2), {"image": torch.zeros(1), "bad": True}])
    assert len(parallel(batch(5))) == 5


def test_mapping_keeps_the_order():
    assert map_on_cores(lambda x: x * x, range(5), 2) == [0, 1, 4, 9, 16]
