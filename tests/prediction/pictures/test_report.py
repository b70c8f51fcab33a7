"""Pictures of projections and the report, of a scan of 20 x 32 x 48 voxels."""

import numpy as np
import pytest
from PIL import ImageColor
from predicted_scans import LESION_CLASSES, summary, toy_detection, toy_record

from ct_lesion.lesions.projections import Projections
from ct_lesion.pages.palette import lesion_colour
from ct_lesion.prediction.pictures.projections import draw_projections
from ct_lesion.prediction.pictures.report import HEIGHT, WIDTH, LesionSlice, draw_report
from ct_lesion.prediction.slices import SlicePrediction

SHAPE = (20, 32, 48)


@pytest.fixture(scope="module")
def projections() -> dict:
    found = Projections(SHAPE)
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[15:, 8:16, 36:] = 2
    for z in range(SHAPE[0]):
        found.add_slice(z, np.zeros(SHAPE[1:], np.uint8), False)
        found.add_lesions(z, numbers[z])
    return found.finish()


@pytest.mark.parametrize(
    ("spacing", "coronal", "sagittal", "axial"),
    [
        ((5.0, 1.0, 2.0), (100, 96), (100, 32), (32, 96)),  # 100 x 32 x 96 mm
        ((None, 1.0, 2.0), (100, 100), (100, 33), (33, 100)),
        (None, (100, 100), (100, 67), (67, 100)),  # as high as wide
    ],
)
def test_projections_are_to_scale(projections, spacing, coronal, sagittal, axial) -> None:
    drawn = draw_projections(projections, spacing, sides_known=False, side=100)
    assert [p.shape[:2] for p in drawn.values()] == [coronal, sagittal, axial]
    picture, (height, width) = drawn["coronal"], coronal
    place = picture[round(0.1 * height), round(0.9 * width)].astype(int)
    assert place == pytest.approx(0.55 * np.array(ImageColor.getrgb(lesion_colour(2))), abs=2)
    assert not picture[height // 2].any() and not picture[:, : width // 2].any()


def test_the_report_shows_lesions_numbers_and_the_notice(projections) -> None:
    mask = np.zeros(SHAPE[1:], bool)
    mask[8:16, 36:] = True
    prediction = SlicePrediction(19, (toy_detection(mask),))
    grey = np.full(SHAPE[1:], 90, np.uint8)
    drawn = draw_projections(projections, None, sides_known=True)
    facts = {
        "models": {"segmentation": None},
        "lesion_list": [toy_record(1, 15, 19)],
        "lesion_class_names": LESION_CLASSES,
        "lesions": 1,
        "qc": [{"code": "spacing", "message": "no spacing " * 200}],
    }
    of_lesion = summary("x" * 300, 20, **facts)
    shown = [LesionSlice(of_lesion["lesion_list"][0], prediction, [1], grey)]
    report = draw_report(of_lesion, drawn, shown)
    assert report.shape == (HEIGHT, WIDTH, 3) and report.dtype == np.uint8
    colour = ImageColor.getrgb(lesion_colour(1))
    assert (np.abs(report[476:824, 24:400].astype(int) - colour).max(-1) < 60).sum() > 50
    assert (report[870:] == 255).all(-1).any(), "the notice, white on dark"
    none = draw_report(summary("a", 20, models={"segmentation": None}), drawn, [])
    assert not np.array_equal(none, report)
