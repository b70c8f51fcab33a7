"""The files of a predicted scan, written slice by slice.

- ``summary.json``: see :mod:`ct_lesion.prediction.scan_summary`;
- ``slices.csv``: one line for each slice;
- ``instances.json``: COCO json with scores and run-length masks, in pixels of the scan's slices;
- ``lesions.nii.gz``: label volume in the input's geometry, 0 background, else lesion class + 1;
- ``lesions.dcm``: the same as a DICOM segmentation, for DICOM series with lesions;
- ``overlays/<slice>.png``: slices with lesions;
- ``score_maps/<slice>.npz``: on request, ``logits`` (H, W) float16, NaN outside all regions;
- ``view/``: images and findings for the page.

Slices are numbered from 0 in all of these, also in the captions of the overlays, except ``view/``,
whose images are numbered from 1, as on the page.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import softmax

from ct_lesion.csv_cells import csv_text
from ct_lesion.files import write_new
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.pictures import write_picture
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.volume_writing import write_volume
from ct_lesion.scans.windows import WINDOWS, Window

from .dicom_seg import write_dicom_seg
from .input_window import input_window
from .overlays import draw_overlay
from .predictor import LesionPredictor
from .scan_summary import SliceMeasures, in_mm2, measure_slice
from .slices import SlicePrediction
from .view import AS_GIVEN, ViewSlice, ViewWriter

SUMMARY_FILE = "summary.json"
SLICES_FILE = "slices.csv"
INSTANCES_FILE = "instances.json"
MASK_FILE = "lesions.nii.gz"
DICOM_SEG_FILE = "lesions.dcm"
VIEW_FOLDER = "view"
# windows that the page offers beside the models' input window
EXTRA_WINDOWS = ("lung", "mediastinum")


class ScanWriter:
    """Writes a scan's folder; it keeps the label volume and the lesions in memory."""

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
            folder: an existing folder.
            scan: the scan that is predicted.
            predictor: the predictor of its slices.
            lung: lung mask, (S, H, W) bool.
            score_map: computes the (H, W) logits of a grey slice; without it no score maps are
                written.
        """
        self._folder = folder
        self._scan = scan
        self._predictor = predictor
        self._lung = lung
        self._score_map = score_map
        self._labels = np.zeros(scan.shape, np.uint8)
        self._slices: list[SlicePrediction] = []
        self._measures: list[SliceMeasures] = []
        self._window = input_window(scan, predictor.segmenter)
        self._windows = _view_windows(scan, self._window)
        self._class_names = predictor.segmenter.classes
        self._view = ViewWriter(
            folder / VIEW_FOLDER, self._windows, self._class_names, scan.spacing_mm
        )

    def add(self, prediction: SlicePrediction, grey: np.ndarray) -> None:
        """Write the files of the next slice.

        Args:
            prediction: of the slice.
            grey: (H, W) uint8, from :meth:`LesionPredictor.predict_slices`.
        """
        index = prediction.index
        labels = prediction.label_mask(*grey.shape)
        lung = None if self._lung is None else self._lung[index]
        measures = measure_slice(labels, lung)
        self._labels[index] = labels
        self._slices.append(prediction)
        self._measures.append(measures)
        self._view.add(self._view_slice(prediction, measures), self._images(index, grey))
        if prediction.lesions:
            self._save_overlay(prediction, grey)
        if self._score_map:
            content = io.BytesIO()
            np.savez_compressed(content, logits=self._score_map(grey).astype(np.float16))
            path = self._folder / "score_maps" / f"{index:04d}.npz"
            write_new(path, content.getvalue())

    def finish(self) -> dict:
        """Write the files of the whole scan and return its summary."""
        summary = self._predictor.summarise(self._scan, self._slices, self._measures)
        mask = self._scan.mask_image(self._labels)
        write_volume(self._folder / MASK_FILE, mask, self._scan.nifti)
        summary["notes"] += self._save_dicom_seg()
        self._write_json(INSTANCES_FILE, self._coco())
        self._write_slices()
        self._write_json(SUMMARY_FILE, summary)
        self._view.finish(summary)
        return summary

    # ---- a slice --------------------------------------------------------------------------------
    def _view_slice(self, prediction: SlicePrediction, measures: SliceMeasures) -> ViewSlice:
        scan, index = self._scan, prediction.index
        return ViewSlice(
            index=index,
            name=scan.slice_names[index],
            z_mm=None if scan.z_mm is None else scan.z_mm[index],
            lesions=prediction.lesions,
            area_px=measures.lesion_px,
            probabilities=self._probabilities(prediction),
        )

    def _probabilities(self, prediction: SlicePrediction) -> list[float] | None:
        if prediction.logits is None:
            return None
        temperature = self._predictor.classifier.temperature
        return softmax(np.array(prediction.logits) / temperature).tolist()

    def _images(self, index: int, grey: np.ndarray) -> dict[str, np.ndarray]:
        """The slice in each display window of the page."""
        if self._windows is None:
            return {AS_GIVEN: grey}
        return {
            name: grey if window == self._window else self._scan.grey(index, window)
            for name, window in self._windows.items()
        }

    def _save_overlay(self, prediction: SlicePrediction, grey: np.ndarray) -> None:
        last = self._scan.shape[0] - 1
        caption = f"{self._scan.name}, slice {prediction.index} of 0 to {last}"
        picture = draw_overlay(grey, prediction.lesions, caption, self._class_names)
        write_picture(self._folder / "overlays" / f"{prediction.index:04d}.png", picture)

    # ---- the scan -------------------------------------------------------------------------------
    def _save_dicom_seg(self) -> list[str]:
        """Write the segmentation of a DICOM series; returns notes on why there is no file."""
        if self._scan.dicom_images is None:
            return []
        if not self._labels.any():
            return ["no DICOM segmentation: no lesion was found"]
        path = self._folder / DICOM_SEG_FILE
        problem = write_dicom_seg(path, self._scan, self._labels, self._class_names)
        return [problem] if problem else []

    def _write_json(self, name: str, content: dict) -> None:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
        write_new(self._folder / name, text + "\n")

    def _coco(self) -> dict:
        """The scan's lesions in the format of a COCO ground truth, with scores."""
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
                "description": f"Predicted lesions. {DISCLAIMER}",
                "scan": scan.name,
                "patient": scan.patient,
                "orientation": "slices from the feet upwards, rows to the back, columns to the "
                "patient's left, as far as the input gives its orientation",
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
                {"id": i, "name": name} for i, name in enumerate(self._class_names, start=1)
            ],
        }

    def _write_slices(self) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._header())
        for prediction, measures in zip(self._slices, self._measures, strict=True):
            writer.writerow(self._row(prediction, measures))
        write_new(self._folder / SLICES_FILE, text.getvalue())

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
        row = [
            index,
            scan.slice_names[index],
            None if scan.z_mm is None else scan.z_mm[index],
            len(prediction.lesions),
            max((le.score for le in prediction.lesions), default=None),
            measures.lesion_px,
            in_mm2(measures.lesion_px, scan.spacing_mm),
            in_mm2(measures.lung_px, scan.spacing_mm),
            measures.share_of_lung,
        ]
        if classifier := self._predictor.classifier:
            row += [classifier.classes[int(np.argmax(prediction.logits))], prediction.region_score]
            row += [*self._probabilities(prediction), *prediction.logits]
        return [_number(csv_text(value)) for value in row]


def _view_windows(scan: Scan, window: Window | None) -> dict[str, Window] | None:
    """The display windows of the page, the segmenter's first; ``None`` for 8-bit input."""
    if not scan.is_hu:
        return None
    windows = {name: WINDOWS[name] for name in EXTRA_WINDOWS}
    first = {name: extra for name, extra in windows.items() if extra == window}
    return (first or {"as the segmenter saw it": window}) | windows


def _number(value: object) -> object:
    """A float with the seven significant digits of a float32."""
    return f"{value:.7g}" if isinstance(value, float) else value
