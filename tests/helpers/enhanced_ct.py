"""Enhanced CT files (many frames in one file) made from single slices."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

_OF_FILE = (
    *("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("Modality", "SeriesNumber", "SeriesDescription", "ImageType", "Rows", "Columns"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "ConvolutionKernel"),
)


def _item(source: Dataset, *names: str) -> list[Dataset]:
    item = Dataset()
    for name in names:
        if name in source:
            item[name] = source[name]
    return [item]


def frame_groups(ds: Dataset, **content: object) -> Dataset:
    """The functional groups of a slice as a frame.

    Args:
        content: tags of FrameContentSequence.
    """
    groups = Dataset()
    groups.PlanePositionSequence = _item(ds, "ImagePositionPatient")
    groups.PlaneOrientationSequence = _item(ds, "ImageOrientationPatient")
    groups.PixelMeasuresSequence = _item(ds, "PixelSpacing", "SliceThickness")
    groups.PixelValueTransformationSequence = _item(
        ds, "RescaleSlope", "RescaleIntercept", "RescaleType"
    )
    frame_type = Dataset()
    frame_type.FrameType = [*ds.ImageType[:3], "NONE"]
    frame_type.VolumetricProperties = "VOLUME"
    groups.CTImageFrameTypeSequence = [frame_type]
    frame = Dataset()
    for name, value in content.items():
        setattr(frame, name, value)
    groups.FrameContentSequence = [frame]
    return groups


def enhanced_file(
    slices: Sequence[Dataset],
    contents: Iterable[dict] | None = None,
    shared: Sequence[str] = (),
    syntax: str | None = None,
) -> Dataset:
    """An enhanced file of slices of equal size and bits, in their order.

    Args:
        contents: tags of FrameContentSequence of each frame.
        shared: names of functional groups that are equal in all frames and stored once.
        syntax: compressed transfer syntax.
    """
    first, ds = slices[0], Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedCTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    for name in _OF_FILE:
        if name in first:
            ds[name] = first[name]
    ds.InstanceNumber, ds.NumberOfFrames = 1, len(slices)
    contents = contents or [{"StackID": "1", "InStackPositionNumber": i + 1} for i in range(9999)]
    frames = [frame_groups(s, **content) for s, content in zip(slices, contents, strict=False)]
    common = Dataset()
    for name in shared:
        common[name] = frames[0][name]
        for frame in frames:
            del frame[name]
    ds.SharedFunctionalGroupsSequence = [common]
    ds.PerFrameFunctionalGroupsSequence = frames
    if syntax:
        pixels = []
        for ds_slice in slices:
            ds_slice.compress(syntax)
            pixels += generate_frames(ds_slice.PixelData, number_of_frames=1)
        ds.PixelData = encapsulate(pixels)
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    else:
        ds.PixelData = b"".join(ds_slice.PixelData for ds_slice in slices)
        ds["PixelData"].VR = "OW"
    return ds


def write_enhanced(
    path: Path,
    slices: Sequence[Dataset],
    edit: Callable[[Dataset], object] | None = None,
    **options: object,
) -> Path:
    """Write an enhanced file, see :func:`enhanced_file`; ``edit`` changes it first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = enhanced_file(slices, **options)
    if edit:
        edit(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def shuffled(count: int) -> list[int]:
    """A random order of frames."""
    return np.random.default_rng(1).permutation(count).tolist()
