"""Small predicted scans for the page, written as tools/predict.py lays them out."""

from pathlib import Path

import numpy as np

from ct_lesion.data.datasets.lesion_masks import encode_mask
from ct_lesion.lesions.measures import ScanLesion
from ct_lesion.pictures import write_picture
from ct_lesion.prediction.scan_summary import lesion_records
from ct_lesion.prediction.slices import Detection
from ct_lesion.prediction.view import AS_GIVEN, ViewSlice, ViewWriter
from ct_lesion.scans.windows import WINDOWS

LESION_CLASSES = ("GGO", "Consolidation")
CLASSES = ["Control", "Common Pneumonia", "COVID-19"]
HEIGHT, WIDTH = 32, 48
LONG = "long scan"  # 300 slices, lesions in 100..139, pixels of 1 x 2 mm
HOSTILE = 'a&b #1 %41 <img src=x onerror="window.hacked=1">\''
MARKUP = "</script><script>window.hacked=2</script><!--<b>{{ 7 * 7 }}"


def toy_detection(mask: np.ndarray, score: float = 0.5, class_index: int = 0) -> Detection:
    """A detection with a mask (H, W)."""
    return Detection(score, class_index, (0, 0, 1, 1), int(mask.sum()), encode_mask(mask))


def growing_detection(index: int) -> Detection:
    """A square that grows with the slice's index, so that slice 139 has the most."""
    side = 4 + (index - 100) // 4
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[8 : 8 + side, 20 : 20 + side] = True
    return toy_detection(mask, 0.5 + index / 1000)


def summary(scan: str, slices: int, **changes: object) -> dict:
    return {
        "scan": scan,
        "source": "somewhere",
        "patient": "P1",
        "slices": slices,
        "size": [HEIGHT, WIDTH],
        "spacing_mm": None,
        "class": None,
        "probabilities": None,
        "rule": "no classifier was given",
        "lesions": 0,
        "detections": 0,
        "lesion_list": [],
        "slices_with_lesion": 0,
        "lesion_slice_range": None,
        "lesion_volume_ml": None,
        "lesion_share_of_lung": None,
        "most_lesion_slice": None,
        "notes": [],
        "qc": [],
        "score_thresh": 0.5,
        "class_names": [],
        "lesion_class_names": list(LESION_CLASSES),
    } | changes


def toy_record(number: int, first: int, last: int) -> dict:
    """A lesion as in ``lesion_list``; the largest slice is the last."""
    lesion = ScanLesion(
        *(number, 0, 0.64, last + 1 - first, 3000 // number, 30 / number, 26.0, 13.0, last, 200.0),
        *(first, last, last, -450.0 - number, 0.25, "left", "upper", 1.5),
    )
    return lesion_records([lesion], LESION_CLASSES)[0]


# lesion 2 in three slices, lesion 1 in the others
NUMBERS = {i: [2] if 110 <= i <= 112 else [1] for i in range(100, 140)}


def write_long_scan(output: Path) -> dict:
    grey = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    windows = {name: WINDOWS[name] for name in ("lung", "soft_tissue")}
    spacing = [5.0, 1.0, 2.0]
    writer = ViewWriter(output / LONG / "view", windows, LESION_CLASSES, spacing)
    pixels = 0
    for i in range(300):
        detections = [growing_detection(i)] if 100 <= i < 140 else []
        area = sum(found.area_px for found in detections)
        pixels += area
        probabilities = [0.125, 0.25, 0.625] if detections else [0.75, 0.25, 0.0]
        found = ViewSlice(i, f"IM{i}", -5.0 * i, detections, area, probabilities)
        writer.add(found, dict.fromkeys(windows, grey))
    long = summary(
        LONG,
        300,
        spacing_mm=spacing,
        probabilities={"Control": 0.2, "Common Pneumonia": 0.3, "COVID-19": 0.5},
        lesions=2,
        detections=40,
        pictures=["view/thumbnail.jpg"],
        lesion_list=[toy_record(1, 100, 139), toy_record(2, 110, 112)],
        slices_with_lesion=40,
        lesion_slice_range=[100, 139],
        lesion_volume_ml=pixels * 10.0 / 1000,
        lesion_share_of_lung=0.1234,
        most_lesion_slice=139,
        class_names=CLASSES,
        qc=[{"code": "spacing", "message": "slices 5 mm apart"}],
        **{"class": "COVID-19"},
    )
    write_picture(output / LONG / "view/thumbnail.jpg", grey)
    writer.finish(long, [NUMBERS.get(i, []) for i in range(300)])
    return long


def write_plain_scan(output: Path, scan: str, slices: int, **changes: object) -> dict:
    """An 8-bit scan without spacing, classifier and lesions."""
    writer = ViewWriter(output / scan / "view", None, LESION_CLASSES, None)
    for i in range(slices):
        image = np.full((HEIGHT, WIDTH), 90, np.uint8)
        writer.add(ViewSlice(i, MARKUP, None, [], 0, None), {AS_GIVEN: image})
    plain = summary(scan, slices, **changes)
    writer.finish(plain, [[]] * slices)
    return plain
