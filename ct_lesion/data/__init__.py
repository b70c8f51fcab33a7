"""Datasets: registration, preparation and loading.

Importing this package registers the shipped datasets with Detectron2.
"""

from .datasets import cncb, covidx_ct

__all__ = ["cncb", "covidx_ct"]
