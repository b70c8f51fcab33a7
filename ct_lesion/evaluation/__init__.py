"""Detectron2 evaluators for segmentation and classification, and the statistics that they use."""

from .classification import ClassificationEvaluator
from .lesion_evaluator import LesionEvaluator

__all__ = ["ClassificationEvaluator", "LesionEvaluator"]
