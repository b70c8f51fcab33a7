"""Toy slices and lists in COVIDx-CT's format."""

from pathlib import Path

from PIL import Image

from ct_lesion.data.datasets.covidx_lists import PREFIXES

WIDTH, HEIGHT = 12, 10
SPLIT_OF = ("train", "train", "val", "test")  # of the k-th patient of a class


def names_of(split: str) -> list[str]:
    """Slices of a split: each class has four patients with one scan of two slices."""
    return [
        f"{prefix}_{10 * label + k}_{500 + k}_{i:04d}.png"
        for label, prefix in enumerate(PREFIXES)
        for k, patient_split in enumerate(SPLIT_OF)
        if patient_split == split
        for i in range(2)
    ]


def write_list(path: Path, names: list[str]) -> Path:
    labels = [PREFIXES.index(name.split("_")[0]) for name in names]
    path.write_text("".join(f"{n} {c} 1 2 9 8\n" for n, c in zip(names, labels, strict=True)))
    return path


def make_lists(tmp_path: Path) -> dict[str, Path]:
    return {
        split: write_list(tmp_path / f"{split}.txt", names_of(split))
        for split in ("train", "val", "test")
    }


def make_images(tmp_path: Path, layout: str) -> Path:
    """Write all slices, "flat" in one folder or as a "tree"."""
    root = tmp_path / "images"
    for name in (n for split in ("train", "val", "test") for n in names_of(split)):
        path = root / (name if layout == "flat" else name.replace("_", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT)).save(path)
    return root


def path_of(images: Path, name: str) -> Path:
    """Where an image is, in either layout."""
    flat = images / name
    return flat if flat.exists() else images / name.replace("_", "/")
