"""Slices whose image cannot be read: named, in whichever process that happens."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from detectron2.data import detection_utils

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import open_picture, upright

TRAINING_ADVICE = (
    "Repair it, or take it out of the dataset, and go on with --resume; INPUT.ON_CORRUPT skip "
    "trains without such slices."
)
EVALUATION_ADVICE = (
    "An evaluation without a slice would not be comparable: repair it, or take it out of the "
    "dataset."
)


class Unreadable(NamedTuple):
    """What a mapper gives in place of a slice that it cannot read.

    An exception would leave a worker process as the text of its traceback.
    """

    file_name: str
    reason: str

    @property
    def message(self) -> str:
        """File and reason; a reader's own message often names the file already."""
        named = self.reason.startswith(self.file_name)
        text = self.reason if named else f"{self.file_name}: {self.reason}"
        return text if text.endswith(".") else f"{text}."


class NamingMapper:
    """A mapper that gives :class:`Unreadable` where another fails because of the image."""

    def __init__(self, mapper: Callable[[dict], dict]) -> None:
        self._mapper = mapper

    def __call__(self, record: dict) -> dict | Unreadable:
        """
        Raises:
            Exception: the mapper's, if the image is not at fault.
        """
        try:
            return self._mapper(record)
        except Exception as error:
            reason = str(error) if isinstance(error, DatasetError) else _fault_of(record)
            if reason is None:
                raise
            return Unreadable(str(record["file_name"]), " ".join(reason.split()))


def _fault_of(record: dict) -> str | None:
    """Why the image of a record cannot be read on its own; None if it can."""
    try:
        with open_picture(record["file_name"]) as image:
            pixels = np.asarray(upright(image))
        detection_utils.check_image_size(dict(record), pixels)
    except DatasetError as error:
        return str(error)
    except Exception as error:  # damaged bytes fail anywhere, in any way
        return f"cannot be read ({str(error) or type(error).__name__})"
    return None


class StopAtUnreadable:
    """Batches of a loader whose mapper is a :class:`NamingMapper`; the first failure ends them."""

    def __init__(self, loader: Iterable[list], advice: str) -> None:
        """
        Args:
            loader: of a known length.
            advice: what to do, a sentence at the end of the message.
        """
        self._loader = loader
        self._advice = advice

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[dict]]:
        """
        Raises:
            DatasetError: names the image and why it cannot be read.
        """
        for batch in self._loader:
            for item in batch:
                if isinstance(item, Unreadable):
                    raise DatasetError(f"{item.message} {self._advice}")
            yield batch
