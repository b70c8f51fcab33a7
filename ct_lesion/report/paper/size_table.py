"""Parameters, FLOPs and split sizes of runs beside the paper's Table 1."""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from ct_lesion.engine.checks import is_classifier
from ct_lesion.errors import UserError
from ct_lesion.modeling.analysis import count_flops
from ct_lesion.modeling.parameters import ParameterCounts, count_parameters
from ct_lesion.pages.tables import Cell, Table

from .model_names import model_name
from .paper import CLASSIFICATION, SEGMENTATION, PaperSize, load_paper
from .result_tables import RunMetrics

MILLION, BILLION = 1e6, 1e9
NETWORKS = {SEGMENTATION: "Mask R-CNN", CLASSIFICATION: "COVID-CT-Mask-Net"}  # as in Table 1
FORMATS = {  # by column, in order
    "model": "",
    "run": "",
    "total, run (M)": ".3f",
    "total, release (M)": ".3f",
    "total, paper (M)": "",
    "run - release": "+d",
    "trainable, run (M)": ".3f",
    "trainable, paper (M)": "",
    "FLOPs, run (G)": ".2f",
    "input (px)": "d",
    "train": "",
    "val": "",
    "test": "",
    "test / train": ".3g",
    "splits, paper": "",
    "paper's figures": "",
}
NOTE = (
    "In millions of parameters (M); splits in slices. BatchNorm's running statistics are not "
    "parameters. The release's counts were taken from the paper's public release, whose box "
    "regressor and mask predictor have a row for the background. Detectron2's do not, so the same "
    "architecture has 516 to 773 parameters fewer."
)
FLOPS_NOTE = (
    "FLOPs in billions (G) for one square slice whose side is in the column input, the run's "
    "INPUT.MIN_SIZE_TEST. A multiply-add is one FLOP, as in fvcore. The box head is counted on "
    "all proposals and the mask head on all detections that the config allows; most slices have "
    "fewer. Pooling of regions, NMS and element-wise operations are not counted."
)


def size_table(runs: Sequence[RunMetrics]) -> Table:
    """The paper's Table 1 with the model and the data of each run.

    Rows of the paper without a run come last.
    """
    paper = load_paper()
    slices, flops = _SliceCounter(), _FlopCounter()
    rows, shown = [], set()
    for run in runs:
        task = CLASSIFICATION if is_classifier(run.cfg) else SEGMENTATION
        model = model_name(run.cfg, run.region_classes)
        shown.add((task, model))
        own = {"model": f"{NETWORKS[task]}, {model}", "run": run.name, **slices.splits(run.cfg)}
        rows.append(
            own | flops.cells(run.cfg) | _size_cells(measure_size(run.cfg), paper.size(task, model))
        )
    rows += [
        {"model": size.printed, **_paper_cells(size)}
        for size in paper.sizes
        if (size.task, size.model) not in shown
    ]
    notes = [
        NOTE,
        FLOPS_NOTE,
        *flops.notes,
        *slices.notes(),
        paper.reference("Table 1"),
        *paper.notes_on("Table 1"),
    ]
    return Table(
        "table_1",
        "Table 1: parameters, FLOPs and splits",
        tuple(FORMATS),
        [[row.get(column) for column in FORMATS] for row in rows],
        FORMATS,
        notes,
    )


def measure_size(cfg: CfgNode) -> ParameterCounts:
    """Count a model's parameters, on the "meta" device, which allocates no memory.

    Args:
        cfg: is not changed.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return count_parameters(build_model(cfg))


def _size_cells(counts: ParameterCounts, paper: PaperSize | None) -> dict[str, Cell]:
    cells = {
        "total, run (M)": counts.total / MILLION,
        "trainable, run (M)": counts.trainable / MILLION,
    }
    if paper is None:
        return cells | {"paper's figures": "not in the paper's Table 1"}
    difference = counts.total - paper.released
    cells |= _paper_cells(paper) | {"run - release": difference}
    if difference != -paper.background:
        cells["paper's figures"] += " The run's network differs from the release's."
    return cells


def _paper_cells(size: PaperSize) -> dict[str, Cell]:
    return {
        "total, release (M)": None if size.released is None else size.released / MILLION,
        "total, paper (M)": size.total,
        "trainable, paper (M)": size.trainable,
        "splits, paper": size.splits,
        "paper's figures": size.explanation,
    }


class _FlopCounter:
    """Counts the FLOPs of runs, once per network.

    Attributes:
        notes: networks that could not be counted, with the reason.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._flops: dict[str, int | None] = {}

    def cells(self, cfg: CfgNode) -> dict[str, Cell]:
        network = cfg.clone()
        network.defrost()
        network.MODEL.WEIGHTS = ""
        side = cfg.INPUT.MIN_SIZE_TEST
        key = f"{network.MODEL.dump()}{side} {cfg.TEST.DETECTIONS_PER_IMAGE}"
        if key not in self._flops:
            try:
                self._flops[key] = count_flops(cfg)
            except UserError as error:
                self._flops[key] = None
                self.notes.append(f"FLOPs not counted: {error}")
        flops = self._flops[key]
        return {} if flops is None else {"FLOPs, run (G)": flops / BILLION, "input (px)": side}


class _SliceCounter:
    """Counts the slices of datasets; loads each dataset once."""

    def __init__(self) -> None:
        self._files: dict[str, frozenset[str] | None] = {}
        self._test_as_val: set[str] = set()

    def splits(self, cfg: CfgNode) -> dict[str, Cell]:
        """Cells with the numbers of slices of the training data and its validation and test data.

        Datasets that are not on this machine are left out.
        """
        if len(cfg.DATASETS.TRAIN) != 1:
            return {}
        stem = cfg.DATASETS.TRAIN[0].removesuffix("_train")
        train, val, test = (self._load(f"{stem}_{split}") for split in ("train", "val", "test"))
        if val is not None and val == test:  # by tools/prepare_cncb.py without a validation split
            self._test_as_val.add(stem)
            val = None
        named = {"train": train, "val": val, "test": test}
        cells: dict[str, Cell] = {k: len(files) for k, files in named.items() if files is not None}
        if train and test is not None:
            cells["test / train"] = len(test) / len(train)
        return cells

    def _load(self, name: str) -> frozenset[str] | None:
        if name not in self._files:
            try:
                records = DatasetCatalog.get(name)
                self._files[name] = frozenset(record["file_name"] for record in records)
            except (KeyError, OSError, UserError):  # not registered, or not on this machine
                self._files[name] = None
        return self._files[name]

    def notes(self) -> list[str]:
        """Notes on validation sets that are test sets, and on datasets that were not counted."""
        missing = sorted(name for name, files in self._files.items() if files is None)
        notes = [
            f"{stem} has no validation split; its val dataset is the test set."
            for stem in sorted(self._test_as_val)
        ]
        if missing:
            notes.append(f"Not counted, because not on this machine: {', '.join(missing)}.")
        return notes
