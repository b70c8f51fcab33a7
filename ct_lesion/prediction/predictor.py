"""Prediction of scans from Python.

    from ct_lesion import LesionPredictor

    predictor = LesionPredictor()  # or LesionPredictor.from_checkpoint("model_best.safetensors")
    prediction = predictor("scan.nii.gz")
    print(prediction.summary()["lesions"], prediction.summary()["lesion_volume_ml"])

For research use only. Not for clinical use. Shapes: S slices, H x W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.data import transforms as T

from ct_lesion.checkpoint import DEFAULT_MODEL
from ct_lesion.data.loading.augmentation import build_augmentations
from ct_lesion.errors import UserError
from ct_lesion.lesions.finder import LesionFinder
from ct_lesion.lesions.lung_source import LungSource
from ct_lesion.lesions.measures import ScanLesion
from ct_lesion.modeling.score_maps import combine_score_map, detect_with_mask_logits
from ct_lesion.scans.array import scan_from_array
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.sources import open_scan
from ct_lesion.scans.windows import Window

from .input_window import input_window, with_window_remarks
from .lung_results import LungResults
from .models import TrainedModel, load_classifier, load_segmenter
from .scan_class import DEFAULT_TOP_SLICES
from .scan_summary import SliceMeasures, measure_slice, summarise_scan
from .slices import SlicePrediction, detections_of

SMALLEST_DEFAULT_BATCH = 4


@dataclass(frozen=True)
class ScanPrediction:
    """The predictions for a scan.

    Attributes:
        scan: the predicted scan.
        slices: predictions of its slices, from the feet upwards.
        predictor: the models that made them.
    """

    scan: Scan
    slices: Sequence[SlicePrediction]
    predictor: "LesionPredictor"

    @property
    def mask(self) -> np.ndarray:
        """(S, H, W) uint8: 0 background, else lesion class + 1."""
        return np.stack([s.label_mask(*self.scan.shape[1:]) for s in self.slices])

    def summary(self, lungs: LungSource | None = None) -> dict:
        """The content of the ``summary.json`` of ``tools/predict.py``.

        Args:
            lungs: where the lungs come from, ``LungSource()`` as in the tool; default: unknown.
        """
        found = LungResults(self.scan, lungs and lungs.of(self.scan), lungs)
        slices = [found.without_outside(s) for s in self.slices]
        finder, measures = LesionFinder(self.scan), []
        for s in slices:
            labels, lung = s.label_mask(*self.scan.shape[1:]), found.slice(s.index)
            measures.append(measure_slice(labels, lung))
            found.add(s.index, labels > 0)
            finder.add(*s.columns, self.scan.values(s.index) if s.detections else None, lung)
        scan = with_window_remarks(self.scan, self.predictor.models)
        summary = self.predictor.summarise(scan, slices, measures, finder.finish()[0])
        summary["notes"] += found.notes()
        return summary | found.summary()


class LesionPredictor:
    """Applies a segmenter and, optionally, a classifier to scans, slice by slice."""

    def __init__(
        self,
        segmenter: TrainedModel | None = None,
        classifier: TrainedModel | None = None,
        *,
        batch_size: int | None = None,
        top_slices: int = DEFAULT_TOP_SLICES,
    ) -> None:
        """
        Args:
            segmenter, classifier: see :mod:`ct_lesion.prediction.models`; default: the segmenter
                shipped with ct_lesion, and no classifier.
            batch_size: slices per batch, which the cores share on a CPU; results do not depend on
                it. Default: the number of CPU threads, at least 4.
            top_slices: see :func:`ct_lesion.prediction.scan_class.classify_scan`.

        Raises:
            ValueError: ``batch_size`` is less than 1, or ``top_slices`` is negative.
        """
        if batch_size is None:
            batch_size = max(SMALLEST_DEFAULT_BATCH, torch.get_num_threads())
        if batch_size < 1 or top_slices < 0:
            raise ValueError(
                f"expected batch_size >= 1 and top_slices >= 0, got {batch_size} and {top_slices}"
            )
        self.segmenter = load_segmenter() if segmenter is None else segmenter
        self.classifier = classifier
        self.batch_size = batch_size
        self.top_slices = top_slices
        self._mappers = {id(m): _Mapper(m) for m in self.models}

    @classmethod
    def from_checkpoint(
        cls,
        segmentation: str | Path = DEFAULT_MODEL,
        classifier: str | Path | None = None,
        *,
        device: str | None = None,
        score_thresh: float | None = None,
        batch_size: int | None = None,
        top_slices: int = DEFAULT_TOP_SLICES,
    ) -> "LesionPredictor":
        """Load the models from checkpoints that carry their config.

        Args:
            segmentation, classifier: ``.safetensors`` or ``.pth`` files of ``tools/train_net.py``;
                default: the segmenter shipped with ct_lesion, and no classifier.
            device: "cpu", "cuda" or "cuda:0"; default: a GPU if there is one.
            score_thresh: detections with a score above it are kept; default:
                ``TEST.PAPER_SCORE_THRESH`` of the checkpoint's config, 0.75 in the paper.
            batch_size, top_slices: see the class.

        Raises:
            UserError: a checkpoint cannot be used, or the device is not available.
        """
        segmenter = load_segmenter(segmentation, device=device, score_thresh=score_thresh)
        second = load_classifier(classifier, device=device) if classifier else None
        return cls(segmenter, second, batch_size=batch_size, top_slices=top_slices)

    @property
    def models(self) -> list[TrainedModel]:
        """The segmenter and, if there is one, the classifier."""
        return [self.segmenter, *([self.classifier] if self.classifier else [])]

    @property
    def score_thresh(self) -> float:
        """Detections with a score above it are kept."""
        return self.segmenter.score_thresh

    def __call__(
        self, volume: Scan | str | Path | np.ndarray, **array_options: object
    ) -> ScanPrediction:
        """Predict a scan.

        Args:
            volume: an opened scan; the path of a volume, a DICOM folder or pictures; or an array
                (S, H, W), from the feet upwards, rows towards the back, columns towards the
                patient's left.
            array_options: options for an array; see :func:`ct_lesion.scans.array.scan_from_array`.

        Raises:
            DatasetError: the scan cannot be read, or it is unclear whether an array holds HU.
        """
        scan = _as_scan(volume, **array_options)
        slices = [prediction for prediction, _ in self.predict_slices(scan)]
        return ScanPrediction(scan, slices, self)

    def predict_slices(self, scan: Scan) -> Iterator[tuple[SlicePrediction, np.ndarray]]:
        """Yield each slice's prediction and the segmenter's grey image, (H, W) uint8, in order.

        Each model gets slices made with its :func:`input_window`; if that shrinks them, images,
        masks and boxes still have the scan's size. A thread reads the next batch while the network
        computes.

        Raises:
            UserError: a batch does not fit into the GPU's memory.
        """
        windows = [input_window(scan, model) for model in self.models]
        count = scan.shape[0]
        batches = [
            range(first, min(first + self.batch_size, count))
            for first in range(0, count, self.batch_size)
        ]
        with ThreadPoolExecutor(1) as reader:
            next_batch = reader.submit(_read, scan, batches[0], windows) if batches else None
            for number, indices in enumerate(batches):
                greys = next_batch.result()
                if number + 1 < len(batches):
                    next_batch = reader.submit(_read, scan, batches[number + 1], windows)
                try:
                    predictions = self._predict_batch(indices, greys, windows)
                except torch.OutOfMemoryError:
                    raise UserError(
                        f"{scan.name}: a batch of {self.batch_size} slices does not fit into the "
                        "GPU's memory. Choose a smaller --batch-size."
                    ) from None
                yield from zip(predictions, greys[windows[0]], strict=True)

    @torch.inference_mode()
    def _predict_batch(
        self,
        indices: Sequence[int],
        greys: Mapping[Window | None, Sequence[np.ndarray]],
        windows: Sequence[Window | None],
    ) -> list[SlicePrediction]:
        inputs = [
            [self._mappers[id(model)](grey, window) for grey in greys[window]]
            for model, window in zip(self.models, windows, strict=True)
        ]
        outputs = self.segmenter.network(inputs[0])
        detections = [detections_of(output["instances"]) for output in outputs]
        if self.classifier is None:
            return [SlicePrediction(*pair) for pair in zip(indices, detections, strict=True)]
        outputs = self.classifier.network(inputs[1])
        return [
            SlicePrediction(
                index,
                found,
                tuple(output["logits"].float().tolist()),
                float(output["roi_batch"][0, 0]),
            )
            for index, found, output in zip(indices, detections, outputs, strict=True)
        ]

    def summarise(
        self,
        scan: Scan,
        slices: Sequence[SlicePrediction],
        measures: Sequence[SliceMeasures],
        lesions: Sequence[ScanLesion],
    ) -> dict:
        """The content of a scan's ``summary.json``; see :func:`summarise_scan`."""
        return summarise_scan(
            scan, slices, measures, lesions, self.segmenter, self.classifier, self.top_slices
        )

    def score_map(self, scan: Scan, grey: np.ndarray) -> np.ndarray:
        """The combined mask logits of a slice's regions, (H, W) float32, NaN outside their boxes.

        The regions are those with a score above the threshold, and always the best one; see
        :mod:`ct_lesion.modeling.score_maps`.

        Args:
            scan: the slice's scan.
            grey: (H, W) uint8, from :meth:`predict_slices`.
        """
        height, width = grey.shape
        window = input_window(scan, self.segmenter)
        regions = detect_with_mask_logits(
            self.segmenter.model,
            self._mappers[id(self.segmenter)](grey, window)["image"],
            height,
            width,
            max_regions=self.segmenter.cfg.TEST.DETECTIONS_PER_IMAGE,
            min_score=self.score_thresh,
        )
        return combine_score_map(regions.boxes, regions.logits, height, width).astype(np.float32)


class _Mapper:
    """Turns a grey slice into a model's input, as Detectron2's mapper does with a file.

    The slice is shrunk first if the window has a ``side``; ``height`` and ``width`` make the model
    scale its output back to the slice's size.
    """

    def __init__(self, model: TrainedModel) -> None:
        self._augmentations = T.AugmentationList(build_augmentations(model.cfg, is_train=False))

    def __call__(self, grey: np.ndarray, window: Window | None) -> dict:
        height, width = grey.shape
        if window is not None:
            grey = window.shrink(grey)
        augmented = T.AugInput(np.repeat(grey[:, :, None], 3, axis=2))
        self._augmentations(augmented)
        image = np.array(augmented.image.transpose(2, 0, 1), order="C")
        return {"image": torch.from_numpy(image), "height": height, "width": width}


def _read(
    scan: Scan, indices: Sequence[int], windows: Sequence[Window | None]
) -> dict[Window | None, list[np.ndarray]]:
    """The slices in 8 bits at full size, for each window."""
    return {
        window: [scan.grey(index, window if scan.is_hu else None) for index in indices]
        for window in set(windows)
    }


def _as_scan(volume: Scan | str | Path | np.ndarray, **array_options: object) -> Scan:
    if isinstance(volume, np.ndarray):
        return scan_from_array(volume, **array_options)
    if array_options:
        raise TypeError(f"{', '.join(array_options)}: only an array takes these options")
    return volume if isinstance(volume, Scan) else open_scan(volume)
