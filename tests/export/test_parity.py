"""ONNX files of the published checkpoints compute the published numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from detectron2.modeling import build_model
from PIL import Image

from ct_lesion.checkpoint import LesionCheckpointer, convert_released, read_released, write_weights
from ct_lesion.export.graphs import build_graph
from ct_lesion.export.onnx_check import match_regions, open_session
from ct_lesion.export.onnx_file import trace


def outputs_and_numbers(
    kind: str, parity: Path, folder: Path
) -> Iterator[tuple[list[np.ndarray], dict[str, np.ndarray]]]:
    """For each slice, the outputs of the exported checkpoint and the published numbers."""
    converted = convert_released(read_released(parity / f"{kind}.pth"))
    cfg = converted.cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    write_weights(folder / "weights.safetensors", converted.model, {})
    model = build_model(cfg).eval()
    LesionCheckpointer(model, cfg=cfg).load(str(folder / "weights.safetensors"))
    session = open_session(trace(build_graph(model)))
    with np.load(parity / "expected.npz") as numbers:
        for index in (0, 3):
            grey = np.asarray(Image.open(parity / f"image_{index}.png"))
            names = [n for n in numbers.files if n.startswith(f"{index}.")]
            yield session.run(None, {"slice": grey}), {n[2:]: numbers[n] for n in names}


def test_segmentation(shared: Path, tmp_path: Path) -> None:
    for outputs, wanted in outputs_and_numbers("segmentation", shared / "parity", tmp_path):
        boxes, scores, _, logits = outputs
        expected = np.column_stack([wanted["det_scores"], wanted["det_boxes"]])
        partner = match_regions(expected, np.column_stack([scores, boxes]), 1e-2)
        np.testing.assert_allclose(logits[partner], wanted["det_mask_logits"], rtol=0, atol=1e-3)


def test_classification(shared: Path, tmp_path: Path) -> None:
    for outputs, wanted in outputs_and_numbers("classification", shared / "parity", tmp_path):
        logits, rows = outputs
        np.testing.assert_allclose(rows, wanted["roi_batch"], rtol=0, atol=1e-3)
        np.testing.assert_allclose(logits, wanted["logits"], rtol=0, atol=1e-3)
