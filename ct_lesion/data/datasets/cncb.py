"""The CNCB lesion datasets, registered with Detectron2.

Registered at import: ``cncb_lesion_{train,val,test}``, ``cncb_ggo_consolidation_{train,val,test}``
and ``cncb_ggo_{train,val,test}``. They are read from ``$DETECTRON2_DATASETS/cncb``, which
``tools/prepare_cncb.py`` writes. The environment variable is read when a dataset is loaded, so it
may be set after the import.
"""

from collections import defaultdict
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from ct_lesion.errors import DatasetError

from .catalog import datasets_root, describe_root, keep_window, replace_metadata
from .coco_checks import check_coco_dataset
from .coco_files import read_coco
from .lesion_coco import IMAGE_FOLDER, annotation_file
from .lesion_masks import MASK_TYPES, MaskType
from .splits import SPLITS

IMAGE_FIELDS = ("patient", "scan", "slice", "lung_area", "lung_segmentation")
"""Fields of the json's images that Detectron2's loader drops."""


def register_cncb_lesion(name: str, json_file: str, image_root: str) -> None:
    """Register your own lesion dataset in COCO json.

    The records carry patient, scan, slice, lung area and lung field if the json has them.

    Args:
        name: name to use in ``cfg.DATASETS.TRAIN`` or ``TEST``.
        json_file: written by ``tools/prepare_cncb.py`` or another tool (see :mod:`.coco_files`).
        image_root: folder that the file names in the json are relative to.
    """
    DatasetCatalog.register(name, lambda: load_cncb_lesion(name, json_file, image_root))
    MetadataCatalog.get(name).set(
        json_file=str(json_file), image_root=str(image_root), evaluator_type="coco"
    )


def load_cncb_lesion(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    *,
    advice: str = "Correct the path given to register_cncb_lesion().",
) -> list[dict]:
    """Load records as Detectron2's COCO loader does, with the :data:`IMAGE_FIELDS` that it drops.

    Missing values are filled in (see :func:`read_coco`). The class names and the ``window`` of the
    json become metadata of the dataset.

    Args:
        name: name of the dataset.
        json_file, image_root: see :func:`register_cncb_lesion`.
        advice: end of the message about a missing file.

    Raises:
        DatasetError: the json file or the image folder is missing, the json file has an error (see
            :func:`check_coco_dataset`), or its categories are not the classes of ``name``.
    """
    for path in (json_file, image_root):
        if not Path(path).exists():
            raise DatasetError(f"Dataset {name}: {path} does not exist. {advice}")
    content = read_coco(json_file)
    check_coco_dataset(json_file, content)
    keep_window(name, json_file, content)
    class_indices = _set_classes(name, json_file, content["categories"])
    annotations: dict[int, list[dict]] = defaultdict(list)
    for annotation in content["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    return [
        {
            "file_name": f"{image_root}/{image['file_name']}",
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": [_instance(a, class_indices) for a in annotations[image["id"]]],
        }
        | {field: image[field] for field in IMAGE_FIELDS if field in image}
        for image in sorted(content["images"], key=lambda image: image["id"])
    ]


def _set_classes(name: str, json_file: str | Path, categories: list[dict]) -> dict[int, int]:
    """Set the classes of a dataset; returns the class index of each category id."""
    categories = sorted(categories, key=lambda category: category["id"])
    names = [category["name"] for category in categories]
    known = MetadataCatalog.get(name).get("thing_classes", names)
    if names != known:
        raise DatasetError(
            f"{json_file}: its categories are {', '.join(names)} in the order of their ids, but "
            f"dataset {name} has {', '.join(known)}. Correct the file, or register it under a new "
            "name with register_cncb_lesion()."
        )
    indices = {category["id"]: index for index, category in enumerate(categories)}
    replace_metadata(name, thing_classes=names, thing_dataset_id_to_contiguous_id=indices)
    return indices


def _instance(annotation: dict, class_indices: dict[int, int]) -> dict:
    mask = annotation["segmentation"]
    if isinstance(mask, dict) and isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, *mask["size"])
    return {
        "iscrowd": annotation["iscrowd"],
        "bbox": annotation["bbox"],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": class_indices[annotation["category_id"]],
        "segmentation": mask,
    }


def _register_shipped(mask_type: MaskType, split: str) -> None:
    """Register a dataset whose path is only known when it is loaded."""
    name = f"{mask_type.dataset}_{split}"

    def load() -> list[dict]:
        root = datasets_root() / "cncb"
        json_file = root / annotation_file(mask_type.dataset, split)
        image_root = root / IMAGE_FOLDER
        replace_metadata(name, json_file=str(json_file), image_root=str(image_root))
        advice = (
            f"{describe_root()}. Make the dataset with: ct-lesion prepare-cncb "
            f"ct_lesion_seg.zip --output {root}"
        )
        return load_cncb_lesion(name, json_file, image_root, advice=advice)

    if name not in DatasetCatalog:
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(thing_classes=list(mask_type.classes), evaluator_type="coco")


for _mask_type in MASK_TYPES.values():
    for _split in SPLITS:
        _register_shipped(_mask_type, _split)
