"""Results that need the lungs, on a synthetic chest."""

import numpy as np
import pytest
import SimpleITK as sitk
from lung_phantoms import as_scan, volume

from ct_lesion.data.datasets.lesion_masks import encode_mask
from ct_lesion.lesions.lung_source import LungSource
from ct_lesion.lesions.lungs import LEFT, RIGHT, Lungs
from ct_lesion.prediction.lung_results import LUNGS_FILE, LungResults
from ct_lesion.prediction.slices import Detection, SlicePrediction


@pytest.fixture(scope="module")
def scan():
    hu, _, spacing = volume()
    return as_scan(hu, spacing)


@pytest.fixture(scope="module")
def lungs(scan) -> Lungs:
    return LungSource().of(scan)


def detection(shape, rows: slice, columns: slice) -> Detection:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return Detection(0.9, 0, (0, 0, 1, 1), int(mask.sum()), encode_mask(mask))


def in_slice(index: int, shape) -> SlicePrediction:
    """A detection in the right lung, one in the left, and one on the table."""
    right = detection(shape, slice(44, 52), slice(20, 28))
    left = detection(shape, slice(44, 52), slice(72, 76))
    table = detection(shape, slice(90, 96), slice(40, 60))
    return SlicePrediction(index, (right, table, left))


def test_detections_outside_the_lungs_are_dropped_and_counted(scan, lungs):
    results = LungResults(scan, lungs, LungSource())
    kept = results.without_outside(in_slice(30, scan.shape[1:]))
    assert [found.area_px for found in kept.detections] == [64, 32]
    results.without_outside(in_slice(31, scan.shape[1:]))
    assert results.summary()["lungs"]["detections_outside"] == 2
    assert "dropped 2 detections outside the lungs" in results.notes()[-1]
    keeping = LungResults(scan, lungs, LungSource(keep_outside=True))
    assert len(keeping.without_outside(in_slice(30, scan.shape[1:])).detections) == 3
    assert keeping.summary()["lungs"]["detections_outside"] is None
    unknown = LungResults(scan)
    assert len(unknown.without_outside(in_slice(30, scan.shape[1:])).detections) == 3


def test_shares_of_each_lung(tmp_path, scan, lungs):
    results = LungResults(scan, lungs, LungSource())
    for index in range(len(scan)):
        found = in_slice(index, scan.shape[1:]) if index in (30, 31) else SlicePrediction(index)
        lesion = results.without_outside(found).label_mask(*scan.shape[1:]) > 0
        results.add(index, lesion)
    summary = results.summary()["lungs"]
    voxel_ml = np.prod(scan.spacing_mm) / 1000
    right, left = ((lungs.labels == label).sum() for label in (RIGHT, LEFT))
    assert summary["volume_ml"] == pytest.approx(
        {"right": right * voxel_ml, "left": left * voxel_ml}
    )
    assert summary["lesion_share"] == pytest.approx({"right": 128 / right, "left": 64 / left})
    assert summary["lesion_share_of_thirds"]["right"]["upper"] == 0
    assert summary["lesion_share_of_thirds"]["right"]["middle"] > 128 / right
    assert (summary["source"], summary["doubt"]) == ("auto", None)
    assert summary["severity_score"] is None and summary["lobes"] is None
    results.save(tmp_path)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / LUNGS_FILE)))
    np.testing.assert_array_equal(written, lungs.labels)


def test_severity_of_lobes(scan):
    lobes = np.zeros(scan.shape, np.uint8)
    for number in range(5):
        lobes[10 * number : 10 * number + 10, :10, :10] = number + 1
    results = LungResults(scan, Lungs((lobes > 0) * np.uint8(3), lobes=lobes))
    for index in range(len(scan)):
        lesion = np.zeros(scan.shape[1:], bool)
        lesion[: index // 10, :10] = True  # 0, 10, 20, 30 and 40 % of the lobes
        results.add(index, lesion)
    summary = results.summary()["lungs"]
    assert [lobe["score"] for lobe in summary["lobes"]] == [0, 2, 2, 3, 3]
    assert summary["severity_score"] == 10
    assert summary["lobes"][3]["lesion_share"] == pytest.approx(0.3)
    assert summary["lesion_share"] == {"unknown": pytest.approx(0.2)}


def test_without_lungs_nothing_is_known(tmp_path, scan):
    results = LungResults(scan, Lungs(doubt="it is a leg"), LungSource())
    results.add(0, np.ones(scan.shape[1:], bool))
    results.save(tmp_path)
    summary = results.summary()["lungs"]
    assert summary.pop("source") == "auto" and summary.pop("doubt") == "it is a leg"
    assert set(summary.values()) == {None}
    assert not list(tmp_path.iterdir())
