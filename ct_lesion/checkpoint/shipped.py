"""The trained models that ship with ct_lesion, as ``ct_lesion://NAME``.

Each is a pair of files in ``ct_lesion/weights/``: ``NAME.safetensors``, whose description also has
an entry ``model``, and ``NAME.md``, its model card. ``docs/model_zoo.md`` compares the models.
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
LONGEST_TEXT = 300  # characters of a text about a model; more is a damaged or hostile file


@dataclass(frozen=True)
class AboutModel:
    """What a checkpoint says about its origin, in its description's entry ``model``.

    Attributes:
        name: of the model.
        trained_on: the training data, in words.
        licence: of the weights.
    """

    name: str
    trained_on: str
    licence: str

    @classmethod
    def of(cls, description: Mapping[str, str]) -> Self | None:
        """The entry of a description; ``None`` if it is missing or not three printable texts.

        Raises:
            CheckpointError: the entry is not JSON.
        """
        entry = description_value(description, "model")
        texts = [entry.get(f.name) for f in fields(cls)] if isinstance(entry, dict) else [None]
        if not all(isinstance(t, str) and t.isprintable() and t for t in texts):
            return None
        return cls(*(text[:LONGEST_TEXT] for text in texts))


def shipped_models() -> dict[str, Path]:
    """The weights of each model that ships with ct_lesion, by its name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def locate_shipped(path: str | Path) -> str:
    """The file of ``ct_lesion://NAME``; any other path is returned as it is.

    Raises:
        CheckpointError: there is no model of this name.
    """
    if not str(path).startswith(SHIPPED_SCHEME):
        return str(path)
    name, models = str(path).removeprefix(SHIPPED_SCHEME), shipped_models()
    if name not in models:
        known = ", ".join(SHIPPED_SCHEME + name for name in models) or "none"
        raise CheckpointError(f"{path} does not exist. Models that ship with ct_lesion: {known}.")
    return str(models[name])


def list_shipped() -> list[dict[str, object]]:
    """The models that ship with ct_lesion: file, :class:`AboutModel` and metrics of each."""
    rows = []
    for path in shipped_models().values():
        description = read_description(path)
        metrics = description_value(description, "metrics")
        rows.append({"path": path, "about": AboutModel.of(description), "metrics": metrics})
    return rows
