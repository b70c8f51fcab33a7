"""Hooks of the trainer."""

from .best_weights import BestWeights
from .defaults import EpochMetricPrinter, default_hooks
from .early_stopping import EarlyStopping, StopTraining
from .unreadable_slices import UnreadableSlices
from .validation_loss import ValidationLoss

__all__ = [
    "BestWeights",
    "EarlyStopping",
    "EpochMetricPrinter",
    "StopTraining",
    "UnreadableSlices",
    "ValidationLoss",
    "default_hooks",
]
