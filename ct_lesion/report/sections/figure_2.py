"""Figure 2: chooses slices, and draws what both models predict for them.

This section loads checkpoints and images; most others read only the files of the evaluation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask

from ct_lesion.engine.builders import build_mapper, load_trained
from ct_lesion.modeling.score_maps import combine_score_map, detect_with_mask_logits, region_masks
from ct_lesion.pages.blocks import Block, Picture

from ..figures.figure_2 import CAPTION, MIN_SCORE, Regions, ScoredSlice, figure_2
from ..figures.segmentation_figure import choose_slices
from ..runs.results import ClassificationResult, SegmentationResult
from ..runs.run_checks import RunError
from ..runs.runs import Run
from .worst_slices import read_grey

PAIR = 2  # number of slices with lesions, and of slices without
COVID, CONTROL = "COVID-19", "Control"


@dataclass(frozen=True)
class ChosenSlice:
    """A slice to draw, with its ground truth; ``None`` where it is unknown."""

    title: str
    file: Path
    true_class: str | None
    lesion_mask: np.ndarray | None = None
    lung_mask: np.ndarray | None = None


def figure_2_blocks(
    segmentation: tuple[Run, SegmentationResult],
    classification: tuple[Run, ClassificationResult] | None,
) -> list[Block]:
    """Two slices with lesions and two without; a paragraph for each slice that cannot be drawn.

    Slices with lesions are from the segmentation test set, whose patients have COVID-19. Slices
    without lesions are Control slices of the classification test set, or without a classifier,
    from the segmentation test set.
    """
    run, result = segmentation
    wanted = [*_with_lesions(result), *_controls(result, classification)]
    chosen = [c for c in wanted if c.file.is_file()]
    missing = [
        f"{c.title} is left out, because {c.file} is missing."
        for c in wanted
        if not c.file.is_file()
    ]
    if not chosen:
        return missing
    try:
        detector = _load(run, result.record)
        classifier = _load(classification[0], classification[1].record) if classification else None
    except RunError as error:
        return [f"Figure 2 is left out. {error}"]
    names = classification[1].class_names if classification else ()
    lesion_names = [c["name"] for c in result.truth.loadCats(sorted(result.truth.getCatIds()))]
    slices = [_scored(c, detector, classifier, names, lesion_names) for c in chosen]
    numbers = [{"slice": s.title, "scores": s.regions.scores, "logits": s.logits} for s in slices]
    return [Picture("figure_2", figure_2(slices), CAPTION, numbers), *missing]


def _with_lesions(result: SegmentationResult) -> list[ChosenSlice]:
    return [_lesion_slice(result, i, COVID) for i in _choose(result, lesions=True)]


def _choose(result: SegmentationResult, lesions: bool) -> list[int]:
    order = choose_slices(result.truth, len(result.truth.imgs))
    return [i for i in order if bool(result.truth.imgToAnns[i]) == lesions][:PAIR]


def _lesion_slice(result: SegmentationResult, image_id: int, true_class: str | None) -> ChosenSlice:
    record = result.truth.imgs[image_id]
    lesions = np.zeros((record["height"], record["width"]), dtype=bool)
    for annotation in result.truth.imgToAnns[image_id]:
        lesions |= result.truth.annToMask(annotation).astype(bool)
    lungs = record.get("lung_segmentation")
    return ChosenSlice(
        f"patient {record.get('patient', '?')}, {Path(record['file_name']).stem}",
        result.image_file(image_id),
        true_class,
        lesions,
        None if lungs is None else coco_mask.decode(lungs).astype(bool),
    )


def _controls(
    result: SegmentationResult, classification: tuple[Run, ClassificationResult] | None
) -> list[ChosenSlice]:
    if classification is None or CONTROL not in classification[1].class_names:
        return [_lesion_slice(result, i, None) for i in _choose(result, lesions=False)]
    classified = classification[1]
    controls = np.flatnonzero(classified.labels == classified.class_names.index(CONTROL))
    patients = list(dict.fromkeys(classified.patients[controls].tolist()))[:PAIR]
    by_patient = [controls[classified.patients[controls] == patient] for patient in patients]
    return [
        ChosenSlice(
            f"patient {classified.patients[i]}, {Path(classified.files[i]).stem}",
            Path(classified.files[i]),
            CONTROL,
        )
        # the middle slice shows neither the apex nor the base of the lungs
        for i in (slices[len(slices) // 2] for slices in by_patient)
    ]


@dataclass(frozen=True)
class _Model:
    """A network and the mapper that prepares its input."""

    mapper: Callable[[dict], dict]
    network: torch.nn.Module


def _load(run: Run, record: dict) -> _Model:
    network = load_trained(run.cfg, run.weights_files(record)[0])
    return _Model(build_mapper(run.cfg, is_train=False), network)


def _scored(
    chosen: ChosenSlice,
    detector: _Model,
    classifier: _Model | None,
    class_names: Sequence[str],
    lesion_names: Sequence[str],
) -> ScoredSlice:
    grey = read_grey(chosen.file)
    height, width = grey.shape
    record = {"file_name": str(chosen.file), "height": height, "width": width}
    image = detector.mapper(dict(record))["image"]
    found = detect_with_mask_logits(detector.network, image, height, width, min_score=MIN_SCORE)
    logits = None
    if classifier is not None:
        item = classifier.mapper(dict(record))
        with torch.no_grad():
            logits = classifier.network([item])[0]["logits"].cpu().numpy()
    names = list(class_names)
    return ScoredSlice(
        title=chosen.title,
        image=grey,
        regions=Regions(
            found.boxes,
            found.scores,
            [lesion_names[c] for c in found.classes],
            region_masks(found.boxes, found.logits, height, width),
        ),
        score_map=combine_score_map(found.boxes, found.logits, height, width),
        class_names=names,
        lesion_mask=chosen.lesion_mask,
        lung_mask=chosen.lung_mask,
        true_class=names.index(chosen.true_class) if chosen.true_class in names else None,
        logits=logits,
    )
