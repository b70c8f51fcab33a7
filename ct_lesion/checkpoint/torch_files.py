"""Reads files of ``torch.save``, in either of their formats, as plain data.

PyTorch writes a zip archive since version 1.6; before, it wrote a sequence of pickles followed by
the numbers ("legacy"). The records of an archive are checked with :mod:`zipfile` and must be read
with it, too: ``torch.load`` has a zip reader of its own. A file with two central directories can
show harmless records to the one and TorchScript, which ``torch.load`` runs, to the other.
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

ARRAY_SUFFIX = ".pkl"  # Detectron2's, of NumPy arrays; array_pickle.py reads them
ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def read_torch_file(path: Path, *, foreign_class: str = "", device: str = "cpu") -> Any:
    """Read a file of ``torch.save``, in either of its formats.

    Args:
        path: the file.
        foreign_class: objects of any class of this name, whatever its module, become a
            :class:`StandIn`. Entries of dicts and sets whose keys are not numbers or strings, such
            as the foreign object's caches, are then left out instead of refused.
        device: ``"cpu"``, or ``"meta"`` to read names and shapes without the numbers.

    Returns:
        Numbers, strings, tuples, lists, dicts, sets, tensors and stand-ins. A parameter becomes a
        tensor, an ``OrderedDict`` a dict.

    Raises:
        CheckpointError: the file is missing, damaged or not written by ``torch.save``; its pickle
            needs anything else; a record is compressed or repeated; a tensor lies outside its
            storage; or all tensors together are larger than the file explains.
    """
    with refusing_unsafe(path), path.open("rb") as file:
        is_zip = file.read(len(ZIP_START)) == ZIP_START
        file.seek(0)
        read = _read_zip if is_zip else _read_legacy
        return read(file, path.stat().st_size, device, foreign_class)


@contextmanager
def refusing_unsafe(path: Path) -> Iterator[None]:
    """Turns what reading a file raises into one line.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or needs more than data.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {reason(error)}.") from error
    except UnsafeError as error:
        raise CheckpointError(
            f"{path} was not loaded: its pickle {error}, which weights do not need and which could "
            "run a program. If you trust the file, load it where it was written and torch.save "
            "only its weights, a dict of tensors."
        ) from error
    except (EOFError, struct.error) as error:
        raise damaged(path, "it ends too early") from error
    except Exception as error:  # damaged bytes fail anywhere, in any way
        raise damaged(path, reason(error)) from error


def damaged(path: Path, what: str) -> CheckpointError:
    """The error of a checkpoint whose bytes or content cannot be used."""
    kind = "Detectron2" if path.suffix.lower() == ARRAY_SUFFIX else "PyTorch"
    return CheckpointError(
        f"{path} is truncated, damaged or not a {kind} checkpoint ({what}): get the file again, "
        "or use an earlier one."
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
    """Refuse records that torch.save does not write; return the folder that they are in."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("two records have the same name")
    for info in archive.infolist():
        # torch.save never compresses, and a compressed record could unfold to any size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"record {info.filename[:80]} is compressed")
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip file, but not of torch.save")
    folder = pickles[0].partition("/")[0]
    if f"{folder}/byteorder" in names and archive.read(f"{folder}/byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    if archive.getinfo(pickles[0]).file_size > LARGEST_PICKLE:
        raise ValueError("its pickle is too long for names and shapes")
    return folder


def _read_legacy(file: BinaryIO, size: int, device: str, foreign_class: str) -> Any:
    # from memory, because a damaged pickle asks a file for any length
    stream = PickleStream(file.read(LARGEST_PICKLE))
    if Unpickler(stream, size).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin as one")
    if Unpickler(stream, size).load() != LEGACY_PROTOCOL:
        raise ValueError("unknown version of the format")
    if not Unpickler(stream, size).load().get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    unpickler = Unpickler(stream, size, device, foreign_class)
    content = unpickler.load()
    keys = Unpickler(stream, size).load()
    if sorted(keys) != sorted(unpickler.storages):
        raise ValueError("storages are missing")
    file.seek(stream.tell())
    for key in keys if device == "cpu" else ():
        (count,) = struct.unpack("<q", file.read(8))
        if count != unpickler.storages[key].numel():
            raise ValueError(f"storage {key[:80]} has another length")
        read_numbers(file, unpickler.storages[key])
    return content


def read_numbers(file: IO[bytes], numbers: torch.Tensor) -> None:
    """Fill a tensor of one dimension with the next bytes of a file.

    Raises:
        EOFError: the file ends too early.
    """
    if not numbers.numel():
        return
    view = memoryview(numbers.view(torch.uint8).numpy())
    if file.readinto(view) != len(view):
        raise EOFError("it ends too early")
