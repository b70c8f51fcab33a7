from pathlib import Path

import pytest
from covidx_files import make_images, make_lists


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    """COVIDx-CT's three lists, of toy slices."""
    return make_lists(tmp_path)


@pytest.fixture(params=["flat", "tree"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The slices of the lists as images, in both layouts."""
    return make_images(tmp_path, request.param)
