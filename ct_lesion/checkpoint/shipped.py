"""The trained models that ship with ct_lesion, as ``ct_lesion://NAME``.

Each is a pair of files in ``ct_lesion/weights/``: ``NAME.safetensors``, whose description has an
additional entry ``model``, and ``NAME.md``, its model card. ``docs/model_zoo.md`` compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from ct_lesion.errors import CheckpointError

from .description import description_value
from .weight_files import read_description

SHIPPED_SCHEME = "ct_lesion://"
DEFAULT_MODEL = f"{SHIPPED_SCHEME}public_ct_resnet18_t1"
FOLDER = Path(__file__).parents[1] / "weights"
LONGEST_TEXT = 300  # characters of a text about a model; longer texts are cut


@dataclass(frozen=True)
class AboutModel:
    """The origin of a checkpoint, from the entry ``model`` of its description.

    Attributes:
        name: name of the model.
        trained_on: the training data, in words.
        licence: licence of the weights.
    """

    name: str
    trained_on: str
    licence: str

    @classmethod
    def of(cls, description: Mapping[str, str]) -> Self | None:
        """Read the entry of a description; ``None`` if it is missing or not three printable texts.

        Raises:
            CheckpointError: the entry is not JSON.
        """
        entry = description_value(description, "model")
        texts = [entry.get(f.name) for f in fields(cls)] if isinstance(entry, dict) else [None]
        if not all(isinstance(t, str) and t.isprintable() and t for t in texts):
            return None
        return cls(*(text[:LONGEST_TEXT] for text in texts))


def shipped_models() -> dict[str, Path]:
    """Paths of the models that ship with ct_lesion, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def locate_shipped(path: str | Path) -> str:
    """The file of ``ct_lesion://NAME``; any other path is returned unchanged.

    Raises:
        CheckpointError: no shipped model has this name.
    """
    if not str(path).startswith(SHIPPED_SCHEME):
        return str(path)
    name, models = str(path).removeprefix(SHIPPED_SCHEME), shipped_models()
    if name not in models:
        known = ", ".join(SHIPPED_SCHEME + name for name in models) or "none"
        raise CheckpointError(f"{path} does not exist. The shipped models are: {known}.")
    return str(models[name])


def list_shipped() -> list[dict[str, object]]:
    """The shipped models: ``path``, ``about`` (an :class:`AboutModel`) and ``metrics`` of each."""
    rows = []
    for path in shipped_models().values():
        description = read_description(path)
        metrics = description_value(description, "metrics")
        rows.append({"path": path, "about": AboutModel.of(description), "metrics": metrics})
    return rows
