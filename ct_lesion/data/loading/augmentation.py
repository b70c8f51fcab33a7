"""Training augmentation from the config, with Detectron2's transforms."""

import copy

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from ct_lesion.errors import DatasetError, reason
from ct_lesion.pictures import read_8_bit


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Detectron2's resizing and flipping; in training also the augmentation of our ``INPUT`` keys.

    Args:
        cfg: its ``INPUT`` section is read.
        is_train: evaluation only resizes.
    """
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
    """Detectron2's ``DatasetMapper`` with our checked picture reader.

    Detectron2's reader returns black pixels for a damaged PNG and saturates 16-bit images at 255,
    both without an error.
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
                f"{path}: its size differs from the dataset's record ({reason(error)}). Prepare "
                "the dataset again."
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
        """Handle slices without lesions, on which Detectron2's method fails for lack of masks."""
        if any(annotation.get("iscrowd", 0) == 0 for annotation in record["annotations"]):
            super()._transform_annotations(record, transforms, size)
        else:
            del record["annotations"]
            record["instances"] = utils.annotations_to_instances([], size)


def build_lesion_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper:
    """Build a :class:`LesionMapper` with the augmentation of :func:`build_augmentations`.

    With rotation or cropping, boxes are computed from the transformed masks, so that they stay
    tight.
    """
    return LesionMapper(
        cfg,
        is_train=is_train,
        augmentations=build_augmentations(cfg, is_train),
        recompute_boxes=is_train
        and cfg.MODEL.MASK_ON
        and (cfg.INPUT.ROTATION > 0 or cfg.INPUT.CROP.ENABLED),
    )
