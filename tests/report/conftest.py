from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runs import make_classification_run, make_segmentation_run


@pytest.fixture
def classification_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes runs' folders by name; arguments as for ``make_classification_run``."""

    def make(name: str = "classification", *arguments: object, **named: object) -> Path:
        return make_classification_run(tmp_path / name, *arguments, **named)

    return make


@pytest.fixture
def segmentation_run(datasets: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run's folder by ``make_segmentation_run``."""
    return lambda name="segmentation": make_segmentation_run(tmp_path / name)
