"""Training augmentation from the config, with Detectron2's transforms."""

import copy

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import read_8_bit


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Detectron2's resizing and flipping; in training also those of our keys below ``INPUT``."""
    augmentations = utils.build_augmentation(cfg, is_train)
    if not is_train:
        return augmentations
    if cfg.INPUT.CROP.ENABLED:  # as in Detectron2's mapper
        augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    if cfg.INPUT.VERTICAL_FLIP:
        augmentations.append(T.RandomFlip(horizontal=False, vertical=True))
    if cfg.INPUT.ROTATION > 0:
        limit = cfg.INPUT.ROTATION
        augmentations.append(T.RandomRotation([-limit, limit], expand=False))
    if cfg.INPUT.INTENSITY > 0:
        low, high = 1 - cfg.INPUT.INTENSITY, 1 + cfg.INPUT.INTENSITY
        augmentations += [T.RandomBrightness(low, high), T.RandomContrast(low, high)]
    return augmentations


class LesionMapper(DatasetMapper):
    """Detectron2's ``DatasetMapper`` with our checked picture reader in place of Detectron2's.

    Detectron2's reader ignores the error of a damaged PNG and returns black pixels, and saturates
    16-bit images at 255.
    """

    def __call__(self, dataset_dict: dict) -> dict:
        """Map a record to the model's input as Detectron2's mapper does.

        Raises:
            DatasetError: the image is missing, unreadable, too large or of 16 bits, or its size
                differs from the record's.
        """
        record = copy.deepcopy(dataset_dict)
        path = record["file_name"]
        image = utils.convert_PIL_to_numpy(read_8_bit(path), self.image_format)
        try:
            utils.check_image_size(record, image)
        except utils.SizeMismatchError as error:
            raise DatasetError(
                f"{path}: its size differs from the dataset's record: prepare the dataset again "
                f"({error})"
            ) from None
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        height, width = augmented.image.shape[:2]
        chw = np.ascontiguousarray(augmented.image.transpose(2, 0, 1))
        record["image"] = torch.as_tensor(chw)
        if self.proposal_topk is not None:
            utils.transform_proposals(
                record, (height, width), transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            record.pop("annotations", None)
        elif "annotations" in record:
            self._transform_annotations(record, transforms, (height, width))
        return record

    def _transform_annotations(
        self, record: dict, transforms: T.Transform, size: tuple[int, int]
    ) -> None:
        """Detectron2's method, which asks for the masks of slices that have no lesion."""
        if any(one.get("iscrowd", 0) == 0 for one in record["annotations"]):
            super()._transform_annotations(record, transforms, size)
        else:
            del record["annotations"]
            record["instances"] = utils.annotations_to_instances([], size)


def build_lesion_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper:
    """A :class:`LesionMapper` with :func:`build_augmentations`.

    Boxes are taken from the transformed masks, so that they stay tight when rotated or cropped.
    """
    return LesionMapper(
        cfg,
        is_train=is_train,
        augmentations=build_augmentations(cfg, is_train),
        recompute_boxes=is_train
        and cfg.MODEL.MASK_ON
        and (cfg.INPUT.ROTATION > 0 or cfg.INPUT.CROP.ENABLED),
    )
