"""Datasets. Importing this package registers them with Detectron2."""

from .datasets import cncb, covidx_ct

__all__ = ["cncb", "covidx_ct"]
