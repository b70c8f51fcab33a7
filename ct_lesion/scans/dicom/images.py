"""Images in DICOM files: the only image of a file, or a frame of an enhanced file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class DicomImage:
    """An image in a DICOM file.

    Attributes:
        frame: number of the frame, from 1; 0 if the file holds one image.
    """

    path: Path
    frame: int = 0

    @property
    def name(self) -> str:
        """The file's name and the frame, for messages."""
        return f"{self.path.name}{self._frame}"

    @property
    def stem(self) -> str:
        """A name without extension, for the slice's results."""
        return f"{self.path.stem}-{self.frame:04d}" if self.frame else self.path.stem

    @property
    def _frame(self) -> str:
        return f", frame {self.frame}" if self.frame else ""

    def __str__(self) -> str:
        return f"{self.path}{self._frame}"


def files_of(images: Iterable[DicomImage]) -> tuple[Path, ...]:
    """The files of images, each once, in the order of the images."""
    return tuple(dict.fromkeys(image.path for image in images))
