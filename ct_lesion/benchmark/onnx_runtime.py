"""Segments slices with an exported ONNX model in ONNX Runtime."""

import numpy as np
import torch

from ct_lesion.errors import UserError
from ct_lesion.export.graphs import build_graph
from ct_lesion.export.onnx_check import open_session
from ct_lesion.export.onnx_file import require_packages, trace
from ct_lesion.modeling.fast.inference import fast_inference
from ct_lesion.modeling.fast.parallel_slices import map_on_cores

from .inference import in_batches
from .inputs import chest_slices, segmenter
from .measure import Measured, NotMeasurable, Settings, compared, measure


def segment_in_onnx_runtime(settings: Settings) -> Measured:
    """ONNX Runtime and the fast path, both with one slice per core."""
    try:
        require_packages()
    except UserError as error:
        raise NotMeasurable(str(error)) from None
    cfg, plain, weights = segmenter(settings)
    inputs = chest_slices(settings.slices, settings.size)
    greys = [item["image"][0].numpy() for item in inputs]
    content = trace(build_graph(plain))
    on_one_core, on_all_cores = (open_session(content, n) for n in (1, torch.get_num_threads()))

    def one_per_core() -> int:
        map_on_cores(lambda grey: _run(on_one_core, grey), greys, torch.get_num_threads())
        return len(greys)

    def one_at_a_time() -> int:
        return len([_run(on_all_cores, grey) for grey in greys])

    fast = fast_inference(plain, cfg)
    batches = in_batches(fast, inputs, len(inputs))
    for work in (one_at_a_time, batches):  # the first call of each compiles and allocates
        work()
    onnx_seconds, _ = measure(one_at_a_time)
    fast_seconds, _ = measure(batches)
    with torch.no_grad():
        expected = [fast([item])[0]["instances"].pred_boxes.tensor.numpy() for item in inputs]
    found = [_run(on_all_cores, grey)[0] for grey in greys]
    pairs = list(zip(found, expected, strict=True))
    same = [(a, b) for a, b in pairs if len(a) == len(b)]
    gaps = [np.abs(a - b).max(initial=0.0) for a, b in same]
    facts = {
        "weights": weights,
        "one slice at a time on all cores, over the fast path": onnx_seconds / fast_seconds,
        "detections per slice": sum(len(b) for _, b in pairs) / len(pairs),
        "slices with another number of detections": len(pairs) - len(same),
        "largest difference of boxes, px": float(max(gaps, default=0.0)),
    }
    return compared(one_per_core, batches, settings, facts)


def _run(session, grey: np.ndarray) -> list[np.ndarray]:
    return session.run(None, {"slice": grey})
