"""Memory of predicting a whole volume, as ``tools/predict.py`` does it."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ct_lesion.checkpoint import describe, write_weights
from ct_lesion.errors import UserError
from ct_lesion.phantom.patient import make_patient

from .memory import peak_memory
from .models import config_of, load_weights, random_model, shift_scores
from .row import Settings, Value, at_most, register_row
from .slices import chest_slices

SCORE_THRESHOLD = 0.75
LENGTHS = (150, 600)
"""Slices of the two volumes: what grows with the length shows in the difference."""
DIFFERENT_SLICES = 10  # of the volumes; they repeat
PREDICT = Path(__file__).resolve().parents[2] / "tools" / "predict.py"


@register_row(
    "memory-600-slices",
    work=f"peak memory of predicting a volume of {LENGTHS[1]} slices, CPU, ResNet18_T1",
    unit="process",
    first=f"tools/predict.py on {LENGTHS[1]} slices, NIfTI",
    second="",
    target=at_most(3.0, "GiB"),
)
def predict_memory(settings: Settings) -> Value:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, about = _write_weights(folder, settings)
        facts = {"weights": about}
        for count in LENGTHS:
            volume = _write_volume(folder / f"{count}.nii.gz", count, settings.size)
            peak = peak_memory(
                [
                    sys.executable,
                    *(str(PREDICT), str(volume), "--segmentation", str(weights)),
                    *("--output", str(folder / "out"), "--device", "cpu"),
                ]
            )
            if peak.returncode:
                raise UserError(f"predicting {count} slices failed: {peak.output}")
            facts[f"GiB, {count} slices"] = round(peak.gib, 3)
            facts[f"slices a second, {count} slices, start included"] = round(
                count / peak.seconds, 2
            )
    return Value(peak.gib, "GiB", facts)


def _write_weights(folder: Path, settings: Settings) -> tuple[Path, str]:
    """A checkpoint that describes itself, and what to say about it."""
    cfg = config_of(
        "segmentation/resnet18_t1.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", SCORE_THRESHOLD
    )
    model = random_model(cfg)
    about = load_weights(model, cfg, settings)
    if settings.weights is None:
        shift_scores(model, chest_slices(settings.slices, settings.size), SCORE_THRESHOLD)
        about += ", scores shifted"
    path = folder / "segmenter.safetensors"
    write_weights(path, model.state_dict(), describe(cfg, class_names=["Lesion"]))
    return path, about


def _write_volume(path: Path, count: int, size: int) -> Path:
    hu = make_patient(0, "NCP", size, DIFFERENT_SLICES).hu.astype(np.int16)
    image = sitk.GetImageFromArray(np.resize(hu, (count, size, size)))
    image.SetSpacing((0.7, 0.7, 1.0))
    sitk.WriteImage(image, str(path), useCompression=True)
    return path
