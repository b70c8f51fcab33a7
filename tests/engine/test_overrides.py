"""Subclasses may override each method that Detectron2 documents for its ``DefaultTrainer``."""

import json

import torch
from detectron2.data import build_detection_train_loader
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver import build_lr_scheduler
from detectron2.utils.events import EventWriter, get_event_storage

from ct_lesion.engine.trainer import LesionTrainer


class Counts(HookBase):
    steps = 0

    def after_step(self) -> None:
        self.steps += 1


class Lines(EventWriter):
    """Keeps the losses that it writes."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.closed = False

    def write(self) -> None:
        self.losses.append(get_event_storage().latest()["total_loss"][0])

    def close(self) -> None:
        self.closed = True


class CountSlices(DatasetEvaluator):
    def reset(self) -> None:
        self.slices = 0

    def process(self, inputs: list[dict], outputs: list) -> None:
        self.slices += len(inputs)

    def evaluate(self) -> dict:
        return {"segm": {"AP": float(self.slices)}}


class Subclass(LesionTrainer):
    """Overrides all documented methods and records the calls."""

    called: set[str]

    @classmethod
    def build_model(cls, cfg):
        cls.called.add("build_model")
        return super().build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg, model):
        return torch.optim.SGD(model.parameters(), lr=0.25)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        cls.called.add("build_lr_scheduler")
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_mapper(cls, cfg, is_train):
        cls.called.add(f"build_mapper {is_train}")
        return super().build_mapper(cfg, is_train)

    @classmethod
    def build_train_loader(cls, cfg):
        cls.called.add("build_train_loader")
        return super().build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        cls.called.add(f"build_test_loader {dataset_name}")
        return super().build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return CountSlices()

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        cls.called.add("test")
        return super().test(cfg, model, evaluators)

    def build_hooks(self):
        self.counts = Counts()
        return [*super().build_hooks(), self.counts]

    def build_writers(self):
        self.lines = Lines()
        return [*super().build_writers(), self.lines]


def test_every_documented_override(toy_cfg, tmp_path) -> None:
    Subclass.called = set()
    trainer = Subclass(toy_cfg(**{"SOLVER.MAX_ITER": 2, "SOLVER.WARMUP_ITERS": 0}))
    trainer.resume_or_load(resume=False)
    slices = 6  # of the toy test set
    assert trainer.train() == {"segm": {"AP": slices}}
    assert Subclass.called == {
        *("build_model", "build_lr_scheduler", "build_train_loader", "test"),
        *("build_mapper True", "build_mapper False", "build_test_loader cncb_lesion_test"),
    }
    assert type(trainer.optimizer) is torch.optim.SGD
    assert trainer.counts.steps == 2
    assert trainer.lines.closed
    assert trainer.lines.losses
    lines = (tmp_path / "run" / "metrics.json").read_text().splitlines()
    assert json.loads(lines[-1])["segm/AP"] == slices  # Detectron2's writers still write


class ForeignLoader(LesionTrainer):
    @classmethod
    def build_train_loader(cls, cfg):
        mapper = cls.build_mapper(cfg, is_train=True)
        return build_detection_train_loader(cfg, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return None


def test_a_foreign_loader_trains_and_the_log_names_its_limits(toy_cfg, caplog) -> None:
    for iterations, resume in ((1, False), (2, True)):
        trainer = ForeignLoader(toy_cfg(**{"SOLVER.MAX_ITER": iterations, "TEST.EVAL_PERIOD": 0}))
        trainer.resume_or_load(resume=resume)
        assert trainer.start_iter == iterations - 1
        assert trainer.train() == {}
    assert "A resumed run restarts it, so slices may repeat" in caplog.text
    assert trainer.iterations_per_epoch == 2  # four slices with lesions in batches of two
