import json

import cv2
import numpy as np
import pytest

from ct_lesion.audit.findings import Severity
from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.masks.annotations import check_annotations
from ct_lesion.audit.masks.labels import _read_grey, check_masks
from ct_lesion.data.datasets.lesion_masks import encode_mask

SIDE = 100


def labels(lesion: tuple[slice, slice] | None = None) -> np.ndarray:
    """Labels of two lungs, with an optional GGO."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[25:75, 15:40] = labels[25:75, 60:85] = 1
    if lesion:
        labels[lesion] = 2
    return labels


def image_of(labels: np.ndarray) -> np.ndarray:
    return np.choose(labels, [150, 30, 90, 140]).astype(np.uint8)


INSIDE = (slice(30, 40), slice(20, 30))
BELOW = (slice(85, 95), slice(45, 55))


@pytest.fixture
def check_archive(write_pictures):
    """Checks an archive of slices ``{name: (image, mask)}`` of a patient."""

    def check(**slices: tuple[np.ndarray, np.ndarray]):
        for name, (image, mask) in slices.items():
            folder = write_pictures("archive", {f"image/1/{name}.png": image})
            write_pictures("archive", {f"mask/1/{name}.png": mask})
        summary, findings, unchecked = check_masks(read_inputs([str(folder)])[0], None)
        return summary, {f.code: f for f in findings}, unchecked

    return check


def pair(lesion=None, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    mask = labels(lesion)
    return np.roll(image_of(mask), shift, axis=1), mask


def test_sound_masks_are_summarised(check_archive):
    summary, findings, unchecked = check_archive(a=pair(INSIDE), b=pair())
    assert (summary.slices, summary.lesion_free, summary.lesion_area) == (2, 1, 100)
    assert (summary.fitted, summary.outside_area) == (2, 0)
    assert set(findings) == {"slices_without_lesion"}
    assert findings["slices_without_lesion"].severity is Severity.NOTE
    assert unchecked == []


def test_misplaced_lesions_and_misplaced_empty_and_unusable_masks_are_reported(check_archive):
    lost = (image_of(labels()), np.zeros((SIDE, SIDE), np.uint8))
    small = (image_of(labels()), labels(INSIDE)[:50])
    wrong = (image_of(labels()), labels(INSIDE) + 3)
    _, findings, _ = check_archive(
        below=pair(BELOW), moved=pair(INSIDE, shift=25), lost=lost, small=small, wrong=wrong
    )
    assert findings["lesion_apart_from_lung"].where == ["1/below: lesion of 100 px"]
    assert findings["mask_beside_lung"].where[0].startswith("1/moved: darker with probability 0.")
    assert findings["mask_is_empty"].where == ["1/lost"]
    faults = findings["mask_does_not_fit"].where
    assert "100 x 50 pixels, but its image" in faults[0]
    assert "has the values 4, 5, expected only 0, 1, 2, 3" in faults[1]


def test_a_lesion_that_touches_the_lung_but_lies_outside_is_reported(check_archive):
    outward = (slice(40, 60), slice(85, 100))
    summary, findings, _ = check_archive(a=pair(outward))
    # the tolerance covers 3 of 15 columns
    assert summary.outside_area == 240
    assert "lesion_outside_lung" not in findings  # consolidation may extend this far
    _, findings, _ = check_archive(b=pair((slice(77, 99), slice(20, 40))))
    assert findings["lesion_outside_lung"].where == ["1/b: 95 % of 440 px outside"]


def test_lesions_without_a_lung_field_do_not_dilute_the_share_outside(check_archive):
    no_lung = np.where(labels(INSIDE) == 2, 2, 0).astype(np.uint8)
    outward = pair((slice(40, 60), slice(85, 100)))
    summary, *_ = check_archive(a=outward, b=(image_of(no_lung), no_lung))
    assert (summary.lesion_area, summary.compared_area, summary.fitted) == (300 + 100, 300, 1)
    assert summary.outside_share == 240 / 300


@pytest.mark.parametrize("with_lung", [True, False])
def test_lesions_of_a_coco_json_are_compared_with_its_lung_field(tmp_path, with_lung):
    mask = labels(BELOW)
    cv2.imwrite(str(tmp_path / "a.png"), image_of(mask))
    lesion = encode_mask(mask == 2)
    image = {"id": 1, "file_name": "a.png", "width": SIDE, "height": SIDE, "patient": "1"}
    if with_lung:
        image["lung_segmentation"] = encode_mask(mask > 0)  # lesions count as lung there
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": lesion}
    annotation |= {"bbox": [45, 85, 10, 10], "area": 100, "iscrowd": 0}
    content = {
        "images": [image],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "Lesion"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (dataset,) = read_inputs([str(tmp_path / "a.json")])
    _, findings, unchecked = check_masks(dataset, check_annotations(dataset))
    assert [f.code for f in findings] == (["lesion_apart_from_lung"] if with_lung else [])
    assert len(unchecked) == (0 if with_lung else 1)
    assert all("there is no lung field" in item.why for item in unchecked)


def test_masks_of_an_impossible_size_are_not_decoded(write_coco):
    image = {"id": 1, "file_name": "7/1.png", "width": 10**6, "height": 10**6, "patient": 7}
    (dataset,) = read_inputs([str(write_coco(images=[image]))])
    summary, findings, _ = check_masks(dataset, check_annotations(dataset))
    assert (summary.slices, findings) == (0, [])


def test_a_picture_beyond_the_limit_is_not_decoded(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), image_of(labels()))
    assert _read_grey(tmp_path / "a.png").shape == (SIDE, SIDE)
    monkeypatch.setattr("ct_lesion.pictures.LARGEST_PICTURE", SIDE * SIDE - 1)
    monkeypatch.setattr("ct_lesion.pictures.upright", lambda image: pytest.fail("decoded"))
    assert _read_grey(tmp_path / "a.png") is None
