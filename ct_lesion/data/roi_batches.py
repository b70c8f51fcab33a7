"""RoI batches of a dataset's slices as arrays, and their file.

Shapes: M slices, N RoIs a slice.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from ct_lesion.files import atomic_write

NO_LABEL = -1

_PASSED_ON = ("label", "file_name", "image_id", "patient", "scan", "height", "width")


class StaleCacheError(ValueError):
    """A file of RoI batches that cannot be used; the message says why."""


@dataclass(frozen=True)
class Fingerprint:
    """What RoI batches depend on. Two equal fingerprints have equal RoI batches.

    :func:`ct_lesion.engine.fingerprint.fingerprint` computes one.
    """

    weights: str  # parameters and statistics of the detector
    config: str  # config keys that reach the RoI batch
    slices: str  # files of the dataset in order, with their size and time of change, and labels


@dataclass(frozen=True)
class RoIBatches:
    """RoI batches of a dataset, in its order, and what they were computed from.

    Boxes are in pixels of the original slice. Labels of unlabelled slices are -1, patient,
    scan and image_id of slices without one are empty.
    """

    roi_batch: np.ndarray  # (M, N, 5) float32
    boxes: np.ndarray  # (M, N, 4) float32
    classes: np.ndarray  # (M, N) lesion class of each region
    is_copy: np.ndarray  # (M, N) rows that repeat the row above
    label: np.ndarray  # (M,)
    file_name: np.ndarray  # (M,)
    image_id: np.ndarray  # (M,) as text
    patient: np.ndarray  # (M,)
    scan: np.ndarray  # (M,)
    height: np.ndarray  # (M,)
    width: np.ndarray  # (M,)
    config: str = ""  # the whole config as yaml
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint("", "", ""))

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, np.ndarray]], config: str) -> "RoIBatches":
        """From what :func:`roi_batch_row` gives for each slice, with an empty fingerprint."""
        return cls(**{key: np.stack([row[key] for row in rows]) for key in rows[0]}, config=config)

    def __len__(self) -> int:
        return len(self.roi_batch)

    def inputs(self) -> list[dict]:
        """The slices as inputs of ``COVIDCTMaskNet`` that skip the detector."""
        columns = {key: self.__dict__[key].tolist() for key in _PASSED_ON}
        slices = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        for item, rows in zip(slices, torch.from_numpy(self.roi_batch), strict=True):
            item["roi_batch"] = rows
            if item["label"] == NO_LABEL:
                del item["label"]
        return slices

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` that appears at ``path`` only when it is complete."""
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
            path: the file.
            expected: if given, the fingerprint that the file must have.

        Raises:
            FileNotFoundError: no such file.
            StaleCacheError: the file is damaged, or belongs to other weights, another config or
                other slices; the message names all that differ.
        """
        names = [f.name for f in fields(cls)]
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in names}
            fingerprint = Fingerprint(**json.loads(str(content["fingerprint"])))
        except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            raise StaleCacheError(f"{path} is not a complete file of RoI batches.") from error
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


def roi_batch_row(item: Mapping, output: Mapping) -> dict[str, np.ndarray]:
    """A slice's part of :class:`RoIBatches`.

    Args:
        item: input of a ``COVIDCTMaskNet``.
        output: what it gave for it, with ``instances``.
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
