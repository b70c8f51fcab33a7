"""Checkpoint files: ``.safetensors`` (weights and their description), ``.pth`` (resumable runs) and
Detectron2's ``.pkl`` (NumPy arrays, read only).

Reading a file never executes code in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ct_lesion.errors import CheckpointError, reason
from ct_lesion.files import atomic_write

from .finite import named_tensors, refuse_not_finite, require_floats
from .restricted_pickle import UnsafeError
from .safetensors_files import read_safetensors
from .torch_files import ARRAY_SUFFIX, damaged, read_torch_file
from .zoo_weights import AUTHOR_KEY, read_zoo_weights

DESCRIPTION_KEY = "ct_lesion"
ITERATION_KEY = "iteration"
# pickles of arbitrary Python objects, which can run any code when they are read
UNSAFE_SUFFIXES = (".pickle", ".pyth")
# in files of the published implementation: key of the weights, and the class it pickles with them
RELEASED_WEIGHTS_KEY = "model_weights"
RELEASED_CLASS = "AnchorGenerator"


@dataclass
class Checkpoint:
    """Content of a checkpoint file.

    Attributes:
        path: path of the file.
        model: the state dict, on the CPU.
        description: see :mod:`ct_lesion.checkpoint.description`; ``None`` in files that ct_lesion
            did not write.
        rest: other content of a ``.pth``: optimizer, iteration, ...
        match_names: whether the names lack prefixes; see :func:`.zoo_weights.match_names`.
    """

    path: Path
    model: dict[str, torch.Tensor]
    description: dict[str, str] | None = None
    rest: dict[str, Any] = field(default_factory=dict)
    match_names: bool = False


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read ``.safetensors``, Detectron2's ``.pkl``, or any other file of ``torch.save``.

    A bare state dict, as in torchvision's files, becomes ``model`` without a description.

    Raises:
        CheckpointError: the file is missing, of an unsafe format, damaged or not a checkpoint, or
            a weight is NaN, infinite or not a float.
    """
    path = Path(path)
    refuse_unsafe(path)
    require_file(path)
    readers = {".safetensors": _read_safetensors, ARRAY_SUFFIX: _read_zoo}
    checkpoint = readers.get(path.suffix.lower(), _read_torch)(path)
    refuse_not_finite(path, checkpoint.model)
    return checkpoint


def require_file(path: Path, advice: str = "Correct the path.") -> None:
    """Check that a checkpoint exists and is a file.

    Raises:
        CheckpointError: it does not; the message ends with ``advice``.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise CheckpointError(f"Checkpoint {path} {what}. {advice}")


def read_description(path: str | Path) -> dict[str, str]:
    """The description in a checkpoint; only the header of a safetensors file is read.

    Raises:
        CheckpointError: see :func:`read_checkpoint`; or the file has no description.
    """
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file():
        description = _read_safetensors(path, weights=False).description
    else:
        description = read_checkpoint(path).description
    if not description:
        raise CheckpointError(
            f"{path} has no description, because ct_lesion did not write it: give the config that "
            "it was trained with."
        )
    return description


def write_weights(
    path: str | Path, model: Mapping[str, torch.Tensor], description: Mapping[str, str]
) -> None:
    """Write weights and description to a ``.safetensors`` or ``.pth`` file.

    Raises:
        CheckpointError: the path has another suffix, a weight is NaN or infinite, or the file
            cannot be written; an existing file is then unchanged.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pth"):
        raise CheckpointError(f"{path}: the name of a checkpoint must end in .safetensors or .pth.")
    # safetensors refuses tensors that share memory or are not contiguous
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.items()}
    refuse_not_finite(path, tensors)
    if path.suffix == ".pth":
        write_torch(path, {"model": tensors, DESCRIPTION_KEY: dict(description)})
        return
    metadata = {"format": "pt", **description}
    try:
        with atomic_write(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # from the user's umask
            save_file(tensors, temporary, metadata=metadata)
            temporary.chmod(mode)  # safetensors lets only the owner read its files
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error


def update_description(path: str | Path, values: Mapping[str, str]) -> None:
    """Add or replace entries of a checkpoint's description; the weights are unchanged.

    Raises:
        CheckpointError: see :func:`read_checkpoint` and :func:`write_weights`.
    """
    checkpoint = read_checkpoint(path)
    description = {k: v for k, v in (checkpoint.description or {}).items() if k != "format"}
    write_weights(path, checkpoint.model, {**description, **values})


def write_torch(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of ``torch.save`` atomically, after a check that it can be read again.

    Raises:
        CheckpointError: the file cannot be written, or could not be read again: it has objects
            other than plain data, no weights, weights that are not floats, an iteration that is
            not a whole number, or NaN or infinite values.
    """
    refuse_not_finite(path, named_tensors(content))
    try:
        with atomic_write(path) as temporary:
            _save(content, temporary)
            _check_readable(path, temporary)
    except (OSError, RuntimeError) as error:
        raise cannot_write(path, error) from error


def _save(content: Mapping[str, Any], path: Path) -> None:
    """Call ``torch.save``, and raise the system's error if the file cannot be written.

    Raises:
        OSError: e.g. the disk is full, which torch reports as "unexpected pos".
        RuntimeError: torch failed for another reason.
    """
    try:
        torch.save(dict(content), path)
    except RuntimeError:
        with path.open("ab") as file:  # provokes the system's error that torch hides
            file.write(bytes(1 << 20))
        raise


def _check_readable(path: Path, written: Path) -> None:
    """Read back names and shapes from ``written``, the temporary file for ``path``.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        _parse(path, read_torch_file(written, device="meta"))
    except CheckpointError as error:
        cause = reason(error.__cause__ or error)
        what = f"its pickle {cause}" if isinstance(error.__cause__, UnsafeError) else cause
        raise CheckpointError(
            f"{path} was not written, because it could not be read back: {what}. Save a dict of "
            "the weights ('model') and of numbers, strings, containers and tensors only."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} was not written, because it could not be read back: {error}."
        ) from error


def refuse_unsafe(path: str | Path) -> None:
    """Refuse pickles of arbitrary objects by their suffix.

    Raises:
        CheckpointError: the message says how to convert the file.
    """
    if str(path).lower().endswith(UNSAFE_SUFFIXES):
        raise CheckpointError(
            f"{path} is a pickle, which can run any code when it is read, so it was not loaded. "
            "Convert it where you trust it: torch.save its weights as a dict of tensors to a .pth "
            "file. ImageNet weights are available as torchvision://resnet18."
        )


def _read_safetensors(path: Path, *, weights: bool = True) -> Checkpoint:
    try:
        model, metadata = read_safetensors(path, weights=weights)
        require_floats(model)
    except Exception as error:  # damaged bytes can raise anything
        raise damaged(path, reason(error)) from error
    return Checkpoint(path, model, metadata if "format_version" in metadata else None)


def _read_zoo(path: Path) -> Checkpoint:
    weights, author, match = read_zoo_weights(path)
    try:
        checkpoint = _parse(path, {"model": weights})
    except ValueError as error:
        raise damaged(path, str(error)) from None
    return replace(checkpoint, rest={AUTHOR_KEY: author}, match_names=match)


def _read_torch(path: Path) -> Checkpoint:
    try:
        content = read_torch_file(path)
    except CheckpointError as error:
        if _is_released(path):
            raise _needs_conversion(path) from error
        raise
    if isinstance(content, dict) and RELEASED_WEIGHTS_KEY in content:
        raise _needs_conversion(path)
    try:
        return _parse(path, content)
    except ValueError as error:
        raise damaged(path, str(error)) from None


def _parse(path: Path, content: Any) -> Checkpoint:
    """Check the content of a checkpoint file.

    Raises:
        ValueError: the content is not that of a checkpoint; the message says why.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict of weights")
    if RELEASED_WEIGHTS_KEY in content:
        raise ValueError(f"'{RELEASED_WEIGHTS_KEY}' marks files of the published implementation")
    rest = dict(content)
    model = rest.pop("model") if "model" in rest else {n: rest.pop(n) for n in list(rest)}
    if not isinstance(model, dict) or not model:
        raise ValueError("it holds no weights")
    for name, value in model.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(f"its entry {str(name)[:80]} is not a tensor")
    require_floats(model)
    iteration = rest.get(ITERATION_KEY, 0)
    if type(iteration) is not int or iteration < -1:
        raise ValueError("its iteration is not a whole number of at least -1")
    description = rest.pop(DESCRIPTION_KEY, None)
    if not isinstance(description, dict):
        description = None
    elif not all(isinstance(text, str) for item in description.items() for text in item):
        raise ValueError("its description has values that are not text")
    return Checkpoint(path, _without_ddp_prefix(model), description, rest)


def _without_ddp_prefix(model: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not all(name.startswith("module.") for name in model):
        return model
    return {name.removeprefix("module."): tensor for name, tensor in model.items()}


def _is_released(path: Path) -> bool:
    try:
        content = read_torch_file(path, foreign_class=RELEASED_CLASS, device="meta")
    except CheckpointError:
        return False
    return isinstance(content, dict) and RELEASED_WEIGHTS_KEY in content


def _needs_conversion(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a checkpoint of the published implementation. Convert it first: "
        f"ct-lesion convert-checkpoint {path} {path.with_suffix('.safetensors')}"
    )


def cannot_write(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that could not be written, e.g. because the disk is full."""
    return CheckpointError(
        f"Cannot write {path} ({reason(error)}): check the folder and the free disk space. An "
        "existing file of this name is unchanged."
    )
