"""Training and evaluation: the trainer, its hooks, processes and records."""

from .trainer import LesionTrainer

__all__ = ["LesionTrainer"]
