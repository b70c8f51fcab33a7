import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from PIL import Image

from ct_lesion import load_config
from ct_lesion.data.loading.augmentation import build_augmentations, build_lesion_mapper
from ct_lesion.errors import DatasetError


@pytest.fixture
def cfg(datasets):
    sizes = ["INPUT.MIN_SIZE_TRAIN", "[64]", "INPUT.MIN_SIZE_TEST", "64"]
    return load_config("segmentation/resnet18_t2.yaml", sizes)


def names(cfg, is_train: bool) -> list[str]:
    return [type(a).__name__ for a in build_augmentations(cfg, is_train)]


def test_the_paper_only_resizes(cfg):
    assert names(cfg, is_train=True) == names(cfg, is_train=False) == ["ResizeShortestEdge"]


def test_keys_add_their_augmentation_to_training_only(cfg):
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    cfg.INPUT.VERTICAL_FLIP = True
    cfg.INPUT.ROTATION = 10.0
    cfg.INPUT.INTENSITY = 0.2
    assert names(cfg, is_train=True)[1:] == [
        "RandomFlip",
        "RandomFlip",
        "RandomRotation",
        "RandomBrightness",
        "RandomContrast",
    ]
    assert names(cfg, is_train=False) == ["ResizeShortestEdge"]


def test_rotated_boxes_stay_tight_around_their_masks(cfg):
    cfg.INPUT.ROTATION = 30.0
    mapped = build_lesion_mapper(cfg, is_train=True)(DatasetCatalog.get("cncb_lesion_train")[0])
    instances = mapped["instances"]
    for box, mask in zip(instances.gt_boxes.tensor, instances.gt_masks.tensor, strict=True):
        rows, columns = np.nonzero(mask.numpy())
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        torch.testing.assert_close(box, torch.tensor(tight, dtype=torch.float32))


def test_the_mapper_equals_detectron2s_and_opens_the_file_once(cfg, monkeypatch):
    record = DatasetCatalog.get("cncb_lesion_train")[0]
    for is_train in (True, False):
        expected = DatasetMapper(
            cfg, is_train=is_train, augmentations=build_augmentations(cfg, is_train)
        )(record)
        monkeypatch.setattr(Image, "open", spy := CountingOpen(Image.open))
        mapped = build_lesion_mapper(cfg, is_train)(record)
        monkeypatch.undo()
        assert spy.calls == 1
        assert mapped.keys() == expected.keys()
        torch.testing.assert_close(mapped["image"], expected["image"], rtol=0, atol=0)
        assert ("instances" in mapped) == is_train
        if is_train:
            ours, theirs = mapped["instances"], expected["instances"]
            assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
            assert torch.equal(ours.gt_masks.tensor, theirs.gt_masks.tensor)


class CountingOpen:
    """``Image.open`` that counts its calls."""

    def __init__(self, original):
        self.original, self.calls = original, 0

    def __call__(self, *args, **options):
        self.calls += 1
        return self.original(*args, **options)


def test_an_exif_rotated_picture_is_mapped_upright(cfg, tmp_path):
    pixels = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) * 10
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: a quarter turn clockwise makes it upright
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    cfg.INPUT.MIN_SIZE_TEST = 4
    record = {"file_name": str(path), "image_id": 1, "width": 6, "height": 4}
    image = build_lesion_mapper(cfg, is_train=False)(record)["image"]
    np.testing.assert_array_equal(image[0].numpy(), np.rot90(pixels, -1))
    with pytest.raises(DatasetError, match=r"turned\.png: its size differs from the dataset"):
        build_lesion_mapper(cfg, is_train=False)({**record, "width": 4, "height": 6})


def test_boxes_of_a_cropped_slice_fit_its_cropped_masks(cfg):
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [40, 40]
    assert names(cfg, is_train=True) == ["RandomCrop", "ResizeShortestEdge"]
    assert names(cfg, is_train=False) == ["ResizeShortestEdge"]
    mapper, record = (
        build_lesion_mapper(cfg, is_train=True),
        DatasetCatalog.get("cncb_lesion_train")[0],
    )
    for _ in range(5):
        mapped = mapper(record)
        assert mapped["image"].shape == (3, 64, 64)  # 40 x 40, enlarged
        instances = mapped["instances"]
        masks = instances.gt_masks.get_bounding_boxes().tensor if len(instances) else None
        assert masks is None or torch.equal(instances.gt_boxes.tensor, masks)
