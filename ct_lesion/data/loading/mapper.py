"""From a record of a classification dataset to what the model reads."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import read_8_bit

from .augmentation import build_augmentations

PASSED_ON = ("label", "file_name", "image_id", "patient", "scan", "height", "width")


class ClassificationMapper:
    """Map a record of e.g. ``covidx_ct_train`` to the input of a classification model.

    Gives a dict of ``image``, a uint8 tensor (3, H, W) in ``INPUT.FORMAT`` resized as Detectron2's
    own mapper would; ``height`` and ``width`` of the original; and ``label``, ``file_name``,
    ``image_id``, ``patient`` and ``scan`` as far as the record has them.
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
            is_train: a record must have a label then.
            augmentations: applied in their order; the paper only resizes.
            image_format: "RGB" or "BGR".
        """
        if image_format not in ("RGB", "BGR"):
            raise ValueError(
                f"INPUT.FORMAT is {image_format!r}; the classification mapper makes 8-bit images "
                "of three channels: RGB or BGR."
            )
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        augmentations = build_augmentations(cfg, is_train)
        if cfg.INPUT.CROP.ENABLED and is_train:  # as in Detectron2's own mapper
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, record: dict) -> dict:
        """Read, check and resize the slice of a record, which is left as it is.

        Raises:
            DatasetError: the image is missing, unreadable or of 16 bits, or a training record has
                no label.
            detectron2.data.detection_utils.SizeMismatchError: it has another size than recorded.
        """
        if self.is_train and "label" not in record:
            raise DatasetError(f"{record['file_name']}: a record without label cannot train.")
        mapped = {key: record[key] for key in PASSED_ON if key in record}
        image = utils.convert_PIL_to_numpy(read_8_bit(record["file_name"]), self.image_format)
        utils.check_image_size(mapped, image)  # also sets height and width where they are unknown
        augmented = T.AugInput(image)
        self.augmentations(augmented)
        # a copy in one piece: Detectron2 hands out read-only views, which torch must not share
        chw = np.array(augmented.image.transpose(2, 0, 1), order="C")
        mapped["image"] = torch.from_numpy(chw)
        return mapped
