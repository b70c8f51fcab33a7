"""Reads files of ``torch.save`` as plain data.

PyTorch writes zip archives since version 1.6; earlier versions wrote a sequence of pickles followed
by the tensors' data ("legacy"). The records of an archive are both checked and read with
:mod:`zipfile`, because ``torch.load`` uses a different zip reader: a file with two central
directories could show harmless records to one reader and TorchScript, which ``torch.load`` runs, to
the other.
"""

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch

from ct_lesion.errors import CheckpointError, reason

from .restricted_pickle import LARGEST_PICKLE, PickleStream, Unpickler, UnsafeError

ARRAY_SUFFIX = ".pkl"  # Detectron2's files of NumPy arrays, which array_pickle.py reads
ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def read_torch_file(path: Path, *, foreign_class: str = "", device: str = "cpu") -> Any:
    """Read a file of ``torch.save``, as a zip archive or in the legacy format.

    Args:
        path: path of the file.
        foreign_class: objects of classes with this name, in any module, become a :class:`StandIn`.
            Entries of dicts and sets whose keys are not numbers or strings, such as the caches of
            such an object, are then left out instead of refused.
        device: ``"cpu"``, or ``"meta"`` to read only names and shapes of the tensors.

    Returns:
        Numbers, strings, tuples, lists, dicts, sets, tensors and stand-ins. A parameter becomes a
        tensor, an ``OrderedDict`` a dict.

    Raises:
        CheckpointError: the file is missing, damaged or not written by ``torch.save``; its pickle
            needs more than these types; a record is compressed or repeated; a tensor exceeds its
            storage; or all tensors together are too large for the file.
    """
    with refusing_unsafe(path), path.open("rb") as file:
        is_zip = file.read(len(ZIP_START)) == ZIP_START
        file.seek(0)
        read = _read_zip if is_zip else _read_legacy
        return read(file, path.stat().st_size, device, foreign_class)


@contextmanager
def refusing_unsafe(path: Path) -> Iterator[None]:
    """Convert exceptions from reading a checkpoint to a one-line error.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or needs more than data.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {reason(error)}. Check the file.") from error
    except UnsafeError as error:
        raise CheckpointError(
            f"{path} was not loaded: its pickle {error}, which weights do not need and which could "
            "run code. If you trust the file, load it where it was written and torch.save only its "
            "weights, as a dict of tensors."
        ) from error
    except (EOFError, struct.error) as error:
        raise damaged(path, "it ends too early") from error
    except Exception as error:  # damaged bytes can raise anything
        raise damaged(path, reason(error)) from error


def damaged(path: Path, what: str) -> CheckpointError:
    """The error for a checkpoint with unusable bytes or content.

    Args:
        path: path of the checkpoint.
        what: is wrong with it, for the message.
    """
    kind = "Detectron2" if path.suffix.lower() == ARRAY_SUFFIX else "PyTorch"
    return CheckpointError(
        f"{path} is truncated, damaged or not a {kind} checkpoint ({what}). Copy or download the "
        "file again, or use another one."
    )


def _read_zip(file: BinaryIO, size: int, device: str, foreign_class: str) -> Any:
    with zipfile.ZipFile(file) as archive:
        folder = _check_records(archive)

        def fill(key: str, numbers: torch.Tensor) -> None:
            with archive.open(f"{folder}/data/{key}") as record:
                read_numbers(record, numbers)
                if record.read(1):
                    raise ValueError(f"storage {key[:80]} is shorter than its record")

        stream = PickleStream(archive.read(f"{folder}/data.pkl"))
        numbers_from = fill if device == "cpu" else None
        return Unpickler(stream, size, device, foreign_class, numbers_from).load()


def _check_records(archive: zipfile.ZipFile) -> str:
    """Refuse records that torch.save does not write; return the folder of the records."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("two records have the same name")
    for info in archive.infolist():
        # torch.save never compresses, and a compressed record could expand to any size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"record {info.filename[:80]} is compressed")
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("it is a zip file, but not of torch.save")
    folder = pickles[0].partition("/")[0]
    if f"{folder}/byteorder" in names and archive.read(f"{folder}/byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    if archive.getinfo(pickles[0]).file_size > LARGEST_PICKLE:
        raise ValueError("its pickle is too long for names and shapes")
    return folder


def _read_legacy(file: BinaryIO, size: int, device: str, foreign_class: str) -> Any:
    # from memory, because a damaged pickle may request any length from a file
    stream = PickleStream(file.read(LARGEST_PICKLE))
    if Unpickler(stream, size).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin like one")
    if Unpickler(stream, size).load() != LEGACY_PROTOCOL:
        raise ValueError("the version of its format is unknown")
    if not Unpickler(stream, size).load().get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    unpickler = Unpickler(stream, size, device, foreign_class)
    content = unpickler.load()
    keys = Unpickler(stream, size).load()
    if sorted(keys) != sorted(unpickler.storages):
        raise ValueError("its storages are incomplete")
    file.seek(stream.tell())
    for key in keys if device == "cpu" else ():
        (count,) = struct.unpack("<q", file.read(8))
        if count != unpickler.storages[key].numel():
            raise ValueError(f"storage {key[:80]} has another length")
        read_numbers(file, unpickler.storages[key])
    return content


def read_numbers(file: IO[bytes], numbers: torch.Tensor) -> None:
    """Fill a one-dimensional tensor with the next bytes of a file.

    Raises:
        EOFError: the file ends too early.
    """
    if not numbers.numel():
        return
    view = memoryview(numbers.view(torch.uint8).numpy())
    if file.readinto(view) != len(view):
        raise EOFError("it ends too early")
