"""The list of everything that the benchmark measures."""

from collections.abc import Sequence
from functools import partial

from ct_lesion.errors import UserError

from .copies import EVERY as COPIED_EVERY
from .copies import LEVELS, PATIENTS, SLICES, measure_copy_search
from .data import COUNT, LOADED, measure_loader_memory, measure_preparation
from .inference import classify, on_gpu, segment, segment_beside_torchvision, to_the_floor
from .measure import Case
from .onnx_runtime import segment_in_onnx_runtime
from .prediction import LENGTHS, measure_prediction_memory
from .training import EPOCHS, SAMPLE, train_classifier, train_segmenter

PLAIN = "plain, one slice at a time"
FAST = "fast path, all slices of a round in a batch"

CASES = (
    Case(
        "classify-resnet18_t1",
        "classify slices, CPU, ResNet18_T1",
        partial(classify, "resnet18_t1"),
        PLAIN,
        FAST,
        at_least=2.5,
    ),
    Case(
        "classify-resnet34_t1",
        "classify slices, CPU, ResNet34_T1",
        partial(classify, "resnet34_t1"),
        PLAIN,
        FAST,
        at_least=1.8,
    ),
    Case(
        "segment-resnet18_t1",
        "segment slices, CPU, ResNet18_T1, score above 0.75",
        segment,
        PLAIN,
        FAST,
        at_least=2.2,
    ),
    Case(
        "onnx-resnet18_t1",
        "segment slices, CPU, ResNet18_T1: the exported file",
        segment_in_onnx_runtime,
        "ONNX Runtime, a slice on each core",
        FAST,
        at_most=1.5,
    ),
    Case(
        "floor-resnet18_t1",
        "distance to the floor, CPU, ResNet18_T1",
        to_the_floor,
        "fast path, classifying",
        "folded channels-last convolutions of backbone, FPN and RPN head alone",
        at_most=1.6,
    ),
    Case(
        "memory-600-slices",
        f"peak memory of predicting a volume of {LENGTHS[1]} slices, CPU, ResNet18_T1",
        measure_prediction_memory,
        f"tools/predict.py on {LENGTHS[1]} slices, NIfTI",
        per="process",
        unit="GiB",
        at_most=3.0,
    ),
    Case(
        "train-resnet18_t1",
        "segmentation training step, CPU, ResNet18_T1, the paper's recipe, batch 1",
        train_segmenter,
        "plain",
        "fast path",
        per="step",
        at_least=1.5,
    ),
    Case(
        "classifier-on-cached-regions",
        f"training S on {SAMPLE:,} slices x {EPOCHS} epochs, CPU, ResNet18_T1",
        train_classifier,
        "affine, end to end, plain (extrapolated)",
        "RoI batches computed once, then S (both extrapolated)",
        per="training",
        at_least=50,
    ),
    Case(
        "prepare-covidx",
        f"preparing and loading {COUNT:,} slices of a COVIDx-CT tree",
        measure_preparation,
        "the slowest step per slice, over decoding its image",
        at_most=1.0,
    ),
    Case(
        "load-covidx-memory",
        f"memory of the training loader, {LOADED:,} of {COUNT:,} slices",
        measure_loader_memory,
        "growth after its first quarter, relative to the use by then",
        per="pass",
        unit="",
        at_most=0.02,
    ),
    Case(
        "find-copies",
        "finding copies among "
        f"{PATIENTS * LEVELS * SLICES * (COPIED_EVERY + 1) // COPIED_EVERY:,} slices",
        measure_copy_search,
        "reading all facts and searching, over decoding the images",
        at_most=3.0,
    ),
    *(
        Case(
            f"{task}-gpu-batch{batch}-{name}",
            f"{task} slices, GPU, ResNet18_T1, batch {batch}, {name} precision",
            partial(on_gpu, task, batch, choice),
            "plain, one slice at a time, single precision",
            f"fast path, batches of {batch}, {name} precision",
        )
        for task in ("classify", "segment")
        for batch in (1, 16)
        for name, choice in (("single", "auto"), ("half", "half"))
    ),
    Case(
        "torchvision-resnet18_t1",
        "segment slices, CPU, ResNet18_T1, beside torchvision's Mask R-CNN",
        segment_beside_torchvision,
        "torchvision, one slice at a time",
        FAST,
        by_default=False,
    ),
)


def choose_cases(names: Sequence[str] = (), with_torchvision: bool = False) -> list[Case]:
    """The cases of these names, or the default ones if no names are given.

    Args:
        names: see :data:`CASES`.
        with_torchvision: add the case that compares with torchvision.

    Raises:
        UserError: a name is unknown.
    """
    cases = {case.name: case for case in CASES}
    unknown = [name for name in names if name not in cases]
    if unknown:
        raise UserError(f"No row {', '.join(unknown)}. Choose from: {', '.join(cases)}.")
    chosen = [cases[name] for name in names] or [case for case in CASES if case.by_default]
    if with_torchvision:
        chosen += [case for case in CASES if not case.by_default and case not in chosen]
    return chosen
