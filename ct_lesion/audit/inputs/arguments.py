"""Parses and reads the inputs of the command line: ``[GROUP=]INPUT[:IMAGES]``.

INPUT is a dataset registered with Detectron2, a json file, a list of slices, or a folder; IMAGES is
the image folder of a json file or list. Without ``GROUP=``, the input is a group by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from detectron2.data import DatasetCatalog

from ct_lesion.errors import DatasetError
from ct_lesion.scans.names import unique_names

from .folders import read_folder
from .json_files import read_json_file, read_registered
from .lists import read_slice_list
from .slices import AuditInput


class InputSpec(NamedTuple):
    """A parsed argument.

    Attributes:
        group: name of the group.
        name: name of a registered dataset, or path.
        images: image folder of a json file or list; ``None`` if not given.
    """

    group: str
    name: str
    images: Path | None = None


def parse_input(text: str) -> InputSpec:
    """Parse ``GROUP=INPUT:IMAGES``.

    Raises:
        DatasetError: the dataset, file or folder does not exist, or the group has no name.
    """
    group, equals, rest = text.partition("=")
    if not equals or _exists(text):
        group, rest = "", text
    elif not group:
        raise DatasetError(f"{text}: name the group before the =, e.g. train{text}.")
    if _exists(rest):
        return InputSpec(group or _short(rest), rest)
    name, colon, images = rest.rpartition(":")
    if colon and _exists(name):
        if not Path(images).is_dir():
            raise DatasetError(f"{text}: {images} is not a folder. Give the image folder after :.")
        return InputSpec(group or _short(name), name, Path(images))
    registered = [n for n in DatasetCatalog.list() if n.startswith(("cncb_", "covidx_ct_"))]
    raise DatasetError(
        f"{rest}: no registered dataset, file or folder has this name. Check the path, or choose a "
        f"dataset: {', '.join(sorted(registered))}."
    )


def _exists(name: str) -> bool:
    return name in DatasetCatalog or Path(name).exists()


def _short(name: str) -> str:
    return name if name in DatasetCatalog else Path(name).stem or name


def read_inputs(texts: Sequence[str], ids_per_class: bool = False) -> list[AuditInput]:
    """Read all inputs, without opening images.

    Args:
        texts: arguments ``[GROUP=]INPUT[:IMAGES]``.
        ids_per_class: in COVIDx-CT lists and class folders, patient ids are unique only within a
            class.

    Raises:
        DatasetError: an input does not exist, or cannot be audited.
    """
    inputs = [_read(parse_input(text), ids_per_class) for text in texts]
    names = [dataset.name for dataset in inputs]
    with_groups = [f"{d.name} ({d.group})" if names.count(d.name) > 1 else d.name for d in inputs]
    for dataset, name in zip(inputs, unique_names(with_groups), strict=True):
        dataset.name = name
        if not dataset.slices and not dataset.findings:
            raise DatasetError(f"{name} contains no slices. Check the path, or prepare it again.")
    return inputs


def _read(spec: InputSpec, ids_per_class: bool) -> AuditInput:
    if spec.name in DatasetCatalog:
        return read_registered(spec.group, spec.name)
    path = Path(spec.name)
    if path.is_dir():
        return read_folder(spec.group, path, ids_per_class)
    if path.suffix.lower() == ".json":
        return read_json_file(spec.group, path, spec.images)
    if path.suffix.lower() == ".zip":
        raise DatasetError(
            f"{path}: a zip cannot be audited. Unpack it, or prepare it with "
            "ct-lesion prepare-cncb and audit the dataset."
        )
    return read_slice_list(spec.group, path, spec.images, ids_per_class)
