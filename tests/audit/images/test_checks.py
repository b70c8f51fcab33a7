from pathlib import Path

import numpy as np
import pytest
from audit_toys import textured

from ct_lesion.audit.findings import Severity
from ct_lesion.audit.images.checks import find_image_problems, read_images
from ct_lesion.audit.inputs.slices import AuditInput, AuditSlice
from ct_lesion.errors import DatasetError


def of_files(*files: Path, size: tuple[int, int] | None = (64, 64)) -> AuditInput:
    return AuditInput(
        "train", "mine", "json", "here", [AuditSlice(f.name, f, size=size) for f in files]
    )


def check(dataset: AuditInput) -> dict:
    """The findings about the images of an input, by code."""
    findings = []
    with read_images([dataset], findings.append) as images:
        return {f.code: f for f in [*findings, *find_image_problems(images)]}


def test_sound_images_of_the_recorded_size_have_no_findings(write_pictures):
    folder = write_pictures("images", {"a.png": textured(0), "b.jpg": textured(1)})
    assert check(of_files(folder / "a.png", folder / "b.jpg")) == {}


def test_damaged_images_are_reported_with_their_paths(write_pictures):
    folder = write_pictures("images", {"cut.png": textured(0), "good.png": textured(1)})
    cut = folder / "cut.png"
    cut.write_bytes(cut.read_bytes()[:-400])
    (folder / "text.png").write_text("no image")
    findings = check(of_files(cut, folder / "good.png", folder / "text.png"))
    assert findings["truncated_image"].where[0].startswith(str(cut))
    assert findings["truncated_image"].what == "mine: 1 of 3 images is truncated."
    assert findings["unreadable_image"].where[0].startswith(str(folder / "text.png"))
    assert findings["unreadable_image"].severity is Severity.ERROR


def test_16_bits_a_single_grey_value_and_another_size_are_reported(write_pictures):
    deep = textured(0).astype(np.uint16) * 200
    flat = np.full((64, 64), 7, np.uint8)
    pictures = {"deep.png": deep, "flat.png": flat, "small.png": textured(2, 32)}
    folder = write_pictures("images", pictures)
    findings = check(of_files(*(folder / name for name in pictures)))
    assert str(folder / "deep.png") in findings["wrong_mode"].where[0]
    assert findings["constant_image"].severity is Severity.WARNING
    assert findings["size_not_as_recorded"].where == [
        f"{folder / 'small.png'}: 32 x 32, recorded 64 x 64"
    ]


def test_a_sample_of_the_slices_of_a_volume_is_written_to_temporary_files():
    slices = [AuditSlice(f"v/{i}", pixels=lambda i=i: textured(i), scan="v") for i in range(100)]
    dataset = AuditInput("train", "volumes", "scans", "here", slices)
    with read_images([dataset], pytest.fail) as images:
        assert len(images) == 60  # evenly spaced
        assert (images[0].slice.key, images[-1].slice.key) == ("v/0", "v/99")
        assert images[0].facts.width == 64
        picture = images[0].path
        assert picture.is_file()
    assert not picture.exists()


def test_an_unreadable_slice_of_a_volume_is_a_finding():
    def broken() -> np.ndarray:
        raise DatasetError("scan.nii: ends early")

    dataset = AuditInput("train", "volumes", "scans", "here", [AuditSlice("v/0", pixels=broken)])
    assert check(dataset)["scan_cannot_be_read"].what == "scan.nii: ends early"
