"""Writes a trained model as an ONNX file whose metadata say how to use it."""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ct_lesion.checkpoint.description import library_versions
from ct_lesion.config import is_classifier, matching_config
from ct_lesion.errors import UserError
from ct_lesion.files import atomic_write
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.prediction.models import TrainedModel

from .graphs import SliceGraph, build_graph
from .onnx_check import CheckResult, check_onnx

OPSET = 17
FORMAT_VERSION = "1"
INPUT = "slice"
EXAMPLE_SIZE = (96, 80)  # pixels of the slice that is traced; the file takes any size
_VARIABLE = {"boxes": "R", "scores": "R", "classes": "R", "mask_logits": "R"}  # first dimension
RESIZE_RULE = (
    "Scale the slice so that its shorter side has shorter_side pixels; if its longer side then "
    "exceeds longer_side, so that the longer side has longer_side pixels. Round sizes to the "
    "nearest pixel, halves up; resize with Pillow, BILINEAR. shorter_side 0: do not resize."
)
PADDING_NOTES = {
    "even": "copies are spread evenly over the ranks",
    "random": "copies are drawn at random, as in the classifier's training; the draw depends only "
    "on the number of predictions",
}


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: path of the file.
        metadata: as in the file; structured values are JSON.
        check: how it compares with the network.
    """

    path: Path
    metadata: Mapping[str, str]
    check: CheckResult


def export_onnx(model: TrainedModel, path: Path) -> Exported:
    """Convert a model to ONNX, compare it with the network in ONNX Runtime, and write the file.

    Raises:
        UserError: a package is missing, the name does not end in .onnx, the folder does not exist,
            or the model cannot be exported or gives other results in ONNX Runtime.
        OSError: the file cannot be written.
    """
    require_packages()
    if path.suffix != ".onnx":
        raise UserError(f"{path}: the name of an ONNX file must end in .onnx.")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist. Create it first.")
    metadata = build_metadata(model)
    content = _with_metadata(trace(build_graph(model.model)), metadata)
    result = check_onnx(content, model)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return Exported(path, metadata, result)


def require_packages() -> None:
    """Check that the packages of the extra ``export`` are installed.

    Raises:
        UserError: one is missing.
    """
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX files need {' and '.join(missing)}: run `pip install {' '.join(missing)}`."
        )


def build_metadata(model: TrainedModel) -> dict[str, str]:
    """What a program must know to use the file, as the file's metadata."""
    cfg = model.cfg
    resize = {
        "shorter_side": cfg.INPUT.MIN_SIZE_TEST,
        "longer_side": cfg.INPUT.MAX_SIZE_TEST,
        "rule": RESIZE_RULE,
    }
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "task": "classification" if is_classifier(cfg) else "segmentation",
        "notice": DISCLAIMER,
        "class_names": list(model.classes),
        "resize": resize,
        "window": {**model.window.as_dict(), "text": model.window.label},
        "config_name": matching_config(cfg),
        "config": cfg.dump(),
        "weights_sha256": model.weights_sha256,
        "versions": library_versions(),
    }
    if is_classifier(cfg):
        batch = model.model.roi_batch
        values["temperature"] = model.temperature
        values["roi_batch"] = {
            "size": batch.size,
            "content": batch.content,
            "padding": batch.padding,
            "padding_note": PADDING_NOTES[batch.padding],
        }
    else:
        values["score_threshold"] = model.score_thresh
        values["max_regions"] = cfg.TEST.DETECTIONS_PER_IMAGE
    if model.about:
        values |= {f"model_{name}": text for name, text in asdict(model.about).items()}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


def trace(graph: SliceGraph) -> bytes:
    """Trace a graph into an ONNX model for slices of any size.

    Raises:
        UserError: the model has an operator that ONNX lacks.
    """
    # imported here, because it is slow and warns
    with _quiet():
        from detectron2.export.torchscript_patch import patch_builtin_len

    noise = torch.randint(256, EXAMPLE_SIZE, generator=torch.Generator().manual_seed(0))
    dimensions = {name: {0: first} for name, first in _VARIABLE.items() if name in graph.outputs}
    buffer = io.BytesIO()
    try:
        # len() of a traced tensor would become a constant
        with torch.no_grad(), _quiet(), patch_builtin_len(["ct_lesion.modeling.roi_batch"]):
            torch.onnx.export(
                graph,
                (noise.to(torch.uint8),),
                buffer,
                dynamo=False,  # the newer exporter cannot follow Detectron2's modules
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(graph.outputs),
                dynamic_axes={INPUT: {0: "H", 1: "W"}, **dimensions},
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"The model cannot be exported: {error}".splitlines()[0]) from error
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of tracing.

    They are about constants, which :func:`check_onnx` tests, and about Detectron2, which users
    cannot change.
    """
    logger = logging.getLogger("torch.fx._symbolic_trace")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    import onnx

    proto = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(proto, dict(metadata))
    proto.doc_string = f"{metadata['task']} of a chest CT slice. {DISCLAIMER}"
    return proto.SerializeToString()
