"""Hostile and damaged run folders, read by ``--resume``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from cases import LOADED, Case
from checkpoint_cases import model_state, torch_bytes, touching


def _run(**files: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        for name, content in {"last_checkpoint": b"model.pth", **files}.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        return folder

    return build


def _optimizer(change: Callable[[dict], object]) -> bytes:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    change(state)
    return torch_bytes({"model": model.state_dict(), "optimizer": state, "iteration": 5})


CASES = [
    Case("no such file", "resume", _run(), "does not exist"),
    Case("last_checkpoint leads out", "resume", _run(last_checkpoint=b"../../etc/passwd"), "name"),
    Case("last_checkpoint absolute", "resume", _run(last_checkpoint=b"/etc/passwd"), "name"),
    Case("last_checkpoint of junk", "resume", _run(last_checkpoint=bytes(range(256))), "cannot be"),
    Case("last_checkpoint empty", "resume", _run(last_checkpoint=b""), LOADED),
    Case(
        "last_checkpoint names a pickle",
        "resume",
        _run(last_checkpoint=b"a.pyth", a__pyth=pickle.dumps(touching()[0])),
        "Convert",
    ),
    *(
        Case(f"optimizer {name}", "resume", _run(model__pth=_optimizer(change)), "optimizer")
        for name, change in {
            "without groups": lambda s: s.pop("param_groups"),
            "of text": lambda s: (s.clear(), s.update(a="b")),
            "of other shapes": lambda s: s["state"][0].update(exp_avg=torch.ones(9, 9)),
            "of NaN": lambda s: s["state"][0]["exp_avg"].fill_(torch.nan),
            "with a rate of text": lambda s: s["param_groups"][0].update(lr="fast"),
            "with a rate of NaN": lambda s: s["param_groups"][0].update(lr=float("nan")),
            "of more groups": lambda s: s["param_groups"].append(s["param_groups"][0]),
            "of other parameters": lambda s: s["param_groups"][0].update(params=[0]),
        }.items()
    ),
    Case(
        "optimizer that calls",
        "resume",
        _run(model__pth=torch_bytes(model_state(optimizer=touching()[0]))),
        "names",
    ),
    Case(
        "iteration of text",
        "resume",
        _run(model__pth=torch_bytes(model_state(iteration="x"))),
        "iteration",
    ),
    Case(
        "iteration of 5,000 digits",
        "resume",
        _run(model__pth=torch_bytes(model_state(iteration=-(10**5000)))),
        "iteration",
    ),
    Case(
        "iteration below 0",
        "resume",
        _run(model__pth=torch_bytes(model_state(iteration=-9))),
        "iteration",
    ),
]
