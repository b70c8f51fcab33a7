import json

import pytest
from audit_toys import good_annotation
from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.audit.findings import Severity
from ct_lesion.audit.inputs.arguments import read_inputs
from ct_lesion.audit.masks.annotations import KINDS, check_annotations
from ct_lesion.data.datasets.cncb import register_cncb_lesion
from ct_lesion.data.datasets.coco_checks import WARNINGS


def check(argument):
    (dataset,) = read_inputs([str(argument)])
    return dataset, check_annotations(dataset)


def test_a_sound_file_has_no_findings_and_its_masks_can_be_used(write_coco):
    _, checked = check(write_coco(good_annotation()))
    assert checked.findings == []
    assert len(checked.lesions["7/1.png"]) == 1


def test_faults_of_one_kind_make_one_finding_with_every_place(write_coco):
    annotations = [good_annotation(id=1, image_id=99), good_annotation(id=2, image_id=98)]
    _, checked = check(write_coco(*annotations, good_annotation(id=3)))
    (finding,) = checked.findings
    assert (finding.code, finding.severity) == ("annotation_of_no_image", Severity.ERROR)
    assert finding.what == "lesions.json: 2 of 3 annotations have an image_id that is not listed."
    assert finding.where == [
        "annotation 1: image 99 is not listed",
        "annotation 2: image 98 is not listed",
    ]


def test_a_fault_that_can_be_trained_on_is_a_warning(write_coco):
    _, checked = check(write_coco(good_annotation(bbox=[10, 10, 0, 20])))
    (finding,) = checked.findings
    assert (finding.code, finding.severity) == ("flat_box", Severity.WARNING)


def test_every_warning_has_a_description():
    assert KINDS.keys() >= WARNINGS


def test_a_json_without_annotations_is_an_error(write_coco):
    _, checked = check(write_coco(annotations=None))
    assert [f.code for f in checked.findings] == ["missing_list"]


@pytest.fixture
def registered(write_coco, tmp_path):
    """A registered dataset with three faults, two of them errors."""
    image = {"id": 1, "file_name": "7/1.png", "width": 64, "height": 48, "patient": 7}
    path = write_coco(
        good_annotation(category_id=5, area=600),
        good_annotation(id=2, image_id=99),
        images=[image | {"lung_segmentation": None}],
    )
    register_cncb_lesion("faulty_lesions", str(path), str(tmp_path))
    yield "faulty_lesions", path
    DatasetCatalog.remove("faulty_lesions")
    MetadataCatalog.remove("faulty_lesions")


def test_a_registered_dataset_and_its_file_have_the_same_faults(registered):
    name, path = registered
    dataset, by_name = check(name)
    _, by_file = check(path)
    assert [(f.code, f.where) for f in by_name.findings] == [
        (f.code, f.where) for f in by_file.findings
    ]
    assert {f.code for f in by_name.findings} == {
        "no_lung_field",
        "unknown_category",
        "annotation_of_no_image",
        "area_not_of_mask",
    }
    (finding,) = dataset.findings  # that the dataset cannot be loaded, with the first error
    assert finding.code == "cannot_be_loaded"
    assert "annotation 1: category 5 is not listed" in finding.what


def test_a_registered_dataset_with_a_damaged_json_is_refused(registered):
    name, path = registered
    path.write_text(json.dumps({"images": []})[:-3])
    with pytest.raises(ValueError, match="is damaged"):
        read_inputs([name])
