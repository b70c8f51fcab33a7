"""Predicting scans from Python.

    from ct_lesion import LesionPredictor

    predictor = LesionPredictor.from_checkpoint("model_best.safetensors", "classifier.safetensors")
    prediction = predictor("scan.nii.gz")
    print(prediction.summary()["class"], prediction.summary()["lesion_volume_ml"])

For research. Not for clinical use. Shapes: S slices, H x W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.data import transforms as T

from ct_lesion.data.loading.augmentation import build_augmentations
from ct_lesion.errors import UserError
from ct_lesion.modeling.score_maps import combine_score_map, detect_with_mask_logits
from ct_lesion.scans.array import scan_from_array
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.sources import open_scan

from .models import TrainedModel, load_classifier, load_segmenter
from .scan_class import DEFAULT_TOP_SLICES
from .scan_measures import measure_slice
from .scan_summary import summarise_scan
from .slices import SlicePrediction, lesions_of

SMALLEST_DEFAULT_BATCH = 4


@dataclass(frozen=True)
class ScanPrediction:
    """All that was predicted of a scan.

    Attributes:
        scan: what was read.
        slices: in the scan's order, from the feet upwards.
        predictor: by which.
    """

    scan: Scan
    slices: Sequence[SlicePrediction]
    predictor: "LesionPredictor"

    @property
    def mask(self) -> np.ndarray:
        """(S, H, W) uint8: 0 background, else lesion class + 1."""
        return np.stack([s.label_mask(*self.scan.shape[1:]) for s in self.slices])

    def summary(self) -> dict:
        """What ``summary.json`` of ``tools/predict.py`` holds."""
        size = self.scan.shape[1:]
        measures = [measure_slice(s.label_mask(*size)) for s in self.slices]
        return summarise_scan(self.scan, self.slices, measures, self.predictor)


class LesionPredictor:
    """A segmenter and, if wanted, a classifier, applied to scans slice by slice."""

    def __init__(
        self,
        segmenter: TrainedModel,
        classifier: TrainedModel | None = None,
        *,
        batch_size: int | None = None,
        top_slices: int = DEFAULT_TOP_SLICES,
    ) -> None:
        """
        Args:
            segmenter, classifier: see :mod:`ct_lesion.prediction.models`.
            batch_size: slices that pass the network at once, on a CPU one a core; changes memory
                and speed only. Default: 4, or as many as there are cores.
            top_slices: see :func:`ct_lesion.prediction.scan_class.classify_scan`.

        Raises:
            ValueError: a batch of less than one slice, or ``top_slices`` below 0.
        """
        if batch_size is None:
            batch_size = max(SMALLEST_DEFAULT_BATCH, torch.get_num_threads())
        if batch_size < 1 or top_slices < 0:
            raise ValueError(f"need batch_size >= 1 and top_slices >= 0: {batch_size} {top_slices}")
        self.segmenter = segmenter
        self.classifier = classifier
        self.batch_size = batch_size
        self.top_slices = top_slices
        self._mappers = {id(m): _Mapper(m) for m in self.models}

    @classmethod
    def from_checkpoint(
        cls,
        segmentation: str | Path,
        classifier: str | Path | None = None,
        *,
        device: str | None = None,
        score_thresh: float | None = None,
        batch_size: int | None = None,
        top_slices: int = DEFAULT_TOP_SLICES,
    ) -> "LesionPredictor":
        """From checkpoints that carry their config.

        Args:
            segmentation, classifier: ``.safetensors`` or ``.pth`` files of ``tools/train_net.py``.
            device: "cpu" or "cuda"; by default a GPU if there is one.
            score_thresh: lesions scored above it are given; default: ``TEST.PAPER_SCORE_THRESH`` of
                the checkpoint's config, 0.75 in the paper.
            batch_size, top_slices: see the class.

        Raises:
            UserError: a file that cannot be used, or a device that is not there.
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
        """Lesions scored above it are given."""
        return self.segmenter.cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST

    def __call__(
        self,
        volume: Scan | str | Path | np.ndarray,
        progress: Callable[[int], None] | None = None,
        **array_options: object,
    ) -> ScanPrediction:
        """Predict a scan.

        Args:
            volume: an opened scan; the path of one (a volume, a DICOM folder, pictures); or an
                array (S, H, W), from the feet upwards, rows towards the back, columns towards the
                patient's left.
            progress: called with the number of slices done, after each batch.
            array_options: for an array: see :func:`ct_lesion.scans.array.scan_from_array`.

        Raises:
            DatasetError: what was given cannot be read, or not be understood without a window.
        """
        scan = _as_scan(volume, **array_options)
        slices = []
        for prediction, _ in self.predict_slices(scan):
            slices.append(prediction)
            if progress and (len(slices) % self.batch_size == 0 or len(slices) == scan.shape[0]):
                progress(len(slices))
        return ScanPrediction(scan, slices, self)

    def predict_slices(self, scan: Scan) -> Iterator[tuple[SlicePrediction, np.ndarray]]:
        """Each slice's prediction with the grey image (H, W) uint8 that it was made from, in order.

        The next batch is read while one is in the network.
        """
        count = scan.shape[0]
        batches = [
            range(first, min(first + self.batch_size, count))
            for first in range(0, count, self.batch_size)
        ]
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(_read, scan, batches[0]) if batches else None
            for number, indices in enumerate(batches):
                greys = waiting.result()
                if number + 1 < len(batches):
                    waiting = reader.submit(_read, scan, batches[number + 1])
                try:
                    predictions = self._predict_batch(indices, greys)
                except torch.OutOfMemoryError:
                    raise UserError(
                        f"{scan.name}: a batch of {self.batch_size} slices does not fit the GPU's "
                        "memory: choose a smaller --batch-size."
                    ) from None
                yield from zip(predictions, greys, strict=True)

    @torch.inference_mode()
    def _predict_batch(
        self, indices: Sequence[int], greys: Sequence[np.ndarray]
    ) -> list[SlicePrediction]:
        found = [
            lesions_of(output["instances"])
            for output in self.segmenter.network(self._inputs(self.segmenter, greys))
        ]
        if self.classifier is None:
            return [SlicePrediction(i, le) for i, le in zip(indices, found, strict=True)]
        outputs = self.classifier.network(self._inputs(self.classifier, greys))
        return [
            SlicePrediction(
                index,
                lesions,
                tuple(output["logits"].float().tolist()),
                float(output["roi_batch"][0, 0]),
            )
            for index, lesions, output in zip(indices, found, outputs, strict=True)
        ]

    def _inputs(self, model: TrainedModel, greys: Sequence[np.ndarray]) -> list[dict]:
        return [self._mappers[id(model)](grey) for grey in greys]

    def score_map(self, grey: np.ndarray) -> np.ndarray:
        """(H, W) float32: the mask logits of all regions of a slice, NaN outside their boxes.

        Regions scored above the threshold, and the best one whatever its score; see
        :mod:`ct_lesion.modeling.score_maps`.
        """
        height, width = grey.shape
        found = detect_with_mask_logits(
            self.segmenter.model,
            self._inputs(self.segmenter, [grey])[0]["image"],
            height,
            width,
            max_regions=self.segmenter.cfg.TEST.DETECTIONS_PER_IMAGE,
            min_score=self.score_thresh,
        )
        return combine_score_map(found.boxes, found.logits, height, width).astype(np.float32)


class _Mapper:
    """From a grey slice to a model's input, as Detectron2's mapper makes it of a file."""

    def __init__(self, model: TrainedModel) -> None:
        self._augmentations = T.AugmentationList(build_augmentations(model.cfg, is_train=False))

    def __call__(self, grey: np.ndarray) -> dict:
        height, width = grey.shape
        augmented = T.AugInput(np.repeat(grey[:, :, None], 3, axis=2))
        self._augmentations(augmented)
        image = np.array(augmented.image.transpose(2, 0, 1), order="C")
        return {"image": torch.from_numpy(image), "height": height, "width": width}


def _read(scan: Scan, indices: Sequence[int]) -> list[np.ndarray]:
    return [scan.grey(index) for index in indices]


def _as_scan(volume: Scan | str | Path | np.ndarray, **array_options: object) -> Scan:
    if isinstance(volume, np.ndarray):
        return scan_from_array(volume, **array_options)
    if array_options:
        raise TypeError(f"{', '.join(array_options)}: only for an array")
    return volume if isinstance(volume, Scan) else open_scan(volume)
