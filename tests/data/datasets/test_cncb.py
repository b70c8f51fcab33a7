import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.data.datasets.lesion_masks import MASK_TYPES
from ct_lesion.errors import DatasetError


@pytest.mark.parametrize("mask_type", MASK_TYPES.values(), ids=MASK_TYPES)
def test_shipped_names_load_with_their_classes(datasets, mask_type):
    for split in ("train", "test"):
        name = f"{mask_type.dataset}_{split}"
        records = DatasetCatalog.get(name)
        assert len(records) == 6
        assert MetadataCatalog.get(name).thing_classes == list(mask_type.classes)
        assert MetadataCatalog.get(name).json_file == str(
            datasets / f"cncb/annotations/{name}.json"
        )


def test_records_keep_what_detectron2_drops(datasets):
    record = DatasetCatalog.get("cncb_lesion_test")[0]
    assert (record["patient"], record["scan"], record["slice"]) == ("2", "2", "0")
    assert record["lung_area"] == 52 * 52
    assert set(record["lung_segmentation"]) == {"size", "counts"}
    assert len(record["annotations"]) == 2


def test_the_folder_is_looked_up_when_a_dataset_is_loaded(datasets, monkeypatch, tmp_path):
    DatasetCatalog.get("cncb_lesion_test")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "elsewhere"))
    with pytest.raises(DatasetError) as error:
        DatasetCatalog.get("cncb_lesion_test")
    message = str(error.value)
    assert f"{tmp_path}/elsewhere/cncb/annotations/cncb_lesion_test.json does not exist" in message
    assert f"DETECTRON2_DATASETS is {tmp_path}/elsewhere" in message
    assert "ct-lesion prepare-cncb" in message


def test_users_can_register_lesion_datasets(register_toy):
    name = register_toy("my_lesions", "cncb_ggo_consolidation", "train")
    records = DatasetCatalog.get(name)
    assert {a["category_id"] for r in records for a in r["annotations"]} == {0, 1}
    assert MetadataCatalog.get(name).thing_classes == ["GGO", "Consolidation"]
    assert MetadataCatalog.get(name).evaluator_type == "coco"
