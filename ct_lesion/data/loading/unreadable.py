"""Reports slices whose image cannot be read, also from worker processes."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from detectron2.data import detection_utils

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import open_picture, upright

TRAINING_ADVICE = (
    "Repair it or remove it from the dataset and continue with --resume, or set INPUT.ON_CORRUPT "
    "skip to train without it."
)
EVALUATION_ADVICE = (
    "Results without this slice would not be comparable: repair it, or remove it from the dataset."
)


class Unreadable(NamedTuple):
    """Takes the place of a slice that a mapper cannot read.

    It is returned, not raised, because an exception in a worker process arrives as a traceback.
    """

    file_name: str
    reason: str

    @property
    def message(self) -> str:
        """File and reason; the file is not repeated if the reason starts with its name."""
        named = self.reason.startswith(self.file_name)
        text = self.reason if named else f"{self.file_name}: {self.reason}"
        return text if text.endswith(".") else f"{text}."


class NamingMapper:
    """Wraps a mapper; returns :class:`Unreadable` if the mapper fails on an unreadable image."""

    def __init__(self, mapper: Callable[[dict], dict]) -> None:
        self._mapper = mapper

    def __call__(self, record: dict) -> dict | Unreadable:
        """
        Raises:
            Exception: the mapper's exception, if the image is readable.
        """
        try:
            return self._mapper(record)
        except Exception as error:
            reason = str(error) if isinstance(error, DatasetError) else _fault_of(record)
            if reason is None:
                raise
            return Unreadable(str(record["file_name"]), " ".join(reason.split()))


def _fault_of(record: dict) -> str | None:
    """Why the image of a record cannot be read; ``None`` if it can."""
    try:
        with open_picture(record["file_name"]) as image:
            pixels = np.asarray(upright(image))
        detection_utils.check_image_size(dict(record), pixels)
    except DatasetError as error:
        return str(error)
    except Exception as error:  # damaged files raise all kinds of exceptions
        return f"cannot be read ({str(error) or type(error).__name__})"
    return None


class StopAtUnreadable:
    """Batches of a loader whose mapper is a :class:`NamingMapper`; stops at an unreadable slice."""

    def __init__(self, loader: Iterable[list], advice: str) -> None:
        """
        Args:
            loader: has a length.
            advice: last sentence of the message.
        """
        self._loader = loader
        self._advice = advice

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[dict]]:
        """
        Raises:
            DatasetError: an image cannot be read; gives the file and the reason.
        """
        for batch in self._loader:
            for item in batch:
                if isinstance(item, Unreadable):
                    raise DatasetError(f"{item.message} {self._advice}")
            yield batch
