"""Whether a classifier's probabilities mean what they say, and a temperature that mends them.

Shapes: M slices, C classes. ``labels`` are (M,) class indices, ``logits`` (M, C). Probabilities are
the softmax of the logits, although the logits were trained one by one, by binary cross-entropy;
the *confidence* of a slice is the largest of them.
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
    """Confidence and accuracy in B bins of the confidence, all of the same width.

    Attributes:
        edges: (B + 1,) from 0 to 1; a bin has its upper edge, not its lower one.
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
        """Expected calibration error: mean of |accuracy - confidence| over bins, by slices."""
        filled = self.slices > 0
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.average(gaps[filled], weights=self.slices[filled]))


@dataclass(frozen=True)
class Calibration:
    """How well probabilities are calibrated; smaller is better.

    Attributes:
        reliability: what a reliability plot shows.
        ece: expected calibration error, 0..1.
        brier: Brier score, 0..2.
        nll: negative log-likelihood, in nats.
    """

    reliability: Reliability
    ece: float
    brier: float
    nll: float


def calibration(labels: np.ndarray, logits: np.ndarray, bins: int = BINS) -> Calibration:
    """All measures of calibration.

    Raises:
        ValueError: no slices, or arrays that do not fit.
    """
    reliability = reliability_bins(labels, logits, bins)
    return Calibration(
        reliability, reliability.ece, brier_score(labels, logits), log_loss(labels, logits)
    )


def reliability_bins(labels: np.ndarray, logits: np.ndarray, bins: int = BINS) -> Reliability:
    """Confidence and accuracy in bins of the confidence.

    Raises:
        ValueError: no slices, or arrays that do not fit.
    """
    labels, logits = _check(labels, logits)
    confidence = softmax(logits, axis=1).max(axis=1)
    right = logits.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    index = np.digitize(confidence, edges[1:-1], right=True)
    slices = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # an empty bin's 0 / 0 is the NaN that is meant
        means = [
            np.bincount(index, weights=v, minlength=bins) / slices for v in (confidence, right)
        ]
    return Reliability(edges, slices, *means)


def brier_score(labels: np.ndarray, logits: np.ndarray) -> float:
    """Multi-class Brier score, 0..2: squared errors summed over classes, mean over slices.

    Raises:
        ValueError: no slices, or arrays that do not fit.
    """
    labels, logits = _check(labels, logits)
    errors = softmax(logits, axis=1) - np.eye(logits.shape[1])[labels]
    return float((errors**2).sum(axis=1).mean())


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Negative log-likelihood of the true classes, mean over slices, in nats.

    From the logits and not from rounded probabilities, so that it is finite.

    Raises:
        ValueError: no slices, or arrays that do not fit.
    """
    labels, logits = _check(labels, logits)
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The temperature T in 0.05..20 for which ``logits / T`` has the smallest log loss.

    Fit it on validation slices, use it on test slices. It changes no predicted class. Searched on
    a log scale. Where all slices are predicted correctly the log loss has no minimum and T is the
    lower limit; see :func:`at_limit`.

    Raises:
        ValueError: no slices, or arrays that do not fit.
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
    # the search never tries the limits themselves
    return min((low, float(np.exp(found.x)), high), key=loss)


def at_limit(temperature: float) -> bool:
    """Whether a fitted temperature is one of the limits, so that it says little about the model."""
    return temperature in TEMPERATURE_LIMITS


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """``logits / temperature``: above 1 the probabilities become less sure."""
    return np.asarray(logits, dtype=float) / temperature


def _check(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(labels, dtype=int), np.asarray(logits, dtype=float)
    if logits.ndim != 2 or len(labels) != len(logits) or not len(labels):
        raise ValueError(
            f"no slices, or logits {logits.shape} that do not fit {len(labels)} labels"
        )
    return labels, logits
