import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ct_lesion.data.datasets.lesion_coco import annotation_file
from ct_lesion.data.datasets.splits import split_by_patients
from ct_lesion.data.prepare import cncb as cncb_prepare
from ct_lesion.data.prepare.cncb import find_slices, prepare_cncb
from ct_lesion.data.prepare.cncb_archive import Archive
from ct_lesion.errors import DatasetError


def read(root: Path, dataset: str, split: str) -> dict:
    return json.loads((root / "cncb" / annotation_file(dataset, split)).read_text("utf-8"))


def test_json_holds_slices_lesions_and_image_fields(lesion_root):
    coco = read(lesion_root, "cncb_lesion", "train")
    assert coco["categories"] == [{"id": 1, "name": "Lesion"}]
    assert len(coco["images"]) == 6, "lesion-free slices are kept"
    first = coco["images"][0]
    assert (first["patient"], first["scan"], first["slice"]) == ("0", "0", "0")
    assert first["file_name"] == "0/0.jpg"
    assert first["lung_area"] == 52 * 52
    assert coco_mask.area(first["lung_segmentation"]) == 52 * 52
    areas = [a["area"] for a in coco["annotations"] if a["image_id"] == first["id"]]
    assert areas == [120, 72]
    box = coco["annotations"][0]["bbox"]
    assert box == [10, 12, 10, 12]


def test_each_mask_type_has_its_classes(lesion_root):
    both = read(lesion_root, "cncb_ggo_consolidation", "test")
    assert [c["name"] for c in both["categories"]] == ["GGO", "Consolidation"]
    assert [a["category_id"] for a in both["annotations"][:2]] == [1, 2]
    ggo = read(lesion_root, "cncb_ggo", "test")
    assert {a["area"] for a in ggo["annotations"]} == {120}


def test_without_validation_slices_no_val_is_written(lesion_root):
    written = {path.name for path in (lesion_root / "cncb/annotations").glob("cncb_lesion_*")}
    assert written == {"cncb_lesion_train.json", "cncb_lesion_test.json"}


def test_images_are_copied_byte_for_byte(lesion_archive, lesion_root):
    for path in (lesion_archive / "image").rglob("*.jpg"):
        copy = lesion_root / "cncb/images" / path.relative_to(lesion_archive / "image")
        assert copy.read_bytes() == path.read_bytes()


def test_pycocotools_decodes_the_original_masks(lesion_archive, lesion_root):
    truth = COCO(str(lesion_root / "cncb" / annotation_file("cncb_lesion", "test")))
    for image in truth.loadImgs(truth.getImgIds()):
        labels = cv2.imread(
            str(lesion_archive / "mask" / Path(image["file_name"]).with_suffix(".png")), -1
        )
        union = np.zeros_like(labels)
        for annotation in truth.imgToAnns[image["id"]]:
            union |= truth.annToMask(annotation)
        np.testing.assert_array_equal(union > 0, labels >= 2)


@pytest.fixture
def prepared(lesion_archive: Path, tmp_path: Path):
    """Prepares the toy archive in a temporary folder."""
    archive = Archive(lesion_archive)
    pairs = find_slices(archive)
    split = split_by_patients([p.id for p in pairs], ["3"])

    def prepare(**options: object) -> Path:
        prepare_cncb(archive, pairs, split, tmp_path / "cncb", ["merge"], **options)
        return tmp_path / "cncb"

    return prepare


def test_an_earlier_output_is_only_replaced_when_asked(prepared):
    output = prepared(min_area=100)
    (output / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="already holds images and annotations"):
        prepared()
    prepared(min_area=20, overwrite=True)
    info = json.loads((output / annotation_file("cncb_lesion", "train")).read_text("utf-8"))["info"]
    assert info["min_area"] == 20
    assert sorted(p.name for p in output.iterdir()) == ["annotations", "images", "notes.txt"]


def test_an_interrupted_run_leaves_nothing(prepared, monkeypatch, tmp_path):
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cncb_prepare, "_coco_json", fail)
    with pytest.raises(KeyboardInterrupt):
        prepared()
    assert not (tmp_path / "cncb").exists()
