"""Calibration of a classifier's probabilities, and temperature scaling.

Shapes: M slices, C classes. ``labels`` are (M,) class indices, ``logits`` (M, C). Probabilities are
the softmax of the logits, although the logits are trained separately, by binary cross-entropy. The
*confidence* of a slice is its largest probability. ECE and temperature scaling follow Guo et al.,
On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
TEMPERATURE_LIMITS = (0.05, 20.0)


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in B bins of the confidence with equal widths.

    Attributes:
        edges: (B + 1,) from 0 to 1; a bin contains its upper edge, not its lower edge.
        slices: (B,) number of slices.
        confidence: (B,) mean confidence; NaN in an empty bin.
        accuracy: (B,) fraction predicted correctly; NaN in an empty bin.
    """

    edges: np.ndarray
    slices: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error, 0..1: mean |accuracy - confidence|, weighted by slices."""
        filled = self.slices > 0
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.average(gaps[filled], weights=self.slices[filled]))


@dataclass(frozen=True)
class Calibration:
    """Measures of calibration; smaller is better.

    Attributes:
        reliability: the bins of a reliability diagram.
        brier: Brier score, 0..2.
        nll: negative log-likelihood, in nats.
    """

    reliability: Reliability
    brier: float
    nll: float

    @property
    def ece(self) -> float:
        """Expected calibration error, 0..1."""
        return self.reliability.ece


def calibration(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    """All measures of calibration.

    Raises:
        ValueError: there are no slices, or the shapes do not match.
    """
    return Calibration(
        reliability_bins(labels, logits), brier_score(labels, logits), log_loss(labels, logits)
    )


def reliability_bins(labels: np.ndarray, logits: np.ndarray) -> Reliability:
    """Confidence and accuracy in :data:`BINS` bins of the confidence.

    Raises:
        ValueError: there are no slices, or the shapes do not match.
    """
    labels, logits = _check(labels, logits)
    confidence = softmax(logits, axis=1).max(axis=1)
    right = logits.argmax(axis=1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    index = np.digitize(confidence, edges[1:-1], right=True)
    slices = np.bincount(index, minlength=BINS)
    with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins gives NaN, as documented
        means = [
            np.bincount(index, weights=v, minlength=BINS) / slices for v in (confidence, right)
        ]
    return Reliability(edges, slices, *means)


def brier_score(labels: np.ndarray, logits: np.ndarray) -> float:
    """Multi-class Brier score, 0..2: squared errors summed over classes, mean over slices.

    Raises:
        ValueError: there are no slices, or the shapes do not match.
    """
    labels, logits = _check(labels, logits)
    errors = softmax(logits, axis=1) - np.eye(logits.shape[1])[labels]
    return float((errors**2).sum(axis=1).mean())


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Negative log-likelihood of the true classes, mean over slices, in nats.

    It is computed from the logits, so probabilities that round to 0 do not make it infinite.

    Raises:
        ValueError: there are no slices, or the shapes do not match.
    """
    labels, logits = _check(labels, logits)
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Fit the temperature T, 0.05..20, that minimises the log loss of ``logits / T``.

    Fit it on validation slices and apply it to test slices; it does not change the predicted
    classes. The search is on a log scale. If all slices are predicted correctly, the log loss has
    no minimum and T is the lower limit; see :func:`at_limit`.

    Raises:
        ValueError: there are no slices, or the shapes do not match.
    """

    def loss(temperature: float) -> float:
        return log_loss(labels, apply_temperature(logits, temperature))

    low, high = TEMPERATURE_LIMITS
    found = minimize_scalar(
        lambda x: loss(np.exp(x)),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    # the bounded search never evaluates the limits themselves
    return min((low, float(np.exp(found.x)), high), key=loss)


def at_limit(temperature: float) -> bool:
    """Whether a fitted temperature is a limit of the search: the log loss has no minimum inside."""
    return temperature in TEMPERATURE_LIMITS


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """``logits / temperature``; a temperature above 1 makes the probabilities less confident."""
    return np.asarray(logits, dtype=float) / temperature


def _check(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(labels, dtype=int), np.asarray(logits, dtype=float)
    if logits.ndim != 2 or len(labels) != len(logits) or not len(labels):
        raise ValueError(
            f"expected logits (M, C) for M > 0 labels, got {logits.shape} for {len(labels)} labels"
        )
    return labels, logits
