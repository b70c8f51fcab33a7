"""Calibration: reliability plots and calibration errors, with and without a temperature."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ct_lesion.evaluation.calibration import (
    Calibration,
    Reliability,
    apply_temperature,
    at_limit,
    calibration,
    fit_temperature,
)
from ct_lesion.pages.blocks import Block, Picture
from ct_lesion.pages.palette import SKY_BLUE, VERMILION
from ct_lesion.pages.tables import Table

from ..runs.results import ClassificationResult

PLOTTED = ("edges", "slices", "confidence", "accuracy")  # attributes of Reliability


def calibration_blocks(
    results: Mapping[str, tuple[ClassificationResult, ClassificationResult | None]],
) -> list[Block]:
    """Reliability plots and a table of calibration errors, with and without a temperature.

    Args:
        results: test and validation evaluation, by the name of the run. No temperature is fitted
            without a validation evaluation, or if it shares slices with the test evaluation.
    """
    rows, notes, panels = [], [], {}
    for name, (test, validation) in results.items():
        before = calibration(test.labels, test.logits)
        rows.append([name, "as trained", None, "", *_measures(before)])
        panels[f"{name}, as trained"] = before.reliability
        if validation is None or set(validation.image_ids) & set(test.image_ids):
            notes.append(
                f"{name}: no temperature, because no slices outside the test set were evaluated. "
                "Evaluate the validation set too."
            )
            continue
        temperature = fit_temperature(validation.labels, validation.logits)
        after = calibration(test.labels, apply_temperature(test.logits, temperature))
        rows.append([name, "with temperature", temperature, validation.dataset, *_measures(after)])
        panels[f"{name}, T = {temperature:.2f}"] = after.reliability
        if at_limit(temperature):
            notes.append(
                f"{name}: the temperature is at the limit of its search range, so it says little "
                "about the model."
            )
    table = Table(
        "calibration",
        "Calibration on the test slices",
        ["run", "probabilities", "temperature", "fitted on", "ECE", "Brier", "log loss"],
        rows,
        {"temperature": ".3f", "ECE": ".3f", "Brier": ".3f", "log loss": ".3f"},
        [
            "Probabilities are the softmax of the logits. ECE: expected calibration error, the "
            "mean gap between confidence and accuracy in 15 bins. Brier: 0 is perfect, 2 is worst. "
            "Lower is better for all three. A temperature changes no predicted class.",
            *notes,
        ],
    )
    picture = Picture(
        "reliability",
        reliability_figure(panels),
        "Reliability: accuracy of the slices in each bin of confidence. On the diagonal, "
        "probabilities are calibrated; below it, the model is overconfident. The number at the "
        "foot of a bar is the number of slices in the bin.",
        {label: {key: getattr(panel, key) for key in PLOTTED} for label, panel in panels.items()},
    )
    return [picture, table]


def _measures(result: Calibration) -> tuple[float, float, float]:
    return result.ece, result.brier, result.nll


def reliability_figure(panels: Mapping[str, Reliability]) -> Figure:
    """One reliability plot per panel, two in a row."""
    rows = max(-(-len(panels) // 2), 1)
    figure = Figure(figsize=(8.4, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (title, panel) in zip(axes, panels.items(), strict=False):
        axis.axis("on")
        _draw_panel(axis, panel)
        axis.set_title(f"{title}: ECE {panel.ece:.3f}", fontsize=10)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2, fontsize=8)
    return figure


def _draw_panel(axis: Axes, panel: Reliability) -> None:
    filled = panel.slices > 0
    left, width = panel.edges[:-1][filled], panel.edges[1]
    accuracy, confidence = panel.accuracy[filled], panel.confidence[filled]
    axis.bar(
        left, accuracy, width, align="edge", color=SKY_BLUE, edgecolor="white", label="accuracy"
    )
    axis.plot([0, 1], [0, 1], color="0.3", linewidth=1, linestyle="--")
    axis.plot(
        confidence, accuracy, "o", color=VERMILION, markersize=4, label="mean confidence of a bin"
    )
    for x, count in zip(left, panel.slices[filled], strict=True):
        axis.text(x + width / 2, 0.015, str(int(count)), ha="center", fontsize=6)
    low = max(float(left.min()) - 0.5 * width, 0)
    axis.set(xlim=(low, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
