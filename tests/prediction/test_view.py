import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from predicted_scans import LESION_CLASSES, toy_detection

from ct_lesion.prediction.slices import Detection
from ct_lesion.prediction.view import AS_GIVEN, ViewSlice, ViewWriter
from ct_lesion.scans.windows import Window

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
WINDOWS = {"lung": Window(-600, 1500), "my window": Window(40, 400)}


def view_writer(folder: Path, windows: dict | None = None) -> ViewWriter:
    return ViewWriter(folder, windows, LESION_CLASSES, (5.0, 1.0, 2.0))  # pixels of 2 mm2


def view_slice(index: int, *detections: Detection) -> ViewSlice:
    return ViewSlice(index, f"{index}.dcm", 2.5 * index, detections, 4, [0.25, 0.75])


def square() -> Detection:
    mask = np.zeros((6, 8), bool)
    mask[1:3, 4:6] = True
    return toy_detection(mask, 0.875, class_index=1)


def read_view(folder: Path) -> dict:
    text = (folder / "view.js").read_text("utf-8")
    assert text.startswith("ctLesion.receive(") and text.endswith(");\n")
    return json.loads(json.loads(text.removeprefix("ctLesion.receive(").removesuffix(");\n")))


def test_images_and_findings_are_written(tmp_path):
    writer = view_writer(tmp_path / "view", WINDOWS)
    writer.add(view_slice(0), {"lung": GREY, "my window": GREY})
    writer.add(view_slice(1, square()), {"lung": GREY, "my window": 255 - GREY})
    assert not (tmp_path / "view" / "view.js").exists(), "it is written last"
    writer.finish({"scan": "a</script>"}, [[], [7]])
    files = {str(p.relative_to(tmp_path / "view")) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {
        *("view.js", "lung/0001.jpg", "lung/0002.jpg"),
        *("my_window/0001.jpg", "my_window/0002.jpg"),
    }
    image = cv2.imread(str(tmp_path / "view/my_window/0002.jpg"), cv2.IMREAD_UNCHANGED)
    assert image.shape == GREY.shape and np.abs(image.astype(int) - (255 - GREY)).max() <= 8

    view = read_view(tmp_path / "view")
    assert view["size"] == [6, 8] and view["summary"] == {"scan": "a</script>"}
    assert view["windows"][1] == {
        "name": "my window",
        "folder": "my_window",
        "level": 40.0,
        "width": 400.0,
    }
    empty, found = view["slices"]
    assert empty["lesions"] == [] and found["z_mm"] == 2.5 and found["area_mm2"] == 8.0
    assert found["probabilities"] == [0.25, 0.75] and found["name"] == "1.dcm"
    (lesion,) = found["lesions"]
    assert (lesion["score"], lesion["class_name"]) == (0.875, "Consolidation")
    assert lesion["number"] == 7
    assert (lesion["area_px"], lesion["area_mm2"]) == (4, 8.0)
    (ring,) = lesion["contours"]
    xs, ys = ring[::2], ring[1::2]
    assert (min(xs), max(xs)) == pytest.approx((4, 6), abs=0.15)
    assert (min(ys), max(ys)) == pytest.approx((1, 3), abs=0.15)


def test_8_bit_input_has_one_window(tmp_path):
    writer = view_writer(tmp_path)
    writer.add(view_slice(0), {AS_GIVEN: GREY})
    writer.finish({}, [[]])
    assert read_view(tmp_path)["windows"] == [
        {"name": "as given", "folder": "as_given", "level": None, "width": None}
    ]
    assert (tmp_path / "as_given/0001.jpg").is_file()


def test_invalid_windows_slices_images_and_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="names differ"):
        view_writer(tmp_path, {"a b": Window(0, 1), "a_b": Window(0, 1)})
    with pytest.raises(ValueError, match="one or more windows"):
        view_writer(tmp_path, {})
    writer = view_writer(tmp_path)
    with pytest.raises(ValueError, match="has no slices"):
        writer.finish({}, [])
    with pytest.raises(ValueError, match="expected slice 0, got slice 1"):
        writer.add(view_slice(1), {AS_GIVEN: GREY})
    with pytest.raises(ValueError, match="expected images for the windows"):
        writer.add(view_slice(0), {"lung": GREY})
    with pytest.raises(ValueError, match="uint8"):
        writer.add(view_slice(0), {AS_GIVEN: GREY.astype(np.float32)})
    writer.add(view_slice(0), {AS_GIVEN: GREY})
    with pytest.raises(ValueError, match="earlier slices have"):
        writer.add(view_slice(1), {AS_GIVEN: GREY.T})
    with pytest.raises(ValueError, match="Out of range float"):
        writer.finish({"lesion_volume_ml": float("nan")}, [[]])
    assert not (tmp_path / "view.js").exists()
