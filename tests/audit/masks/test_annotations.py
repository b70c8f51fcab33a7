import pytest
from audit_toys import good_annotation
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.inputs.slices import AuditInput
from ct_lesion.audit.masks.annotations import check_annotations

FIELDS = st.sampled_from(
    ["id", "image_id", "category_id", "file_name", "width", "height", "bbox", "area"]
    + ["segmentation", "size", "counts", "lung_segmentation"]
)


def check(path):
    (one,) = read_inputs([str(path)])
    return check_annotations(one)


def test_a_sound_file_has_no_findings_and_its_masks_can_be_used(write_coco):
    checked = check(write_coco(good_annotation()))
    assert checked.findings == []
    assert len(checked.lesions["7/1.png"]) == 1


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"image_id": 99}, "annotation_of_no_image", "annotation 1: 99"),
        ({"image_id": [1]}, "annotation_of_no_image", "annotation 1: [1]"),
        ({"category_id": 5}, "unknown_category", "annotation 1: 5"),
        ({"segmentation": {"size": [48, 64], "counts": "0"}}, "bad_mask", "runs add up to 0"),
        ({"segmentation": {"size": [48, 64], "counts": [3072]}}, "empty_mask", "0 pixels"),
        ({"segmentation": None}, "no_mask", "no segmentation"),
        ({"bbox": None}, "bad_box", "None"),
        ({"bbox": [10, 10, 0, 20]}, "bad_box", "[10, 10, 0, 20]"),
        ({"bbox": [10, 10, 20, 60]}, "box_outside_image", "in 64 x 48"),
        ({"bbox": [14, 10, 20, 20]}, "box_not_of_mask", "the mask's is [10.0, 10.0, 20.0, 20.0]"),
        ({"bbox": [10, 10, 20, 10**400]}, "bad_box", "[10, 10, 20, 1000"),
        ({"area": 10**400}, "area_not_of_mask", "the mask's is 400"),
        ({"area": 600}, "area_not_of_mask", "600, the mask's is 400"),
        (
            {"segmentation": [[10, 10, 70, 10, 70, 30, 10, 30]], "bbox": [10, 10, 54, 20]},
            "mask_outside_image",
            "in 64 x 48",
        ),
    ],
)
def test_each_fault_is_told_with_its_image_annotation_and_reason(write_coco, changes, code, reason):
    findings = {f.code: f for f in check(write_coco(good_annotation(**changes))).findings}
    assert code in findings
    assert reason in findings[code].where[0]
    assert "1 annotation of 1" in findings[code].what


def test_small_differences_of_boxes_and_areas_are_no_faults(write_coco):
    annotation = good_annotation(bbox=[9, 9.5, 21.5, 21], area=361)  # of the outline
    assert check(write_coco(annotation)).findings == []


def test_the_same_id_twice_and_what_is_no_annotation(write_coco):
    findings = check(write_coco(good_annotation(), good_annotation(), "lesion")).findings
    assert {f.code for f in findings} == {"repeated_annotation_id", "faulty_annotation"}


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ({"id": 1, "file_name": "7/1.png", "width": 64}, "no_size"),
        ({"id": 1, "file_name": "7/1.png", "width": 0, "height": 48}, "no_size"),
        ({"id": 1, "file_name": "7/1.png", "width": 10**30, "height": 10**30}, "no_size"),
    ],
)
def test_an_image_without_a_size_is_told(write_coco, image, code):
    findings = check(write_coco(images=[image])).findings
    assert [f.code for f in findings] == [code]


def test_a_json_of_images_only_says_what_it_lacks(write_coco):
    checked = check(write_coco(annotations=None))
    assert checked.findings == []
    assert checked.not_checked[0].why == "the json has no list of annotations"


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
def test_whatever_a_json_holds_it_is_told_and_nothing_breaks(images, changes, categories):
    one = AuditInput("train", "mine", "COCO json", "here")
    image = {"id": 1, "file_name": "7/1.png", "width": 64, "height": 48}
    annotations = [good_annotation(id=n) | change for n, change in enumerate(changes)]
    one.coco = {"images": [image, *images], "annotations": annotations, "categories": categories}
    checked = check_annotations(one)
    for finding in checked.findings:
        assert finding.where
    for rles in checked.lesions.values():
        for rle in rles:
            coco_mask.decode(rle)
