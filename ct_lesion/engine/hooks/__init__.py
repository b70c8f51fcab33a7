"""Hooks of the trainer."""

from .best_weights import BestWeights
from .defaults import EpochMetricPrinter, default_hooks
from .unreadable_slices import UnreadableSlices

__all__ = [
    "BestWeights",
    "EpochMetricPrinter",
    "UnreadableSlices",
    "default_hooks",
]
