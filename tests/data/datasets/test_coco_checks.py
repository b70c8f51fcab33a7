"""Faults of COCO json: the loader stops at the first error and ignores warnings."""

import pytest
from audit_toys import SQUARE, good_annotation
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.coco_checks import CocoChecker, check_coco_dataset
from ct_lesion.data.datasets.coco_files import unify_coco
from ct_lesion.errors import DatasetError

IMAGE = {"id": 1, "file_name": "7/1.png", "width": 64, "height": 48}
LUNG = {"size": [48, 64], "counts": [100, 2000, 972]}


def dataset(*annotations: object, **changes: object) -> dict:
    """A dataset of one image of 64 x 48 pixels with these annotations."""
    content = {"images": [IMAGE], "categories": [{"id": 1, "name": "Lesion"}]}
    return content | {"annotations": list(annotations)} | changes


def with_image(**changes: object) -> dict:
    return dataset(good_annotation(), images=[IMAGE | changes])


ERRORS = {
    "annotation of no image": (
        dataset(good_annotation(image_id=99)),
        ("annotation_of_no_image", "annotation 1", "image 99 is not listed"),
    ),
    "annotation of a list": (
        dataset(good_annotation(image_id=[1])),
        ("annotation_of_no_image", "annotation 1", "image [1] is not listed"),
    ),
    "unknown category": (
        dataset(good_annotation(category_id=5)),
        ("unknown_category", "annotation 1", "category 5 is not listed"),
    ),
    "damaged mask": (
        dataset(good_annotation(segmentation={"size": [48, 64], "counts": "0"})),
        ("bad_mask", "annotation 1 of 7/1.png", "a mask whose runs add up to 0, not 48 x 64"),
    ),
    "a mask missing": (
        dataset(good_annotation(), good_annotation(id=2, segmentation=[])),
        ("no_mask", "annotation 2 of 7/1.png", "it has no segmentation"),
    ),
    "box of three numbers": (
        dataset(good_annotation(bbox=[10, 10, 20])),
        ("bad_box", "annotation 1 of 7/1.png", "its bbox is [10, 10, 20], not x, y, width and"),
    ),
    "box of two corners": (
        dataset(good_annotation(bbox=[10, 10, 30, 30])),
        ("bad_box", "annotation 1 of 7/1.png", "x, y, width and height, not two corners"),
    ),
    "annotation to be ignored": (
        dataset(good_annotation(ignore=1)),
        ("faulty_annotation", "annotation 1", "its ignore is not 0"),
    ),
    "no masks at all": (
        dataset(good_annotation(segmentation=None)),
        ("no_mask", "annotation 1 of 7/1.png", "it has no segmentation"),
    ),
    "box of a huge number": (
        dataset(good_annotation(bbox=[10, 10, 20, 10**400])),
        ("bad_box", "annotation 1 of 7/1.png", f"its bbox is [10, 10, 20, 1{63 * '0'}"),
    ),
    "negative box": (
        dataset(good_annotation(bbox=[10, 10, -20, 20])),
        ("bad_box", "annotation 1 of 7/1.png", "its bbox is [10, 10, -20, 20]"),
    ),
    "area of a huge number": (
        dataset(good_annotation(area=10**400)),
        ("faulty_annotation", "annotation 1", "its area is not a number"),
    ),
    "crowd of 7": (
        dataset(good_annotation(iscrowd=7)),
        ("faulty_annotation", "annotation 1", "its iscrowd is neither 0 nor 1"),
    ),
    "annotation of text": (
        dataset("lesion"),
        ("faulty_annotation", "annotations[0]", "is not an object"),
    ),
    "annotation id of text": (
        dataset(good_annotation(id="one")),
        ("faulty_annotation", "annotations[0]", "its id one is not a whole number"),
    ),
    "annotation twice": (
        dataset(good_annotation(), good_annotation()),
        ("repeated_annotation_id", "annotation 1", "its id is not unique"),
    ),
    "image twice": (
        dataset(images=[IMAGE, IMAGE]),
        ("repeated_image_id", "image 1", "its id is not unique"),
    ),
    "no height": (
        dataset(images=[{"id": 1, "file_name": "7/1.png", "width": 64}]),
        ("no_size", "image 1 (7/1.png)", "it has no height and width in pixels"),
    ),
    "width of 0": (with_image(width=0), ("no_size", "image 1 (7/1.png)", "size is 0 x 48 pixels")),
    "size that would fill the memory": (
        with_image(width=10**30, height=10**30),
        ("no_size", "image 1 (7/1.png)", "which no CT slice has"),
    ),
    "no file name": (with_image(file_name=""), ("faulty_image", "image 1", "it has no file_name")),
    "image that leads out": (
        with_image(file_name="../1.png"),
        ("faulty_image", "image 1 (../1.png)", "leads out of the image folder"),
    ),
    "damaged lung field": (
        with_image(lung_segmentation={"size": [48, 64], "counts": [5]}),
        ("bad_lung_field", "image 1 (7/1.png)", "runs add up to 5"),
    ),
    "no annotations": (
        dataset(annotations=None),
        ("missing_list", "'annotations'", "is missing or not a list"),
    ),
    "category without name": (
        dataset(categories=[{"id": 1}]),
        ("faulty_category", "category 1", "it has no name"),
    ),
}
WARNINGS = {
    "lung field of null": (
        with_image(lung_segmentation=None),
        ("no_lung_field", "image 1 (7/1.png)", "its lung_segmentation is null"),
    ),
    "box without width": (
        dataset(good_annotation(bbox=[10, 10, 0, 20])),
        ("flat_box", "annotation 1 of 7/1.png", "its bbox [10, 10, 0, 20] has no width"),
    ),
    "box beyond the image": (
        dataset(
            good_annotation(
                bbox=[10, 10, 20, 60], segmentation={"size": [48, 64], "counts": [3072]}
            )
        ),
        ("box_outside_image", "annotation 1 of 7/1.png", "exceeds 64 x 48 pixels"),
    ),
    "mask of no pixels": (
        dataset(good_annotation(segmentation={"size": [48, 64], "counts": [3072]})),
        ("empty_mask", "annotation 1 of 7/1.png", "its mask covers 0 pixels"),
    ),
    "box of another mask": (
        dataset(good_annotation(bbox=[14, 10, 20, 20])),
        ("box_not_of_mask", "annotation 1 of 7/1.png", "the mask's is [10.0, 10.0, 20.0, 20.0]"),
    ),
    "area of another mask": (
        dataset(good_annotation(area=600)),
        ("area_not_of_mask", "annotation 1 of 7/1.png", "its area is 600, the mask's is 400"),
    ),
    "polygon beyond the image": (
        dataset(
            good_annotation(
                segmentation=[[10, 10, 70, 10, 70, 30, 10, 30]], bbox=[10, 10, 54, 20], area=1080
            )
        ),
        ("mask_outside_image", "annotation 1 of 7/1.png", "a polygon exceeds 64 x 48 pixels"),
    ),
}


@pytest.mark.parametrize(("content", "expected"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_listed_with_its_place_and_the_loader_stops(content, expected):
    code, where, why = expected
    first = next(fault for fault in CocoChecker(content).faults() if fault.is_error)
    assert (first.code, first.where) == (code, where)
    assert why in first.why
    with pytest.raises(DatasetError) as error:
        check_coco_dataset("a.json", content)
    assert str(error.value).startswith(f"a.json: {where}: ")
    assert why in str(error.value)


@pytest.mark.parametrize(("content", "expected"), WARNINGS.values(), ids=WARNINGS)
def test_a_warning_is_listed_and_the_dataset_loads(content, expected):
    faults = {fault.code: fault for fault in CocoChecker(content).faults()}
    code, where, why = expected
    assert faults[code].where == where
    assert why in faults[code].why
    assert not any(fault.is_error for fault in faults.values())
    check_coco_dataset("a.json", content)


def test_a_sound_dataset_has_no_faults_and_its_masks_are_collected():
    image = IMAGE | {"lung_segmentation": LUNG}
    within_tolerance = good_annotation(bbox=[9, 9.5, 21.5, 21], area=361)
    checker = CocoChecker(dataset(within_tolerance, images=[image]))
    assert list(checker.faults()) == []
    [lesion] = checker.lesions["7/1.png"]
    assert coco_mask.area(lesion) == 400
    assert coco_mask.area(checker.lungs["7/1.png"]) == 2000


def test_annotations_of_a_faulty_image_are_not_reported_as_unlisted():
    content = dataset(good_annotation(), images=[{"id": 1, "file_name": "7/1.png"}])
    assert [fault.code for fault in CocoChecker(content).faults()] == ["no_size"]


FIELDS = st.sampled_from(
    ["id", "image_id", "category_id", "file_name", "width", "height", "bbox", "area"]
    + ["segmentation", "size", "counts", "lung_segmentation", "iscrowd", "name", "supercategory"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    images=st.lists(st.dictionaries(FIELDS, VALUES, max_size=6) | VALUES, max_size=3),
    changes=st.lists(st.dictionaries(FIELDS, VALUES, max_size=4), max_size=3),
    categories=VALUES,
)
def test_any_json_is_checked_without_a_crash_and_all_collected_masks_decode(
    images, changes, categories
):
    annotations = [good_annotation(id=n, segmentation=SQUARE) | c for n, c in enumerate(changes)]
    content = {"images": [IMAGE, *images], "annotations": annotations, "categories": categories}
    unify_coco(content)
    checker = CocoChecker(content)
    for fault in checker.faults():
        assert fault.where and fault.why
    for rles in checker.lesions.values():
        for rle in rles:
            coco_mask.decode(rle)
