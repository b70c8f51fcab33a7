"""Evaluators for Detectron2 and the metrics behind them."""

from .classification import ClassificationEvaluator

__all__ = ["ClassificationEvaluator"]
