"""The fine-tuning config trains from the shipped weights."""

from pathlib import Path

import torch

from ct_lesion import load_config
from ct_lesion.checkpoint import DEFAULT_MODEL, read_checkpoint
from ct_lesion.checkpoint.shipped import list_shipped
from ct_lesion.engine.trainer import LesionTrainer

SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "INPUT.MIN_SIZE_TRAIN": [64],
    "DATALOADER.NUM_WORKERS": 0,
    "DATASETS.TEST": (),
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.WARMUP_ITERS": 0,
}


def test_two_iterations_from_the_shipped_weights(datasets: Path, tmp_path: Path) -> None:
    values = {**SMALL, "OUTPUT_DIR": str(tmp_path / "run")}
    cfg = load_config("finetune.yaml", [item for pair in values.items() for item in pair])
    assert cfg.MODEL.WEIGHTS == DEFAULT_MODEL
    (shipped,) = (m["path"] for m in list_shipped() if DEFAULT_MODEL.endswith(m["path"].stem))
    start = read_checkpoint(shipped).model
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=False)
    loaded = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    assert loaded.keys() == start.keys()
    assert all(
        torch.equal(loaded[name], tensor.float())
        for name, tensor in start.items()
        if tensor.is_floating_point()
    )
    trainer.train()
    tuned = read_checkpoint(tmp_path / "run/model_final.safetensors").model
    trained = [name for name, _ in trainer.model.named_parameters()]
    assert sum(not torch.equal(tuned[name], loaded[name]) for name in trained) > len(trained) / 2
