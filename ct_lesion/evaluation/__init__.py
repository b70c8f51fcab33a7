"""Detectron2 evaluators for lesions and classes, and the statistics behind them."""

from .classification import ClassificationEvaluator
from .lesion_evaluator import LesionEvaluator

__all__ = ["ClassificationEvaluator", "LesionEvaluator"]
