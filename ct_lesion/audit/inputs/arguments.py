"""What a user names on the command line, as inputs to audit.

``GROUP=INPUT``, where an input is a dataset that is registered with Detectron2, a json file, a list
of slices, or a folder; ``:IMAGES`` after a json file or a list says where its images are. Without
``GROUP=`` an input is a group of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog

from ct_lesion.errors import DatasetError
from ct_lesion.scans.names import unique_names

from .folders import read_folder
from .json_files import read_json_file, read_registered
from .lists import read_slice_list
from .slices import AuditInput


@dataclass(frozen=True)
class InputSpec:
    """An argument taken apart.

    Attributes:
        group: as given, or the name.
        name: of the dataset, or the path.
        images: folder of the images of a json file or list.
    """

    group: str
    name: str
    images: Path | None = None


def parse_input(text: str) -> InputSpec:
    """Take ``GROUP=INPUT:IMAGES`` apart.

    Raises:
        DatasetError: there is no such dataset, file or folder.
    """
    group, equals, rest = text.partition("=")
    if not equals or _exists(text):
        group, rest = "", text
    if equals and not (group or _exists(text)):
        raise DatasetError(f"{text}: no group before the =.")
    if _exists(rest):
        return InputSpec(group or _short(rest), rest)
    name, colon, images = rest.rpartition(":")
    if colon and _exists(name):
        if not Path(images).is_dir():
            raise DatasetError(f"{text}: {images} is no folder of images.")
        return InputSpec(group or _short(name), name, Path(images))
    ours = [n for n in DatasetCatalog.list() if n.startswith(("cncb_", "covidx_ct_"))]
    raise DatasetError(
        f"{rest}: no registered dataset, file or folder of this name. Registered are, among "
        f"others: {', '.join(sorted(ours))}."
    )


def _exists(name: str) -> bool:
    return name in DatasetCatalog or Path(name).exists()


def _short(name: str) -> str:
    return name if name in DatasetCatalog else Path(name).stem or name


def read_inputs(texts: Sequence[str], ids_per_class: bool = False) -> list[AuditInput]:
    """Read everything that the arguments name, without opening images.

    Args:
        texts: the arguments.
        ids_per_class: a patient number of one class of COVIDx-CT lists is another person in
            another class.

    Raises:
        DatasetError: nothing there under a name, or nothing that can be audited.
    """
    inputs = [_read(parse_input(text), ids_per_class) for text in texts]
    names = [one.name for one in inputs]
    told_apart = [
        f"{n} ({i.group})" if names.count(n) > 1 else n for n, i in zip(names, inputs, strict=True)
    ]
    for one, name in zip(inputs, unique_names(told_apart), strict=True):
        one.name = name
        if not one.slices and not one.findings:
            raise DatasetError(f"{one.name}: holds no slices.")
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
        raise DatasetError(f"{path}: unpack it first, or prepare it with tools/prepare_cncb.py.")
    return read_slice_list(spec.group, path, spec.images, ids_per_class)
