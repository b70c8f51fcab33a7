"""The files of a predicted scan, written slice by slice.

- ``summary.json``: see :mod:`ct_lesion.prediction.scan_summary`;
- ``slices.csv``: a row for each slice;
- ``detections.csv``: a row for each detection in a slice, with the number of its lesion;
- ``lesions.csv``: a row for each lesion of the scan, see
  :class:`ct_lesion.lesions.measures.ScanLesion`;
- ``instances.json``: the detections as COCO json with scores and run-length masks, in pixels of the
  scan's slices;
- ``lesions.nii.gz``: label volume in the input's geometry, 0 background, else lesion class + 1;
- ``lesion_ids.nii.gz``: the same with the numbers of the lesions;
- ``lungs.nii.gz``: the lungs, if they are known: 1 right, 2 left, 3 side unknown;
- ``lesions.dcm``: for DICOM series with lesions, a DICOM segmentation with a segment for each
  lesion, or for each class if there are more than :data:`MOST_SEGMENTS` lesions;
- ``report.png``, ``overlays/`` and projections: see
  :mod:`ct_lesion.prediction.pictures.scan_pictures`;
- ``score_maps/<slice>.npz``: on request, ``logits`` (H, W) float16, NaN outside all regions;
- ``view/``: images and detections for the page.

Slices are numbered from 0, also in the captions of the overlays; only the images in ``view/`` are
numbered from 1, as on the page.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from ct_lesion.files import write_new
from ct_lesion.lesions.detections import owner_of_pixels
from ct_lesion.lesions.finder import LesionFinder
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.volume_writing import write_volume

from .dicom_seg import write_dicom_seg
from .input_window import input_window
from .lesion_tables import csv_table, detection_table, lesion_table
from .lung_results import LungResults
from .pictures.scan_pictures import ScanPictures
from .predictor import LesionPredictor
from .scan_summary import SliceMeasures, in_mm2, measure_slice
from .slices import SlicePrediction
from .view import AS_GIVEN, ViewSlice, ViewWriter, view_windows

SUMMARY_FILE = "summary.json"
SLICES_FILE = "slices.csv"
INSTANCES_FILE = "instances.json"
DETECTIONS_FILE = "detections.csv"
LESIONS_FILE = "lesions.csv"
MASK_FILE = "lesions.nii.gz"
IDS_FILE = "lesion_ids.nii.gz"
DICOM_SEG_FILE = "lesions.dcm"
MOST_SEGMENTS = 100
"""With more lesions, the DICOM segmentation has a segment for each class instead."""
VIEW_FOLDER = "view"


class ScanWriter:
    """Writes a scan's folder; the label volume and the detections stay in memory."""

    def __init__(
        self,
        folder: Path,
        scan: Scan,
        predictor: LesionPredictor,
        *,
        lungs: LungResults | None = None,
        score_map: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """
        Args:
            folder: an existing folder.
            scan: the predicted scan.
            predictor: predicts its slices.
            lungs: its lungs; default: unknown.
            score_map: computes the (H, W) logits of a grey slice; default: no score maps.
        """
        self._folder = folder
        self._scan = scan
        self._predictor = predictor
        self._lungs = lungs or LungResults(scan)
        self._score_map = score_map
        self._labels = np.zeros(scan.shape, np.uint8)
        self._slices: list[SlicePrediction] = []
        self._measures: list[SliceMeasures] = []
        self._finder = LesionFinder(scan)
        self._numbers: list[list[int]] = []  # lesion of each detection by slice, set by finish
        self._window = input_window(scan, predictor.segmenter)
        self._windows = view_windows(scan, self._window)
        self._class_names = predictor.segmenter.classes
        self._pictures = ScanPictures(folder, scan, self._window, self._class_names)
        self._view = ViewWriter(
            folder / VIEW_FOLDER, self._windows, self._class_names, scan.spacing_mm
        )

    def add(self, prediction: SlicePrediction, grey: np.ndarray) -> None:
        """Write the files of the next slice.

        Args:
            prediction: the slice's prediction.
            grey: (H, W) uint8, from :meth:`LesionPredictor.predict_slices`.
        """
        index = prediction.index
        prediction = self._lungs.without_outside(prediction)
        labels = prediction.label_mask(*grey.shape)
        lung = self._lungs.slice(index)
        measures = measure_slice(labels, lung)
        self._lungs.add(index, labels > 0)
        self._labels[index] = labels
        self._slices.append(prediction)
        self._measures.append(measures)
        values = self._values(index)
        self._finder.add(*prediction.columns, values, lung)
        self._pictures.add_slice(index, grey if values is None else values)
        self._view.add(self._view_slice(prediction, measures), self._images(values, grey))
        if self._score_map:
            content = io.BytesIO()
            np.savez_compressed(content, logits=self._score_map(grey).astype(np.float16))
            path = self._folder / "score_maps" / f"{index:04d}.npz"
            write_new(path, content.getvalue())

    def finish(self) -> dict:
        """Write the files of the whole scan and return its summary."""
        lesions, self._numbers = self._finder.finish()
        summary = self._predictor.summarise(self._scan, self._slices, self._measures, lesions)
        summary |= self._lungs.summary()
        summary["notes"] += self._lungs.notes()
        self._lungs.save(self._folder)
        summary["notes"] += self._save_volumes(summary["lesion_list"])
        self._write_json(INSTANCES_FILE, self._coco())
        self._write_tables(summary["lesion_list"])
        summary["pictures"] = self._pictures.finish(summary, self._slices, self._numbers)
        self._write_json(SUMMARY_FILE, summary)
        self._view.finish(summary, self._numbers)
        return summary

    # ---- a slice --------------------------------------------------------------------------------
    def _view_slice(self, prediction: SlicePrediction, measures: SliceMeasures) -> ViewSlice:
        scan, index = self._scan, prediction.index
        return ViewSlice(
            index=index,
            name=scan.slice_names[index],
            z_mm=None if scan.z_mm is None else scan.z_mm[index],
            detections=prediction.detections,
            area_px=measures.lesion_px,
            probabilities=self._probabilities(prediction),
        )

    def _probabilities(self, prediction: SlicePrediction) -> list[float] | None:
        if prediction.logits is None:
            return None
        temperature = self._predictor.classifier.temperature
        return softmax(np.array(prediction.logits) / temperature).tolist()

    def _values(self, index: int) -> np.ndarray | None:
        """The slice in HU, (H, W), read again from the scan; ``None`` for 8-bit input."""
        return self._scan.values(index) if self._scan.is_hu else None

    def _images(self, values: np.ndarray | None, grey: np.ndarray) -> dict[str, np.ndarray]:
        """The slice in each of the page's display windows."""
        if self._windows is None:
            return {AS_GIVEN: grey}
        return {
            name: grey if window == self._window else window.grey(values)
            for name, window in self._windows.items()
        }

    # ---- the scan -------------------------------------------------------------------------------
    def _save_volumes(self, lesions: list[dict]) -> list[str]:
        """Write the label volumes and the DICOM segmentation; return notes on what is missing."""
        scan, by_class = self._scan, len(lesions) > MOST_SEGMENTS
        write_volume(self._folder / MASK_FILE, scan.mask_image(self._labels), scan.nifti)
        notes = self._save_dicom_seg(self._class_names) if by_class else []
        # reuse the volume of classes for the lesion numbers, because volumes are large
        if len(lesions) > np.iinfo(self._labels.dtype).max:
            self._labels = np.zeros(scan.shape, np.uint16)
        for prediction, numbers in zip(self._slices, self._numbers, strict=True):
            owner = owner_of_pixels(prediction.columns[0], *scan.shape[1:])
            self._labels[prediction.index] = np.array([0, *numbers])[owner]
            if numbers:
                self._pictures.add_lesions(prediction.index, self._labels[prediction.index])
        write_volume(self._folder / IDS_FILE, scan.mask_image(self._labels), scan.nifti)
        if by_class:
            return notes
        names = [f"{lesion['class']} {lesion['number']}" for lesion in lesions]
        return self._save_dicom_seg(names, tracked=True)

    def _save_dicom_seg(self, names: Sequence[str], tracked: bool = False) -> list[str]:
        """Write the segmentation of a DICOM series; return a note if it cannot be written."""
        if self._scan.dicom_images is None:
            return []
        if not self._labels.any():
            return ["no DICOM segmentation: no lesion was found"]
        path = self._folder / DICOM_SEG_FILE
        problem = write_dicom_seg(path, self._scan, self._labels, names, tracked=tracked)
        return [problem] if problem else []

    def _write_json(self, name: str, content: dict) -> None:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
        write_new(self._folder / name, text + "\n")

    def _coco(self) -> dict:
        """The scan's detections in the format of a COCO ground truth, with scores."""
        scan, (_, height, width) = self._scan, self._scan.shape
        annotations = [
            {
                "image_id": prediction.index + 1,
                "category_id": found.class_index + 1,
                "lesion": number or None,
                "score": found.score,
                "bbox": _xywh(found.box),
                "area": found.area_px,
                "segmentation": found.rle,
                "iscrowd": 0,
            }
            for prediction, numbers in zip(self._slices, self._numbers, strict=True)
            for found, number in zip(prediction.detections, numbers, strict=True)
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

    def _write_tables(self, lesions: list[dict]) -> None:
        rows = map(self._row, self._slices, self._measures)
        spacing, names = self._scan.spacing_mm, self._class_names
        for name, table in {
            SLICES_FILE: csv_table(self._header(), rows),
            DETECTIONS_FILE: detection_table(self._slices, self._numbers, names, spacing),
            LESIONS_FILE: lesion_table(lesions),
        }.items():
            write_new(self._folder / name, table)

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
            len(prediction.detections),
            max((found.score for found in prediction.detections), default=None),
            measures.lesion_px,
            in_mm2(measures.lesion_px, scan.spacing_mm),
            in_mm2(measures.lung_px, scan.spacing_mm),
            measures.share_of_lung,
        ]
        if classifier := self._predictor.classifier:
            row += [classifier.classes[int(np.argmax(prediction.logits))], prediction.region_score]
            row += [*self._probabilities(prediction), *prediction.logits]
        return row


def _xywh(box: tuple[float, float, float, float]) -> list[float]:
    """COCO's box: x0, y0, width, height."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]
