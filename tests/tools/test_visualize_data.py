"""Pictures of the toy datasets, whose slices are 64 x 64 and enlarged to 512 x 512."""

from collections import Counter

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

SEGMENTER = ["INPUT.MIN_SIZE_TRAIN", [64], "SEED", 3]
LESION_FREE = "DATALOADER.FILTER_EMPTY_ANNOTATIONS"


@pytest.fixture
def visualize(run_tool, datasets):
    def run(source, *arguments, config="segmentation/resnet18_t1_both.yaml"):
        options = ["--source", source, "--config-file", config, "--output-dir", "out"]
        return run_tool("visualize_data.py", *options, *arguments)

    return run


def coloured(path):
    """Share of the pixels that are not grey."""
    return float((np.ptp(cv2.imread(str(path)), axis=2) > 30).mean())


def test_every_slice_is_drawn_as_annotated(visualize, tmp_path):
    done = visualize("annotation", *SEGMENTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Written: out/contact_sheet.png and a PNG for each slice\n")
    # two patients of three slices, of which the last has no lesion
    pictures = sorted((tmp_path / "out").glob("0*.png"))
    assert Counter(path.stem.partition("_")[2] for path in pictures) == {"0": 2, "1": 2, "2": 2}
    for path in pictures:
        assert cv2.imread(str(path)).shape == (512, 512, 3)
        # 120 and 72 of 64 x 64 pixels are lesions
        assert (coloured(path) > 0.01) == (not path.stem.endswith("_2")), path
    assert cv2.imread(str(tmp_path / "out/contact_sheet.png")) is not None
    again = visualize("annotation", *SEGMENTER)
    assert again.returncode == 2
    assert "already holds a set of pictures" in again.stderr


def test_the_same_seed_draws_the_same_inputs(visualize, tmp_path):
    arguments = ["--limit", 4, *SEGMENTER, LESION_FREE, False, "INPUT.ROTATION", 45.0]
    assert visualize("dataloader", *arguments).returncode == 0
    pictures = {p.name: p.read_bytes() for p in (tmp_path / "out").glob("0*.png")}
    assert len(pictures) == 4
    assert visualize("dataloader", "--overwrite", *arguments).returncode == 0
    assert pictures == {p.name: p.read_bytes() for p in (tmp_path / "out").glob("0*.png")}


def test_classes_are_written_on_the_slices(visualize, tmp_path):
    def labelled():
        keys = ("file_name", "image_id", "height", "width", "patient")
        return [
            {key: record[key] for key in keys} | {"label": number % 2}
            for number, record in enumerate(DatasetCatalog.get("cncb_lesion_train"))
        ]

    DatasetCatalog.register("toy_classes", labelled)
    MetadataCatalog.get("toy_classes").set(image_classes=["Control", "COVID-19"])
    overrides = ["DATASETS.TRAIN", "('toy_classes',)", "MODEL.CLASSIFIER.NUM_CLASSES", 2]
    overrides += ["INPUT.MIN_SIZE_TRAIN", [64]]
    try:
        for source in ("annotation", "dataloader"):
            done = visualize(
                source, "--overwrite", "--limit", 2, *overrides, config="quick/classification.yaml"
            )
            assert done.returncode == 0, done.stderr
            first, second = sorted((tmp_path / "out").glob("0*.png"))
            assert coloured(first) == coloured(second) == 0
    finally:
        DatasetCatalog.remove("toy_classes")
        MetadataCatalog.remove("toy_classes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", 0], "--limit is 0"),
        (["DATASETS.TRAIN", "('covidx_ct_train',)"], "covidx_ct_train is not a lesion dataset"),
        (["DATASETS.TRAIN", "('nothing',)"], "'nothing', which is not registered"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(visualize, tmp_path, arguments, message):
    done = visualize("annotation", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
