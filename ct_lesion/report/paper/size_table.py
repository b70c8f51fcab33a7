"""Parameters and split sizes of every shipped config beside the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch import nn

from ct_lesion.config import is_classifier, load_config, shipped_configs
from ct_lesion.errors import UserError
from ct_lesion.modeling.parameters import ParameterCounts, count_parameters
from ct_lesion.pages.tables import Cell, Table

from .model_names import model_name
from .paper import CLASSIFICATION, SEGMENTATION, THIRD_PARTY, PaperSize, load_paper

MILLION = 1e6
LAST_DIGIT = 0.01  # of the paper's millions
PRINTED = {SEGMENTATION: "Mask R-CNN", CLASSIFICATION: "COVID-CT-Mask-Net"}  # Table 1's words
FORMATS = {  # of the columns, in order
    "model": "",
    "config": "",
    "total here (M)": ".3f",
    "total, paper (M)": "",
    "total, release (M)": ".3f",
    "here - release": "+d",
    "trainable here (M)": ".3f",
    "trainable, paper (M)": "",
    "train": "",
    "val": "",
    "test": "",
    "test / train": ".3g",
    "splits, paper": "",
    "explanation": "",
}
COLUMNS = tuple(FORMATS)


@dataclass(frozen=True)
class ModelSize:
    """What a config builds; all numbers are parameters.

    Attributes:
        task: "segmentation" or "classification".
        model: name by :func:`ct_lesion.report.paper.model_names.model_name`.
        box_background, mask_background: what a row for the background would add to the box
            regressor and to the mask predictor; 0 without the latter.
        mask_head: with its predictor; 0 if there is none.
        module_s: of a classifier; 0 if there is none.
        wider_fpn: what the FPN's lateral convolution would add if it read as many maps as that of
            the full model; 0 for a full model.
    """

    config: str
    task: str
    model: str
    counts: ParameterCounts
    box_background: int
    mask_background: int
    mask_head: int
    module_s: int
    wider_fpn: int


@dataclass(frozen=True)
class SplitSizes:
    """Slices of the datasets of a config; ``None`` where one is not on this machine."""

    train: int | None
    val: int | None
    test: int | None

    @property
    def ratio(self) -> float | None:
        """Test / train."""
        return self.test / self.train if self.train and self.test is not None else None


def size_table(configs: Sequence[str] | None = None) -> Table:
    """The paper's Table 1 with every shipped config; builds each model, without its weights.

    Args:
        configs: names or paths of other configs.
    """
    paper = load_paper()
    names = list(shipped_configs() if configs is None else configs)
    cfgs = [load_config(name) for name in names]
    sizes = [measure_size(name, cfg) for name, cfg in zip(names, cfgs, strict=True)]
    counter = _SliceCounter()
    rows = [_row(size, counter.splits(cfg), sizes) for size, cfg in zip(sizes, cfgs, strict=True)]
    # in the paper's order; what the paper does not have comes after
    order = {(s.task, s.model): i for i, s in enumerate(paper.sizes)}
    last = {SEGMENTATION: len(order), CLASSIFICATION: len(order) + 1}
    places = [order.get((size.task, size.model), last[size.task]) for size in sizes]
    rows = [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]
    shown = {(size.task, size.model) for size in sizes}
    rows += [_paper_only(s) for s in paper.sizes if (s.task, s.model) not in shown]
    return Table(
        "table_1",
        "Table 1: parameters and splits",
        COLUMNS,
        rows,
        FORMATS,
        [
            "In millions of parameters (M); splits in slices. BatchNorm's running statistics are "
            "not parameters. The release's counts were taken from the paper's public release.",
            *counter.notes(),
            paper.reference("Table 1"),
            *paper.notes_on("Table 1"),
        ],
    )


# ---- counting -----------------------------------------------------------------------------------
def measure_size(name: str, cfg: CfgNode) -> ModelSize:
    """Count the parameters of a config's model, built on PyTorch's "meta" device: no memory.

    Args:
        name: of the config.
        cfg: is not changed.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    mask_head = getattr(model.roi_heads, "mask_head", None)
    classifier = getattr(model, "classifier", None)
    return ModelSize(
        config=name,
        task=CLASSIFICATION if is_classifier(cfg) else SEGMENTATION,
        model=model_name(cfg),
        counts=count_parameters(model),
        box_background=4 * (model.roi_heads.box_predictor.bbox_pred.in_features + 1),
        mask_background=mask_head.predictor.in_channels + 1 if mask_head else 0,
        mask_head=count_parameters(mask_head).total if mask_head else 0,
        module_s=count_parameters(classifier).total if classifier else 0,
        wider_fpn=_wider_fpn(model.backbone, cfg),
    )


def _wider_fpn(backbone: nn.Module, cfg: CfgNode) -> int:
    laterals = getattr(backbone, "lateral_convs", [])
    if len(laterals) != 1:
        return 0
    full = 8 * cfg.MODEL.RESNETS.RES2_OUT_CHANNELS  # each of three further stages doubles the maps
    return (full - laterals[0].in_channels) * laterals[0].out_channels


class _SliceCounter:
    """Sizes of datasets, each loaded once."""

    def __init__(self) -> None:
        self._files: dict[str, frozenset[str] | None] = {}
        self._test_as_val: set[str] = set()

    def splits(self, cfg: CfgNode) -> SplitSizes:
        """Sizes of the training data and of the validation and test data named like it."""
        if len(cfg.DATASETS.TRAIN) != 1:
            return SplitSizes(None, None, None)
        stem = cfg.DATASETS.TRAIN[0].removesuffix("_train")
        train, val, test = (self._load(f"{stem}_{split}") for split in ("train", "val", "test"))
        if val is not None and val == test:  # as tools/prepare_cncb.py does without a split for it
            self._test_as_val.add(stem)
            val = None
        return SplitSizes(*(None if files is None else len(files) for files in (train, val, test)))

    def _load(self, name: str) -> frozenset[str] | None:
        if name not in self._files:
            try:
                records = DatasetCatalog.get(name)
                self._files[name] = frozenset(record["file_name"] for record in records)
            except (KeyError, OSError, UserError):  # not registered, or not on this machine
                self._files[name] = None
        return self._files[name]

    def notes(self) -> list[str]:
        missing = sorted(name for name, files in self._files.items() if files is None)
        notes = [
            f"{stem} has no validation split of its own: its val is its test set."
            for stem in sorted(self._test_as_val)
        ]
        if missing:
            notes.append(f"Not on this machine, so not counted: {', '.join(missing)}.")
        return notes


# ---- comparing ----------------------------------------------------------------------------------
def _row(size: ModelSize, splits: SplitSizes, sizes: Sequence[ModelSize]) -> list[Cell]:
    paper = load_paper()
    theirs = paper.size(size.task, size.model)
    released = paper.released_parameters[size.task].get(size.model)
    cells = {
        "model": f"{PRINTED[size.task]}, {size.model}",
        "config": size.config,
        "total here (M)": size.counts.total / MILLION,
        "total, release (M)": released / MILLION if released else None,
        "here - release": size.counts.total - released if released else None,
        "trainable here (M)": size.counts.trainable / MILLION,
        "train": splits.train,
        "val": splits.val,
        "test": splits.test,
        "test / train": splits.ratio,
        **(_paper_cells(theirs) if theirs else {}),
        "explanation": explain(size, theirs, released, _mask_branch(size, sizes)),
    }
    return [cells.get(column) for column in COLUMNS]


def _paper_cells(size: PaperSize) -> dict[str, Cell]:
    return {
        "total, paper (M)": size.total,
        "trainable, paper (M)": size.trainable,
        "splits, paper": size.splits,
    }


def _paper_only(size: PaperSize) -> list[Cell]:
    why = "a third party's model" if size.task == THIRD_PARTY else "no config here"
    cells = {"model": size.printed, **_paper_cells(size), "explanation": why}
    return [cells.get(column) for column in COLUMNS]


def _mask_branch(size: ModelSize, sizes: Sequence[ModelSize]) -> int:
    """Parameters of the mask head that a classifier's segmentation model has in the release."""
    twins = [s for s in sizes if s.task == SEGMENTATION and s.model == size.model]
    if size.task == SEGMENTATION or not twins:
        return 0
    return twins[0].mask_head + twins[0].mask_background


def explain(
    size: ModelSize, paper: PaperSize | None, released: int | None, mask_branch: int = 0
) -> str:
    """Why the numbers differ, found by trying what is known to differ; "unexplained" if not.

    Args:
        size: measured here.
        paper: the paper's row of the same model.
        released: parameters counted in the paper's release.
        mask_branch: for a classifier, the mask head of its segmentation model, with the release's
            background row.
    """
    parts = [explain_release(size, released)] if released else []
    if paper is None:
        return "; ".join([*parts, "not in the paper's Table 1"])
    if released:
        parts.append(explain_paper(size, paper.total, released, mask_branch))
    if paper.trainable is not None:
        parts.append(explain_trainable(size, paper.trainable))
    return "; ".join(parts)


def explain_release(size: ModelSize, released: int) -> str:
    """Why the count differs from the release's."""
    missing = released - size.counts.total
    if missing == 0:
        return "as the release"
    if missing == size.box_background + size.mask_background:
        where = "box regressor and mask predictor" if size.mask_background else "box regressor"
        return f"the release's {where} has a row for the background ({missing})"
    return "difference from the release unexplained"


def explain_paper(size: ModelSize, printed: float, released: int, mask_branch: int) -> str:
    """Why the paper's figure (in millions) differs from its release's count.

    A mask head that a classifier lacks is an explanation, if it leaves less than a tenth of its
    size. A wider FPN is only arithmetic that fits, so the difference stays unexplained.
    """
    gap, mask, fpn = printed - released / MILLION, mask_branch / MILLION, size.wider_fpn / MILLION
    if abs(gap) <= LAST_DIGIT / 2:
        return "the paper's figure is the release's"
    if mask and abs(gap - mask) < mask / 10:
        text = f"the paper counts a mask head (+{mask:.2f}M), which the classifier does not have"
        rest = gap - mask
        return text if abs(rest) <= LAST_DIGIT / 2 else f"{text}; {rest:+.2f}M are unexplained"
    text = f"the paper's figure is {gap:+.2f}M from the release's, unexplained"
    if fpn and abs(gap - fpn) <= LAST_DIGIT:
        text += f" (an FPN on as many maps as the full model's would have {size.wider_fpn:+,})"
    return text


def explain_trainable(size: ModelSize, printed: float) -> str:
    """What the paper's trainable figure (in millions) counts."""
    batchnorm = size.counts.trainable - size.module_s
    digits = len(f"{printed:g}".partition(".")[2])
    if round(size.counts.trainable / MILLION, digits) == printed:
        return "trainable as in the paper"
    if size.module_s and round(size.module_s / MILLION, digits) == printed:
        return f"the paper's trainable figure is S alone; here {batchnorm:,} of BatchNorm count too"
    return "trainable figure unexplained"
