"""The CNCB lesion datasets, registered with Detectron2.

Registered at import: ``cncb_lesion_{train,val,test}``, ``cncb_ggo_consolidation_{train,val,test}``
and ``cncb_ggo_{train,val,test}``. They are read from ``$DETECTRON2_DATASETS/cncb``, as
``tools/prepare_cncb.py`` writes it. The environment variable is read when a dataset is loaded, so
it may be set after the import.
"""

from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from ct_lesion.errors import DatasetError
from ct_lesion.json_files import read_json

from .catalog import datasets_root, describe_root, keep_window, replace_metadata
from .coco_checks import ADVICE, check_coco_dataset
from .lesion_coco import IMAGE_FOLDER, annotation_file
from .lesion_masks import MASK_TYPES
from .splits import SPLITS

IMAGE_FIELDS = ("patient", "scan", "slice", "lung_area", "lung_segmentation")
"""Fields of the json's images that Detectron2's loader drops."""


def register_cncb_lesion(name: str, json_file: str, image_root: str) -> None:
    """Register your own lesion dataset in COCO json.

    The records carry patient, scan, slice, lung area and lung field if the json has them.

    Args:
        name: for ``cfg.DATASETS.TRAIN`` or ``TEST``.
        json_file: written by ``tools/prepare_cncb.py``.
        image_root: folder that the file names in the json are relative to.
    """
    DatasetCatalog.register(name, lambda: load_cncb_lesion(name, json_file, image_root))
    MetadataCatalog.get(name).set(
        json_file=str(json_file), image_root=str(image_root), evaluator_type="coco"
    )


def load_cncb_lesion(name: str, json_file: str | Path, image_root: str | Path) -> list[dict]:
    """Records in Detectron2's format, with the :data:`IMAGE_FIELDS` that its loader drops.

    The dataset's metadata gets the class names and the ``window`` of the json.

    Raises:
        DatasetError: the json file or the image folder is missing, or the json file has an error
            (see :func:`check_coco_dataset`).
    """
    for path in (json_file, image_root):
        if not Path(path).exists():
            raise DatasetError(
                f"Dataset {name}: {path} does not exist ({describe_root()}). "
                "Make it with: python tools/prepare_cncb.py ct_lesion_seg.zip --output "
                f"{datasets_root() / 'cncb'}"
            )
    content = read_json(json_file, dict, DatasetError, ADVICE)
    check_coco_dataset(json_file, content)
    keep_window(name, json_file, content)
    records = load_coco_json(str(json_file), str(image_root), name)
    images = {image["id"]: image for image in content["images"]}
    for record in records:
        image = images[record["image_id"]]
        record.update({field: image[field] for field in IMAGE_FIELDS if field in image})
    return records


def _register_shipped() -> None:
    for mask_type in MASK_TYPES.values():
        for split in SPLITS:
            _register_lazily(f"{mask_type.dataset}_{split}", mask_type.dataset, split)


def _register_lazily(name: str, dataset: str, split: str) -> None:
    """Register a dataset whose path is only known when it is loaded."""

    def load() -> list[dict]:
        root = datasets_root() / "cncb"
        json_file, image_root = root / annotation_file(dataset, split), root / IMAGE_FOLDER
        replace_metadata(name, json_file=str(json_file), image_root=str(image_root))
        return load_cncb_lesion(name, json_file, image_root)

    if name not in DatasetCatalog:
        DatasetCatalog.register(name, load)
        classes = next(list(m.classes) for m in MASK_TYPES.values() if m.dataset == dataset)
        MetadataCatalog.get(name).set(thing_classes=classes, evaluator_type="coco")


_register_shipped()
