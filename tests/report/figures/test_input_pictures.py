import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import BitMasks, Boxes, Instances
from PIL import Image

from ct_lesion.report.figures.input_pictures import contact_sheet, draw_ground_truth, draw_input

LESIONS = Metadata(thing_classes=["GGO", "Consolidation"])
CLASSES = Metadata(image_classes=["Control", "COVID-19"])


def mapped_slice(lesions: int) -> dict:
    masks = torch.zeros(lesions, 64, 64, dtype=torch.bool)
    masks[:, 20:40, 24:44] = True
    targets = Instances((64, 64), gt_masks=BitMasks(masks))
    targets.gt_boxes = Boxes(torch.tensor([[24.0, 20, 44, 40]] * lesions).reshape(-1, 4))
    targets.gt_classes = torch.zeros(lesions, dtype=torch.long)
    image = torch.full((3, 64, 64), 90, dtype=torch.uint8)
    return {"image": image, "instances": targets, "file_name": "p/1.png"}


def test_masks_are_drawn_at_their_place() -> None:
    picture = draw_input(mapped_slice(1), LESIONS, "RGB")
    assert (picture.label, picture.size, picture.pixels.shape) == (
        "1 lesion",
        (64, 64),
        (512, 512, 3),
    )
    # enlarged 8 times: a pixel inside the mask, and one outside, away from the text
    red, _, blue = picture.pixels[160 + 80, 192 + 80].astype(int)
    assert blue > red + 30  # the sky blue of the first class, over grey
    assert (picture.pixels[440, 450] == 90).all()


def test_inputs_in_bgr_are_shown_in_rgb() -> None:
    item = mapped_slice(0)
    item["image"][0] = 200
    assert draw_input(item, LESIONS, "BGR").pixels[300, 300].tolist() == [90, 90, 200]


@pytest.mark.parametrize(
    ("lesions", "label"), [(0, "no lesion"), (1, "1 lesion"), (2, "2 lesions")]
)
def test_labels_count_the_lesions(lesions: int, label: str) -> None:
    assert draw_input(mapped_slice(lesions), LESIONS, "RGB").label == label


def test_ground_truth_of_a_class_and_of_a_lesion_free_slice(tmp_path) -> None:
    path = tmp_path / "1.png"
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(path)
    record = {"file_name": str(path), "label": 1}
    pictures = [draw_ground_truth(record, CLASSES)]
    pictures += [draw_ground_truth(record | {"annotations": []}, LESIONS)]
    assert [picture.label for picture in pictures] == ["COVID-19", "no lesion"]
    assert pictures[0].size == (40, 60)
    assert draw_ground_truth({"file_name": str(path)}, CLASSES).label == "no label"
    titles = [axis.get_title() for axis in contact_sheet(pictures, "toy").axes]
    assert titles[0].startswith("1: COVID-19, 40 x 60\n")
    assert titles[1].startswith("2: no lesion, 40 x 60\n")
