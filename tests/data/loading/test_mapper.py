"""The classification mapper."""

import struct
import zlib

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.detection_utils import SizeMismatchError
from PIL import Image

from ct_lesion import add_ct_lesion_config
from ct_lesion.data.loading.mapper import ClassificationMapper
from ct_lesion.errors import DatasetError


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_ct_lesion_config(cfg)
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.MIN_SIZE_TRAIN = (20,)
    cfg.INPUT.MIN_SIZE_TEST = 40
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = 100
    return cfg


@pytest.fixture
def record(tmp_path):
    """A grey slice of 10 x 20 pixels (height x width), bright on its right half."""
    pixels = np.zeros((10, 20), np.uint8)
    pixels[:, 10:] = 200
    path = tmp_path / "NCP_1_2_0003.png"
    Image.fromarray(pixels).save(path)
    return {
        "file_name": str(path),
        "image_id": "NCP_1_2_0003",
        "height": 10,
        "width": 20,
        "label": 2,
        "patient": "1",
        "scan": "2",
        "slice": "0003",
        "body_box": [0, 0, 20, 10],
    }


def png(width: int, height: int, bits: int, colour: int, channels: int) -> bytes:
    """A PNG whose bytes are all 128, written by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    rows = (b"\0" + b"\x80" * (width * channels * bits // 8)) * height
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_output_is_an_image_with_its_label_and_ids(cfg, record):
    before = dict(record)
    mapped = ClassificationMapper(cfg, is_train=True)(record)
    image = mapped.pop("image")
    assert image.dtype == torch.uint8 and image.shape == (3, 20, 40) and image.is_contiguous()
    assert image[:, :, :15].max() == 0 and image[:, :, -15:].min() == 200
    assert mapped == {
        "file_name": record["file_name"],
        "image_id": "NCP_1_2_0003",
        "height": 10,  # of the original
        "width": 20,
        "label": 2,
        "patient": "1",
        "scan": "2",
    }
    assert record == before


def test_test_size_is_used_at_test(cfg, record):
    assert ClassificationMapper(cfg, is_train=False)(record)["image"].shape == (3, 40, 80)


def test_augmentations_of_the_config_are_used_in_training_only(cfg, record):
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "absolute"
    cfg.INPUT.CROP.SIZE = [10, 10]
    training, test = (ClassificationMapper(cfg, is_train=t) for t in (True, False))
    images = [training(record)["image"] for _ in range(20)]
    assert {tuple(i.shape) for i in images} == {(3, 20, 20)}
    assert len({i.numpy().tobytes() for i in images}) > 1
    assert len({test(record)["image"].numpy().tobytes() for _ in range(5)}) == 1


def test_format_orders_the_channels(cfg, record):
    Image.new("RGB", (20, 10), (10, 20, 30)).save(record["file_name"])
    assert ClassificationMapper(cfg, True)(record)["image"][:, 0, 0].tolist() == [10, 20, 30]
    cfg.INPUT.FORMAT = "BGR"
    assert ClassificationMapper(cfg, True)(record)["image"][:, 0, 0].tolist() == [30, 20, 10]


@pytest.mark.parametrize("image_format", ["L", "YUV-BT.601"])
def test_other_formats_are_refused(cfg, image_format):
    cfg.INPUT.FORMAT = image_format
    with pytest.raises(
        ValueError, match=f"INPUT.FORMAT is '{image_format}', expected one of RGB, BGR"
    ):
        ClassificationMapper(cfg, is_train=True)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_16_bit_images_are_refused_with_the_file_name(cfg, record, tmp_path, colour, channels):
    path = tmp_path / "wide.png"
    path.write_bytes(png(20, 10, 16, colour, channels))
    Image.open(path).load()  # it is a valid image
    with pytest.raises(DatasetError, match=r"wide\.png is a 16-bit image.*window_to_uint8"):
        ClassificationMapper(cfg, True)({**record, "file_name": str(path)})
    path.write_bytes(png(20, 10, 8, colour, channels))
    image = ClassificationMapper(cfg, True)({**record, "file_name": str(path)})["image"]
    assert image.unique().tolist() == [128]


def test_a_size_that_differs_from_the_record_is_refused_with_the_file_name(cfg, record):
    with pytest.raises(SizeMismatchError, match=r"NCP_1_2_0003\.png.*\(20, 10\), expect \(21, 10"):
        ClassificationMapper(cfg, True)({**record, "width": 21})


def test_missing_empty_and_damaged_files_are_named(cfg, record, tmp_path):
    mapper = ClassificationMapper(cfg, is_train=True)
    with pytest.raises(DatasetError, match=r"gone\.png .*No such file"):
        mapper({**record, "file_name": str(tmp_path / "gone.png")})
    whole = png(20, 10, 8, 0, 1)
    for name, content, message in (
        ("empty.png", b"", "is empty"),
        ("text.png", b"no image", "is not a picture"),
        ("short.png", whole[:50], "cannot be read as a picture"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name} {message}"):
            mapper({**record, "file_name": str(tmp_path / name)})


def test_training_needs_a_label(cfg, record):
    del record["label"]
    with pytest.raises(DatasetError, match=r"NCP_1_2_0003\.png: its record has no label"):
        ClassificationMapper(cfg, is_train=True)(record)
    assert "label" not in ClassificationMapper(cfg, is_train=False)(record)


def test_detectron2s_loaders_batch_it(cfg, record):
    records = [{**record, "image_id": str(i)} for i in range(5)]
    test = build_detection_test_loader(
        records, mapper=ClassificationMapper(cfg, is_train=False), batch_size=2
    )
    assert [[r["image_id"] for r in batch] for batch in test] == [["0", "1"], ["2", "3"], ["4"]]
    training = build_detection_train_loader(
        records,
        mapper=ClassificationMapper(cfg, is_train=True),
        total_batch_size=4,
        num_workers=0,
    )
    assert [r["label"] for r in next(iter(training))] == [2, 2, 2, 2]
