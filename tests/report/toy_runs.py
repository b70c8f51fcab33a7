"""Toy slices and what a fair classifier says about them."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

N = 6  # RoIs a slice


def toy_slices(patients: int = 6, slices: int = 3, classes: int = 3) -> list[dict]:
    """Slices of patients of each class in turn."""
    return [
        {
            "file_name": f"images/{patient}_{index}.png",
            "image_id": f"{patient}_{index}",
            "patient": str(patient),
            "scan": "1",
            "label": patient % classes,
        }
        for patient in range(patients)
        for index in range(slices)
    ]


def toy_output(record: dict, generator: np.random.Generator, n: int = N) -> dict:
    """What a fair classifier says: mostly right, more and surer regions in COVID-19."""
    logits = generator.normal(0, 1, 3)
    logits[record["label"]] += 1.5
    scores = np.sort(generator.uniform(0, 1, n) ** (4 - record["label"]))[::-1].copy()
    corners = generator.uniform(0, 30, (n, 2))
    instances = Instances((64, 64))
    instances.pred_boxes = Boxes(torch.tensor(np.hstack([corners, corners + 20])).float())
    instances.pred_classes = torch.zeros(n, dtype=torch.long)
    instances.is_copy = torch.zeros(n, dtype=torch.bool)
    rows = np.hstack([scores[:, None], generator.normal(0, 1, (n, 4))])
    return {
        "logits": torch.tensor(logits),
        "instances": instances,
        "roi_batch": torch.tensor(rows).float(),
    }
