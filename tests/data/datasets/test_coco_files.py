"""COCO json of other tools: which values are filled in, and how Detectron2 reads it."""

import copy
import json

import pytest
from audit_toys import SQUARE, good_annotation
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from ct_lesion.data.datasets.cncb import IMAGE_FIELDS, load_cncb_lesion, register_cncb_lesion
from ct_lesion.data.datasets.coco_files import read_coco
from ct_lesion.errors import DatasetError


@pytest.fixture
def write(tmp_path):
    def write(*annotations: dict, **changes: object):
        content = {
            "images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 48}],
            "categories": [{"id": 1, "name": "Lesion"}],
            "annotations": list(annotations),
        }
        path = tmp_path / "coco.json"
        path.write_text(json.dumps(content | changes))
        return path

    return write


@pytest.fixture
def load(tmp_path):
    """Loads a json as a dataset that is removed after the test."""
    yield lambda path: load_cncb_lesion("from_a_tool", path, tmp_path)
    if "from_a_tool" in MetadataCatalog:
        MetadataCatalog.remove("from_a_tool")


@pytest.mark.parametrize(
    "changes",
    [
        {"area": None},
        {"area": 0},
        {"iscrowd": None},
        {"iscrowd": False},
        {"bbox": None},
        {"bbox": []},
        {"id": "1", "image_id": "1", "category_id": "1"},
        {"id": 1.0, "image_id": 1.0, "category_id": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("null", [False, True])
def test_unambiguous_values_are_filled_in(write, changes, null):
    annotation = good_annotation(**changes)  # leaves out values of None
    annotation |= changes if null else {}
    path = write(annotation)
    expected = good_annotation()
    read = read_coco(path)["annotations"]
    assert read == [expected]
    assert all(type(read[0][key]) is int for key in ("id", "image_id", "category_id", "iscrowd"))


def test_a_number_with_leading_zeros_is_another_id(write, load):
    with pytest.raises(DatasetError, match="image 01 is not listed"):
        load(write(good_annotation(image_id="01")))


def test_the_box_and_area_of_a_run_length_encoded_mask(write):
    # 2 columns of 3 pixels from column 1 and row 2 on, in column order in a 48 x 64 image
    counts = [48 + 2, 3, 45, 3, 48 * 64 - 48 - 2 - 3 - 45 - 3]
    mask = {"size": [48, 64], "counts": counts}
    (read,) = read_coco(write(good_annotation(segmentation=mask, area=None, bbox=None)))[
        "annotations"
    ]
    assert (read["area"], read["bbox"]) == (6, [1, 2, 2, 3])


@pytest.mark.parametrize("segmentation", [None, [], {}])
def test_a_mask_is_not_made_from_a_box(write, segmentation):
    path = write(good_annotation(segmentation=None) | {"segmentation": segmentation})
    with pytest.raises(DatasetError, match=r"coco\.json: annotation 1: it has no segmentation"):
        read_coco(path)


def test_a_category_that_only_groups_others_is_dropped(write, load):
    categories = [
        {"id": 0, "name": "lesions", "supercategory": "none"},
        {"id": 1, "name": "Lesion", "supercategory": "lesions"},
    ]
    (record,) = load(write(good_annotation(), categories=categories))
    assert record["annotations"][0]["category_id"] == 0
    assert MetadataCatalog.get("from_a_tool").thing_classes == ["Lesion"]
    used = write(good_annotation(), good_annotation(id=2, category_id=0), categories=categories)
    names = [category["name"] for category in read_coco(used)["categories"]]
    assert names == ["lesions", "Lesion"]


def test_categories_that_are_not_the_classes_of_the_dataset_are_refused(write, tmp_path):
    path = write(good_annotation(), categories=[{"id": 1, "name": "opacity"}])
    with pytest.raises(DatasetError, match=r"are opacity .* cncb_lesion_test has Lesion"):
        load_cncb_lesion("cncb_lesion_test", path, tmp_path)
    swapped = [{"id": 1, "name": "Consolidation"}, {"id": 2, "name": "GGO"}]
    path = write(good_annotation(), categories=swapped)
    with pytest.raises(DatasetError, match="are Consolidation, GGO in the order of their ids"):
        load_cncb_lesion("cncb_ggo_consolidation_test", path, tmp_path)


def test_records_equal_those_of_detectron2s_loader(write, load, tmp_path, lesion_root):
    counts = [48 + 2, 3, 48 * 64 - 48 - 5]
    mask = {"size": [48, 64], "counts": counts}
    images = [
        {"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (7, 3, 5)
    ]  # 5 has no lesion
    categories = [{"id": 9, "name": "GGO"}, {"id": 4, "name": "Consolidation"}]
    path = write(
        good_annotation(id=1, image_id=7, category_id=9),
        good_annotation(id=2, image_id=7, category_id=4, segmentation=mask, iscrowd=1),
        good_annotation(id=3, image_id=3, category_id=4, segmentation=SQUARE),
        images=images,
        categories=categories,
    )
    try:
        expected = load_coco_json(str(path), str(tmp_path), "detectron2s")
        assert load(path) == expected
        ours, theirs = (copy.copy(MetadataCatalog.get(n)) for n in ("from_a_tool", "detectron2s"))
        for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
            assert ours.get(key) == theirs.get(key)
        prepared = lesion_root / "cncb/annotations/cncb_lesion_train.json"
        expected = load_coco_json(str(prepared), "images")
        records = load_cncb_lesion("cncb_lesion_train", prepared, lesion_root)
        for record, other in zip(records, expected, strict=True):
            for field in IMAGE_FIELDS:
                record.pop(field)
            assert record["annotations"] == [
                {**a, "category_id": a["category_id"] - 1} for a in other["annotations"]
            ]
    finally:
        MetadataCatalog.remove("detectron2s")


def test_a_dataset_can_be_registered_and_read_again(write, tmp_path):
    path = write(good_annotation(area=None))
    register_cncb_lesion("from_a_tool", str(path), str(tmp_path))
    try:
        assert DatasetCatalog.get("from_a_tool") == DatasetCatalog.get("from_a_tool")
    finally:
        DatasetCatalog.remove("from_a_tool")
        MetadataCatalog.remove("from_a_tool")
