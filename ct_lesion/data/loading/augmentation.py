"""Training augmentation from the config: Detectron2's own transforms."""

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError, build_augmentation

from ct_lesion.errors import DatasetError
from ct_lesion.image_header import check_8_bit
from ct_lesion.pictures import open_picture


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Detectron2's resizing and flipping, and what the keys below ``INPUT`` add in training."""
    augmentations = build_augmentation(cfg, is_train)
    if not is_train:
        return augmentations
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
    """Detectron2's ``DatasetMapper`` for files that are looked at before they are decoded."""

    def __call__(self, dataset_dict: dict) -> dict:
        """As Detectron2's.

        Raises:
            DatasetError: the image is none, has 16 bits, is too large, cannot be decoded, or has
                another size than its dataset says.
        """
        path = dataset_dict["file_name"]
        check_8_bit(path)
        # decoded twice: Detectron2's reader passes over the error of a damaged PNG, looking for its
        # orientation, and then gives black pixels
        with open_picture(path) as image:
            image.load()
        try:
            return super().__call__(dataset_dict)
        except SizeMismatchError as error:
            raise DatasetError(
                f"{path}: has another size than its dataset says: prepare it again ({error})"
            ) from None


def build_lesion_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper:
    """A :class:`LesionMapper` with :func:`build_augmentations`.

    Boxes are taken from the transformed masks, so that they stay tight under rotation.
    """
    return LesionMapper(
        cfg,
        is_train=is_train,
        augmentations=build_augmentations(cfg, is_train),
        recompute_boxes=is_train and cfg.MODEL.MASK_ON and cfg.INPUT.ROTATION > 0,
    )
