"""RoI batches of a dataset's slices as arrays, and the file that caches them.

Shapes: M slices, N RoIs per slice.
"""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO

import numpy as np
import torch

from ct_lesion.errors import reason
from ct_lesion.files import atomic_write
from ct_lesion.folders import check_regular

from .mapper import PASSED_ON

NO_LABEL = -1

_TEXTS = ("file_name", "image_id", "patient", "scan", "config", "fingerprint")


class StaleCacheError(ValueError):
    """A file of RoI batches is damaged or out of date; the message gives the reason."""


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of everything that RoI batches depend on; equal fingerprints mean equal RoI batches.

    :func:`ct_lesion.engine.fingerprint.fingerprint` computes it.
    """

    weights: str  # parameters and statistics of the detector
    config: str  # config keys that reach the RoI batch
    slices: str  # files of the dataset in order, their sizes, modification times and labels


@dataclass(frozen=True)
class RoIBatches:
    """RoI batches of a dataset in the order of its slices, with config and fingerprint.

    Boxes are in pixels of the original slice. The label of unlabelled slices is -1; missing
    patients, scans and image ids are empty strings.
    """

    roi_batch: np.ndarray  # (M, N, 5) float32
    boxes: np.ndarray  # (M, N, 4) float32
    classes: np.ndarray  # (M, N) lesion class of each region
    is_copy: np.ndarray  # (M, N) whether a row repeats the row above
    label: np.ndarray  # (M,)
    file_name: np.ndarray  # (M,)
    image_id: np.ndarray  # (M,) text
    patient: np.ndarray  # (M,)
    scan: np.ndarray  # (M,)
    height: np.ndarray  # (M,)
    width: np.ndarray  # (M,)
    config: str = ""  # the config as yaml
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint("", "", ""))

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, np.ndarray]], config: str) -> "RoIBatches":
        """Stack the rows of :func:`roi_batch_row`; the fingerprint is empty."""
        return cls(**{key: np.stack([row[key] for row in rows]) for key in rows[0]}, config=config)

    def __len__(self) -> int:
        return len(self.roi_batch)

    def inputs(self) -> list[dict]:
        """The slices as inputs of ``COVIDCTMaskNet`` that skip the detector."""
        columns = {key: self.__dict__[key].tolist() for key in PASSED_ON}
        slices = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        for item, rows in zip(slices, torch.from_numpy(self.roi_batch), strict=True):
            item["roi_batch"] = rows
            if item["label"] == NO_LABEL:
                del item["label"]
        return slices

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` atomically, and create its folder."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f.name: self.__dict__[f.name] for f in fields(self)}
        arrays["fingerprint"] = json.dumps(asdict(self.fingerprint))
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path, expected: Fingerprint | None = None) -> "RoIBatches":
        """Read a file written by :meth:`save`.

        Args:
            path: path of the file.
            expected: fingerprint that the file must have; ``None`` for any.

        Raises:
            FileNotFoundError: the file does not exist.
            StaleCacheError: the file is damaged, or was computed from other weights, another config
                or other slices; the message lists all differences.
        """
        try:
            content = _read_arrays(Path(path), [f.name for f in fields(cls)])
            _check_shapes(content)
            fingerprint = Fingerprint(**json.loads(str(content["fingerprint"])))
        except FileNotFoundError:
            raise
        except Exception as error:  # damaged files raise all kinds of exceptions
            raise StaleCacheError(
                f"{path} is not a complete file of RoI batches ({reason(error)}). Delete it to "
                "compute them again."
            ) from error
        differing = [
            name
            for name, value in asdict(expected or fingerprint).items()
            if value != getattr(fingerprint, name)
        ]
        if differing:
            raise StaleCacheError(
                f"{path} holds RoI batches of other {' and other '.join(differing)}. "
                "Delete it to compute them again."
            )
        content |= {"config": str(content["config"]), "fingerprint": fingerprint}
        return cls(**content)


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read what :meth:`RoIBatches.save` wrote, without taking more memory than the file's size.

    Raises:
        ValueError: the file was not written by :meth:`RoIBatches.save`; damaged files also raise
            other exceptions.
    """
    check_regular(path)
    size = path.stat().st_size
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            # save() never compresses, and a compressed array could expand to any size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise ValueError(f"its array {info.filename[:80]} is compressed")
        missing = [name for name in names if f"{name}.npy" not in file.namelist()]
        if missing:
            raise ValueError(
                f"it has no {' and no '.join(missing)}; an earlier version may have written it"
            )
        for name in names:
            with file.open(f"{name}.npy") as array:
                _check_array_header(name, array, size)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def _check_array_header(name: str, file: IO[bytes], size: int) -> None:
    """Check the size in an array's header, which NumPy allocates before it reads the array."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"its array {name} is larger than the file, or holds objects")


def _check_shapes(content: Mapping[str, np.ndarray]) -> None:
    slices, regions = content["roi_batch"].shape[:2]
    shapes = {"roi_batch": (slices, regions, 5), "boxes": (slices, regions, 4)}
    shapes |= {"classes": (slices, regions), "is_copy": (slices, regions)}
    shapes |= {"config": (), "fingerprint": ()}
    for name, array in content.items():
        expected = shapes.get(name, (slices,))
        if array.shape != expected:
            raise ValueError(f"{name} has the shape {array.shape}, not {expected}")
        kinds = "U" if name in _TEXTS else "fiub"
        if array.dtype.kind not in kinds:
            raise ValueError(f"{name} is of type {array.dtype}")
    if not np.isfinite(content["roi_batch"]).all() or not np.isfinite(content["boxes"]).all():
        raise ValueError("it holds NaN or infinite numbers")


def roi_batch_row(item: Mapping, output: Mapping) -> dict[str, np.ndarray]:
    """The arrays of one slice for :meth:`RoIBatches.from_rows`.

    Args:
        item: input of a ``COVIDCTMaskNet``.
        output: the model's output for this input, with ``instances``.
    """
    regions = output["instances"]
    return {
        "roi_batch": output["roi_batch"].float().cpu().numpy(),
        "boxes": regions.pred_boxes.tensor.float().cpu().numpy(),
        "classes": regions.pred_classes.cpu().numpy(),
        "is_copy": regions.is_copy.cpu().numpy(),
        "label": np.asarray(int(item.get("label", NO_LABEL))),
        **{
            key: np.asarray(str(item.get(key, "")))
            for key in ("file_name", "image_id", "patient", "scan")
        },
        "height": np.asarray(regions.image_size[0]),
        "width": np.asarray(regions.image_size[1]),
    }
