"""Toy runs, made once per session; each test gets copies that it may damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runs import make_classification_run, make_segmentation_run


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a run's folder, or returns the one made earlier with the same arguments."""
    made: dict[str, Path] = {}

    def get(make: Callable[..., Path], **arguments: object) -> Path:
        key = f"{make.__name__} {arguments}"
        if key not in made:
            made[key] = make(tmp_path_factory.mktemp("run") / "run", **arguments)
        return made[key]

    return get


@pytest.fixture
def classification_run(made_runs: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Makes runs' folders by name; arguments as for ``make_classification_run``."""

    def make(name: str = "classification", **arguments: object) -> Path:
        return shutil.copytree(made_runs(make_classification_run, **arguments), tmp_path / name)

    return make


@pytest.fixture
def segmentation_run(
    made_runs: Callable[..., Path], datasets: Path, tmp_path: Path
) -> Callable[..., Path]:
    """Makes a run's folder by ``make_segmentation_run``."""

    def make(name: str = "segmentation") -> Path:
        return shutil.copytree(made_runs(make_segmentation_run), tmp_path / name)

    return make
