"""Checkpoints: reading torchvision's and the published weights, safe loading, self-description."""

from ct_lesion.errors import CheckpointError

from .checkpointer import LesionCheckpointer
from .compatibility import check_compatible, check_size, require_detector
from .description import config_from_description, describe, description_value, library_versions
from .load_report import LoadReport
from .released import convert_released, read_released
from .resuming import changed_keys, check_optimizer, with_hyperparameters_of
from .shipped import DEFAULT_MODEL, AboutModel, list_shipped, locate_shipped, shipped_models
from .weight_files import (
    Checkpoint,
    read_checkpoint,
    read_description,
    update_description,
    write_weights,
)

__all__ = [
    "DEFAULT_MODEL",
    "AboutModel",
    "Checkpoint",
    "CheckpointError",
    "LesionCheckpointer",
    "LoadReport",
    "changed_keys",
    "check_compatible",
    "check_optimizer",
    "check_size",
    "config_from_description",
    "convert_released",
    "describe",
    "description_value",
    "library_versions",
    "list_shipped",
    "locate_shipped",
    "read_checkpoint",
    "read_description",
    "read_released",
    "require_detector",
    "shipped_models",
    "update_description",
    "with_hyperparameters_of",
    "write_weights",
]
