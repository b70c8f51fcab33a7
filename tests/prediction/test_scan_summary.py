import numpy as np
import pytest

from ct_lesion.prediction.scan_summary import in_mm2, measure_slice, summarise_lesions
from ct_lesion.prediction.slices import Detection, SlicePrediction

SPACING = (5.0, 0.5, 0.8)  # voxels of 2 mm3


def slice_with(index: int, detections: int) -> SlicePrediction:
    return SlicePrediction(index, (Detection(0.9, 0, (0, 0, 1, 1), 1, {}),) * detections)


def labels(pixels: int) -> np.ndarray:
    flat = np.zeros(100, np.uint8)
    flat[:pixels] = 2
    return flat.reshape(10, 10)


def test_summary_of_lesions_by_hand():
    lung = np.zeros((10, 10), bool)
    lung.flat[5:50] = True  # 45 px, of which a lesion of 10 px covers 5
    measures = [measure_slice(labels(n), lung) for n in (0, 10, 20, 0)]
    slices = [slice_with(i, n) for i, n in enumerate((0, 1, 2, 0))]
    found = summarise_lesions(slices, measures, SPACING)
    assert found["detections"] == 3
    assert found["slices_with_lesion"] == 2
    assert found["lesion_slice_range"] == [1, 2]
    assert found["most_lesion_slice"] == 2
    assert found["lesion_volume_ml"] == pytest.approx(30 * 2 / 1000)
    assert found["lesion_share_of_lung"] == pytest.approx((5 + 15) / (4 * 45))
    assert found["lesion_outside_lung_ml"] == pytest.approx(10 * 2 / 1000)
    assert measures[1].share_of_lung == pytest.approx(5 / 45)
    assert in_mm2(10, SPACING) == pytest.approx(10 * 0.4)


def test_each_slice_counts_with_its_thickness():
    lung = np.zeros((10, 10), bool)
    lung.flat[:40] = True
    measures = [measure_slice(labels(n), lung) for n in (10, 50)]
    found = summarise_lesions([], measures, SPACING, [5.0, 2.0])
    # pixels of 0.4 mm2: 10 of them 5 mm thick and 50 of them 2 mm thick, 10 of these outside
    assert found["lesion_volume_ml"] == pytest.approx(0.4 * (10 * 5 + 50 * 2) / 1000)
    assert found["lesion_outside_lung_ml"] == pytest.approx(0.4 * 10 * 2 / 1000)
    assert found["lesion_share_of_lung"] == pytest.approx((10 * 5 + 40 * 2) / (40 * 5 + 40 * 2))


def test_summary_without_the_thickness_of_the_slice():
    found = summarise_lesions([], [measure_slice(labels(10))], (None, 0.5, 0.8))
    assert found["lesion_volume_ml"] is None
    assert in_mm2(10, (None, 0.5, 0.8)) == pytest.approx(4.0)


def test_summary_without_lesions_lung_mask_or_spacing():
    found = summarise_lesions([slice_with(0, 0)], [measure_slice(labels(0))], None)
    assert found == {
        "detections": 0,
        "slices_with_lesion": 0,
        "lesion_slice_range": None,
        "most_lesion_slice": None,
        "lesion_volume_ml": None,
        "lesion_share_of_lung": None,
        "lesion_outside_lung_ml": None,
    }


def test_a_slice_without_lung_has_no_share():
    assert measure_slice(labels(3), np.zeros((10, 10))).share_of_lung is None
