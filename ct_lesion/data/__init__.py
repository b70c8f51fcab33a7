"""Datasets. Importing this package registers them with Detectron2."""

from . import cncb, covidx_ct

__all__ = ["cncb", "covidx_ct"]
