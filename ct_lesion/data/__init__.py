"""Datasets. Importing this package registers them with Detectron2."""

from . import cncb

__all__ = ["cncb"]
