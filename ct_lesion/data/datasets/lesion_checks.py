"""Checks of a lesion dataset before a run: its json, and the headers of its pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import PictureError, read_image_header

from .coco_checks import CocoChecker, Fault
from .coco_files import read_coco

_LISTED = "ct-lesion audit lists all of them."


def check_lesions(name: str, records: Sequence[dict], json_file: str | None) -> list[str]:
    """Check a lesion dataset as a whole; the pixels of its pictures are not read.

    Args:
        name: name of the dataset.
        records: in Detectron2's format.
        json_file: source of the records; ``None`` or missing for datasets without one.

    Returns:
        A line for each kind of remark.

    Raises:
        DatasetError: the json lacks masks, or the size of a picture differs from the recorded size.
    """
    remarks = check_pictures(name, records)
    content = read_coco(json_file) if json_file and Path(json_file).is_file() else {}
    annotations = content.get("annotations", [])
    crowds = sum(annotation["iscrowd"] == 1 for annotation in annotations)
    if crowds:
        remarks.append(
            f"{name}: {crowds} of {len(annotations)} lesions are crowds (iscrowd 1, as CVAT "
            "exports masks): training skips them, and AP ignores them. Set iscrowd to 0 to use "
            "them."
        )
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in CocoChecker(content).faults() if content else ():
        if not fault.is_error:
            kinds[fault.code].append(fault)
    remarks += [
        f"{name}: {len(faults)} x {code}, e.g. {faults[0].where}: {faults[0].why}. {_LISTED}"
        for code, faults in kinds.items()
    ]
    return remarks


def check_pictures(name: str, records: Iterable[dict]) -> list[str]:
    """Compare the recorded sizes with those of the upright pictures, from their headers.

    Unreadable pictures are skipped; ``INPUT.ON_CORRUPT`` says what training does with them.

    Returns:
        A remark if pictures have an EXIF orientation.

    Raises:
        DatasetError: names the first picture whose size differs.
    """
    rotated = []
    for record in records:
        path = record["file_name"]
        recorded = (record.get("width"), record.get("height"))
        try:
            header = read_image_header(path)
        except PictureError:
            continue
        if header.orientation != 1:
            rotated.append(path)
        size = (header.width, header.height)
        if None in recorded or size == recorded:
            continue
        message = f"{path} has {_pixels(size)}, but dataset {name} records {_pixels(recorded)}"
        if header.orientation >= 5 and size == recorded[::-1]:
            raise DatasetError(
                f"{message}, the size before its EXIF orientation is applied, as training does. If "
                "the masks fit the picture without the orientation, remove it from the picture; "
                "otherwise swap width and height in the dataset."
            )
        raise DatasetError(f"{message}. Prepare the dataset again from these pictures.")
    if not rotated:
        return []
    return [
        f"{name}: {len(rotated)} pictures have an EXIF orientation, e.g. {rotated[0]}. It is "
        "applied, so their masks must fit the upright picture."
    ]


def _pixels(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
