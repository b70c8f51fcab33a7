from pathlib import Path

import numpy as np
import pytest
from audit_toys import textured

from ct_lesion.audit.findings import Severity
from ct_lesion.audit.images.checks import find_image_problems, see_images
from ct_lesion.audit.inputs.slices import AuditInput, AuditSlice
from ct_lesion.errors import DatasetError


def of_files(*files: Path, size: tuple[int, int] | None = (64, 64)) -> AuditInput:
    return AuditInput(
        "train", "mine", "json", "here", [AuditSlice(f.name, f, size=size) for f in files]
    )


def look(dataset: AuditInput) -> dict:
    found = []
    with see_images([dataset], found.append) as seen:
        return {f.code: f for f in [*found, *find_image_problems(seen)]}


def test_sound_images_of_the_recorded_size_have_no_findings(write_pictures):
    folder = write_pictures("images", {"a.png": textured(0), "b.jpg": textured(1)})
    assert look(of_files(folder / "a.png", folder / "b.jpg")) == {}


def test_damaged_images_are_reported_with_their_paths(write_pictures):
    folder = write_pictures("images", {"cut.png": textured(0), "good.png": textured(1)})
    cut = folder / "cut.png"
    cut.write_bytes(cut.read_bytes()[:-400])
    (folder / "text.png").write_text("no image")
    found = look(of_files(cut, folder / "good.png", folder / "text.png"))
    assert found["truncated_image"].where[0].startswith(str(cut))
    assert found["truncated_image"].what == "mine: 1 image of 3 truncated."
    assert found["unreadable_image"].where[0].startswith(str(folder / "text.png"))
    assert found["unreadable_image"].severity is Severity.ERROR


def test_16_bits_a_single_grey_value_and_another_size_are_reported(write_pictures):
    deep = textured(0).astype(np.uint16) * 200
    flat = np.full((64, 64), 7, np.uint8)
    pictures = {"deep.png": deep, "flat.png": flat, "small.png": textured(2, 32)}
    folder = write_pictures("images", pictures)
    found = look(of_files(*(folder / name for name in pictures)))
    assert str(folder / "deep.png") in found["wrong_mode"].where[0]
    assert found["constant_image"].severity is Severity.WARNING
    assert found["size_not_as_recorded"].where == [
        f"{folder / 'small.png'}: 32 x 32, recorded 64 x 64"
    ]


def test_a_sample_of_the_slices_of_a_volume_is_written_to_temporary_files():
    slices = [AuditSlice(f"v/{i}", pixels=lambda i=i: textured(i), scan="v") for i in range(100)]
    one = AuditInput("train", "volumes", "scans", "here", slices)
    with see_images([one], pytest.fail) as seen:
        assert len(seen) == 60  # evenly spaced
        assert (seen[0].slice.key, seen[-1].slice.key) == ("v/0", "v/99")
        assert seen[0].facts.width == 64
        picture = seen[0].picture
        assert picture.is_file()
    assert not picture.exists()


def test_an_unreadable_slice_of_a_volume_is_a_finding():
    def broken() -> np.ndarray:
        raise DatasetError("scan.nii: ends early")

    one = AuditInput("train", "volumes", "scans", "here", [AuditSlice("v/0", pixels=broken)])
    assert look(one)["scan_cannot_be_read"].what == "scan.nii: ends early"
