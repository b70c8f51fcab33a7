"""The files of a predicted scan, written slice by slice.

- ``summary.json``: see :mod:`ct_lesion.prediction.scan_summary`;
- ``slices.csv``: a line a slice;
- ``instances.json``: COCO json with scores and run-length masks, in pixels of the scan's slices;
- ``lesions.nii.gz``: label volume in the input's own geometry, 0 background, else lesion class + 1;
- ``lesions.dcm``: the same as DICOM segmentation, of a DICOM series with lesions;
- ``overlays/<slice>.png``: slices with lesions;
- ``score_maps/<slice>.npz``: if wanted, ``logits`` (H, W) float16, NaN outside all regions;
- ``view/``: for the page.

Slices count from 0 in all of these.
"""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image
from scipy.special import softmax

from ct_lesion.scans.scan import Scan
from ct_lesion.scans.windows import WINDOWS

from .dicom_seg import write_dicom_seg
from .overlays import draw_overlay
from .predictor import LesionPredictor
from .scan_measures import SliceMeasures, in_mm2, measure_slice
from .scan_summary import summarise_scan
from .slices import SlicePrediction
from .view import AS_GIVEN, ViewLesion, ViewSlice, ViewWriter

SUMMARY_FILE = "summary.json"
SLICES_FILE = "slices.csv"
INSTANCES_FILE = "instances.json"
MASK_FILE = "lesions.nii.gz"
DICOM_SEG_FILE = "lesions.dcm"
VIEW_FOLDER = "view"
# beside the window that the models read, for people to switch to
EXTRA_WINDOWS = ("lung", "mediastinum")


class ScanWriter:
    """Writes a scan's folder; what it keeps in memory is the label volume and the lesions."""

    def __init__(
        self,
        folder: Path,
        scan: Scan,
        predictor: LesionPredictor,
        *,
        lung: np.ndarray | None = None,
        score_map: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """
        Args:
            folder: to fill.
            scan: that is predicted.
            predictor: which predicts.
            lung: (S, H, W) bool, if there is a lung mask.
            score_map: gives (H, W) logits of a grey slice, if they are to be written.
        """
        self._folder = folder
        self._scan = scan
        self._predictor = predictor
        self._lung = lung
        self._score_map = score_map
        self._labels = np.zeros(scan.shape, np.uint8)
        self._slices: list[SlicePrediction] = []
        self._measures: list[SliceMeasures] = []
        self._windows = _view_windows(scan)
        self._view = ViewWriter(folder / VIEW_FOLDER, self._windows)

    def add(self, prediction: SlicePrediction, grey: np.ndarray) -> None:
        """Write what belongs to one slice; slices come in order.

        Args:
            prediction: of the slice.
            grey: (H, W) uint8, what the models read.
        """
        index = prediction.index
        labels = prediction.label_mask(*grey.shape)
        lung = None if self._lung is None else self._lung[index]
        measures = measure_slice(labels, lung)
        self._labels[index] = labels
        self._slices.append(prediction)
        self._measures.append(measures)
        shown = self._view_slice(prediction, measures)
        self._view.add(shown, self._images(index, grey))
        if shown.lesions:
            self._save_overlay(shown, grey)
        if self._score_map:
            folder = self._folder / "score_maps"
            folder.mkdir(exist_ok=True)
            logits = self._score_map(grey).astype(np.float16)
            np.savez_compressed(folder / f"{index:04d}.npz", logits=logits)

    def finish(self) -> dict:
        """Write what belongs to the whole scan, and return its summary."""
        summary = summarise_scan(self._scan, self._slices, self._measures, self._predictor)
        mask = self._scan.mask_image(self._labels)
        sitk.WriteImage(mask, str(self._folder / MASK_FILE), useCompression=True)
        summary["notes"] += self._save_dicom_seg()
        self._write_json(INSTANCES_FILE, self._coco())
        self._write_slices()
        self._write_json(SUMMARY_FILE, summary)
        self._view.finish(summary)
        return summary

    # ---- a slice --------------------------------------------------------------------------------
    def _view_slice(self, prediction: SlicePrediction, measures: SliceMeasures) -> ViewSlice:
        scan, spacing = self._scan, self._scan.spacing_mm
        names = self._predictor.segmenter.classes
        lesions = [
            ViewLesion(
                score=le.score,
                class_name=names[le.class_index],
                area_mm2=in_mm2(le.area_px, spacing),
                area_px=le.area_px,
                mask=le.rle,
            )
            for le in prediction.lesions
        ]
        return ViewSlice(
            index=prediction.index,
            name=scan.slice_names[prediction.index],
            z_mm=None if scan.z_mm is None else scan.z_mm[prediction.index],
            lesions=lesions,
            area_mm2=in_mm2(measures.lesion_px, spacing),
            area_px=measures.lesion_px,
            probabilities=self._probabilities(prediction),
        )

    def _probabilities(self, prediction: SlicePrediction) -> list[float] | None:
        if prediction.logits is None:
            return None
        temperature = self._predictor.classifier.temperature
        return softmax(np.array(prediction.logits) / temperature).tolist()

    def _images(self, index: int, grey: np.ndarray) -> dict[str, np.ndarray]:
        """The slice in each window of the page."""
        if self._windows is None:
            return {AS_GIVEN: grey}
        return {
            name: grey if window == self._scan.window else self._scan.grey(index, window)
            for name, window in self._windows.items()
        }

    def _save_overlay(self, shown: ViewSlice, grey: np.ndarray) -> None:
        folder = self._folder / "overlays"
        folder.mkdir(exist_ok=True)
        caption = f"{self._scan.name}, slice {shown.index + 1} of {self._scan.shape[0]}"
        classes = self._predictor.segmenter.classes
        picture = draw_overlay(grey, shown.lesions, caption, classes)
        Image.fromarray(picture).save(folder / f"{shown.index:04d}.png")

    # ---- the scan -------------------------------------------------------------------------------
    def _save_dicom_seg(self) -> list[str]:
        """Write it where there can be one; returns why not, where one would be expected."""
        if self._scan.dicom_files is None:
            return []
        if not self._labels.any():
            return ["no lesion was found, so there is no DICOM segmentation"]
        classes = self._predictor.segmenter.classes
        problem = write_dicom_seg(self._folder / DICOM_SEG_FILE, self._scan, self._labels, classes)
        return [problem] if problem else []

    def _write_json(self, name: str, content: dict) -> None:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
        (self._folder / name).write_text(text + "\n", encoding="utf-8")

    def _coco(self) -> dict:
        """The scan's lesions as COCO's ground truth is, with a score each."""
        scan, (_, height, width) = self._scan, self._scan.shape
        annotations = [
            {
                "image_id": prediction.index + 1,
                "category_id": le.class_index + 1,
                "score": le.score,
                "bbox": [le.box[0], le.box[1], le.box[2] - le.box[0], le.box[3] - le.box[1]],
                "area": le.area_px,
                "segmentation": le.rle,
                "iscrowd": 0,
            }
            for prediction in self._slices
            for le in prediction.lesions
        ]
        return {
            "info": {
                "description": "Predicted lesions. Not for clinical use.",
                "scan": scan.name,
                "patient": scan.patient,
                "orientation": "slices from the feet upwards, rows to the back, columns to the "
                "patient's left, as far as the input says where these are",
            },
            "images": [
                {
                    "id": index + 1,
                    "file_name": name,
                    "slice": index,
                    "z_mm": None if scan.z_mm is None else scan.z_mm[index],
                    "height": height,
                    "width": width,
                }
                for index, name in enumerate(scan.slice_names)
            ],
            "annotations": [{"id": i, **a} for i, a in enumerate(annotations, start=1)],
            "categories": [
                {"id": i, "name": name}
                for i, name in enumerate(self._predictor.segmenter.classes, start=1)
            ],
        }

    def _write_slices(self) -> None:
        with (self._folder / SLICES_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self._header())
            for prediction, measures in zip(self._slices, self._measures, strict=True):
                writer.writerow(self._row(prediction, measures))

    def _header(self) -> list[str]:
        header = ["slice", "name", "z_mm", "lesions", "max_score"]
        header += ["lesion_area_px", "lesion_area_mm2", "lung_area_mm2", "lesion_share_of_lung"]
        if classifier := self._predictor.classifier:
            header += ["class", "region_score"]
            header += [f"probability {name}" for name in classifier.classes]
            header += [f"logit {name}" for name in classifier.classes]
        return header

    def _row(self, prediction: SlicePrediction, measures: SliceMeasures) -> list:
        scan, index = self._scan, prediction.index
        lung_mm2 = None
        if measures.lung_px is not None:
            lung_mm2 = in_mm2(measures.lung_px, scan.spacing_mm)
        row = [
            index,
            scan.slice_names[index],
            None if scan.z_mm is None else scan.z_mm[index],
            len(prediction.lesions),
            max((le.score for le in prediction.lesions), default=None),
            measures.lesion_px,
            in_mm2(measures.lesion_px, scan.spacing_mm),
            lung_mm2,
            measures.share_of_lung,
        ]
        if classifier := self._predictor.classifier:
            row += [classifier.classes[int(np.argmax(prediction.logits))], prediction.region_score]
            row += [*self._probabilities(prediction), *prediction.logits]
        return [_number(value) for value in row]


def _view_windows(scan: Scan) -> dict[str, Sequence[float]] | None:
    """The windows of the page, the models' own first; ``None`` for 8-bit input."""
    if not scan.is_hu:
        return None
    windows = {name: WINDOWS[name] for name in EXTRA_WINDOWS}
    if scan.window in windows.values():
        return windows
    return {"as the models saw it": scan.window, **windows}


def _number(value: object) -> object:
    """A float with the digits that a float32 has."""
    return f"{value:.7g}" if isinstance(value, float) else value
