"""References of a DICOM segmentation to its source images: files, or frames of enhanced files.

A frame is passed to highdicom as a single-slice file with a temporary UID, so that frames of
several files, stacks and subsets of frames are treated like slices. The references in the finished
segmentation are then changed to the file's UID and the frame's number.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import pydicom
from pydicom.uid import CTImageStorage, generate_uid

from ct_lesion.zip_files import open_file

from .frames import images_of, put
from .images import DicomImage


class Origin(NamedTuple):
    """The file that holds a frame, and the frame's number from 1."""

    sop_class: str
    sop_instance: str
    frame: int


def read_sources(images: Sequence[DicomImage]) -> tuple[list[pydicom.Dataset], dict[str, Origin]]:
    """Read the headers of images; those of frames look like headers of single slices.

    Returns:
        The headers in the order of the images, and the origin of each frame by the temporary
        SOPInstanceUID in its header.

    Raises:
        OSError, DatasetError: a file cannot be read.
    """
    headers: dict[DicomImage, pydicom.Dataset] = {}
    origins: dict[str, Origin] = {}
    for path, some in groupby(sorted(images), key=lambda image: image.path):
        with open_file(path) as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        frames = dict(images_of(path, header))
        for image in some:
            headers[image] = frames[image]
            if image.frame and "SOPInstanceUID" in header:
                uid = generate_uid()
                origins[uid] = Origin(header.SOPClassUID, header.SOPInstanceUID, image.frame)
                put(headers[image], "SOPInstanceUID", uid)
                put(headers[image], "SOPClassUID", CTImageStorage)
    return [headers[image] for image in images], origins


def refer_to_frames(segmentation: pydicom.Dataset, origins: Mapping[str, Origin]) -> None:
    """Replace references to temporary UIDs in a segmentation by the files and their frames."""
    if not origins:
        return
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in groups.get("DerivationImageSequence", ()):
            for source in derivation.SourceImageSequence:
                origin = _refer_to_file(source, origins)
                if origin:
                    source.ReferencedFrameNumber = origin.frame
    if "SourceImageSequence" in segmentation:
        segmentation.SourceImageSequence = _files(segmentation.SourceImageSequence, origins)
    for series in segmentation.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = _files(series.ReferencedInstanceSequence, origins)


def _refer_to_file(item: pydicom.Dataset, origins: Mapping[str, Origin]) -> Origin | None:
    origin = origins.get(item.ReferencedSOPInstanceUID)
    if origin:
        item.ReferencedSOPClassUID = origin.sop_class
        item.ReferencedSOPInstanceUID = origin.sop_instance
    return origin


def _files(
    items: Iterable[pydicom.Dataset], origins: Mapping[str, Origin]
) -> list[pydicom.Dataset]:
    """Change items to refer to files, and keep one item per file."""
    files: dict[str, pydicom.Dataset] = {}
    for item in items:
        _refer_to_file(item, origins)
        files.setdefault(item.ReferencedSOPInstanceUID, item)
    return list(files.values())
