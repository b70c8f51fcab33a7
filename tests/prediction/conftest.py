"""A small scan in HU, as an array and as a volume, a predictor, and the scan's predictions."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from toy_checkpoints import SCORE_THRESH

from ct_lesion import LesionPredictor
from ct_lesion.prediction.predictor import ScanPrediction
from ct_lesion.prediction.run import RunOptions, predict_scans
from ct_lesion.scans.sources import ReadOptions, find_scans

# rows, columns and slices all run against the internal axes, and the volume is tilted by 10 degrees
COS, SIN = np.cos(np.radians(10)), np.sin(np.radians(10))
OBLIQUE = (-COS, SIN, 0, -SIN, -COS, 0, 0, 0, -1)


def write_oblique_volume(path: Path, values: np.ndarray) -> Path:
    """Write (S, H, W) values with voxels of 0.8 x 0.7 x 5 mm."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.8, 0.7, 5.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(OBLIQUE)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="session")
def hu() -> np.ndarray:
    """(6, 48, 64) int16: a body with two lungs, in which slices 2 and 3 have a dense region."""
    volume = np.full((6, 48, 64), -1000, np.int16)
    volume[:, 4:44, 4:60] = 40
    volume[:, 10:38, 8:28] = volume[:, 10:38, 36:56] = -850
    volume[2:4, 14:24, 12:22] = -300
    noise = np.random.default_rng(0).normal(0, 20, volume.shape)
    return (volume + noise).astype(np.int16)


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory, hu: np.ndarray) -> Path:
    """The scan as a NIfTI file."""
    return write_oblique_volume(tmp_path_factory.mktemp("scan") / "volume.nii.gz", hu)


@pytest.fixture
def write_volume(tmp_path: Path):
    """Writes a volume with the geometry of ``volume`` into the test's folder."""
    return lambda name, values: write_oblique_volume(tmp_path / name, values)


@pytest.fixture(scope="session")
def predictor(segmenter_file: Path, classifier_file: Path) -> LesionPredictor:
    """An untrained segmenter and classifier."""
    return LesionPredictor.from_checkpoint(
        segmenter_file, classifier_file, device="cpu", score_thresh=SCORE_THRESH
    )


@pytest.fixture(scope="session")
def prediction(predictor: LesionPredictor, hu: np.ndarray) -> ScanPrediction:
    """The predictions of the scan, read from the array."""
    return predictor(hu, is_hu=True, spacing_mm=(5.0, 1.0, 1.0))


@pytest.fixture(scope="session")
def predicted_folder(
    tmp_path_factory: pytest.TempPathFactory, volume: Path, predictor: LesionPredictor
) -> Path:
    """The output folder of a run over ``volume``, with score maps; copy it before changing it."""
    output = tmp_path_factory.mktemp("predicted")
    result = predict_scans(
        find_scans([volume], options=ReadOptions()),
        predictor,
        output,
        RunOptions(save_score_maps=True),
    )
    assert (result.done, result.skipped, result.failed) == (["volume"], [], {})
    return output
