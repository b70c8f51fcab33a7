"""Maps records of a classification dataset to inputs of the model."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from ct_lesion.config_values import check_choice
from ct_lesion.errors import DatasetError
from ct_lesion.pictures import read_8_bit

from .augmentation import build_augmentations

PASSED_ON = ("label", "file_name", "image_id", "patient", "scan", "height", "width")
"""Fields of a record that are copied to the model's input."""


class ClassificationMapper:
    """Map a record of e.g. ``covidx_ct_train`` to the input of a classification model.

    The input is a dict of ``image``, a uint8 tensor (3, H, W) in ``INPUT.FORMAT``, resized as by
    Detectron2's mapper; ``height`` and ``width`` of the original slice; and the record's fields
    in :data:`PASSED_ON`.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
    ) -> None:
        """
        Args:
            is_train: records must have a label.
            augmentations: applied in this order; the paper only resizes.
            image_format: "RGB" or "BGR".
        """
        check_choice("INPUT.FORMAT", image_format)
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, record: dict) -> dict:
        """Read, check and resize the slice of a record; the record is not changed.

        Raises:
            DatasetError: the image is missing, unreadable or of 16 bits, or a training record has
                no label.
            detectron2.data.detection_utils.SizeMismatchError: its size differs from the record's.
        """
        if self.is_train and "label" not in record:
            raise DatasetError(
                f"{record['file_name']}: its record has no label, which training needs. Prepare "
                "the dataset again."
            )
        mapped = {key: record[key] for key in PASSED_ON if key in record}
        image = utils.convert_PIL_to_numpy(read_8_bit(record["file_name"]), self.image_format)
        utils.check_image_size(mapped, image)  # also sets missing height and width
        augmented = T.AugInput(image)
        self.augmentations(augmented)
        # a contiguous copy, because Detectron2 returns read-only views, which torch must not share
        chw = np.array(augmented.image.transpose(2, 0, 1), order="C")
        mapped["image"] = torch.from_numpy(chw)
        return mapped
