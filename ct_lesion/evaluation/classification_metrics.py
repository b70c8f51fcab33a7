"""Metrics of a classification of images, as pure functions on arrays.

Shapes: M images, C classes. ``labels`` and ``predicted`` are (M,) class indices, ``logits`` (M, C).
All values are fractions in 0..1; what is not defined is NaN, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn import metrics as sk

PER_CLASS = ("sensitivity", "specificity", "PPV", "F1", "AUC")


@dataclass(frozen=True)
class ClassificationMetrics:
    """All metrics of one classification; C values a metric, in class order.

    Attributes:
        class_names: of the classes 0 to C - 1.
        confusion: (C, C) counts, rows true classes, columns predicted ones.
        accuracy: fraction of all images predicted correctly.
        sensitivity: of the images of a class, those predicted as it (recall).
        specificity: of the images of other classes, those not predicted as it.
        ppv: of the images predicted as a class, those of it (precision).
        f1: harmonic mean of sensitivity and positive predictive value.
        auc: area under the ROC curve of the class's own logit, against all other classes.
        undefined: why a value is NaN, by the name it has in :meth:`as_dict`.
    """

    class_names: tuple[str, ...]
    confusion: np.ndarray
    accuracy: float
    sensitivity: np.ndarray
    specificity: np.ndarray
    ppv: np.ndarray
    f1: np.ndarray
    auc: np.ndarray
    undefined: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, float]:
        """``accuracy``, then ``sensitivity/<class>``, ``specificity/<class>`` ..., as fractions."""
        columns = (self.sensitivity, self.specificity, self.ppv, self.f1, self.auc)
        named = {
            f"{metric}/{name}": float(value)
            for metric, values in zip(PER_CLASS, columns, strict=True)
            for name, value in zip(self.class_names, values, strict=True)
        }
        return {"accuracy": self.accuracy, **named}


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C): row true class, column predicted class; zeros where there is no image."""
    classes = np.arange(num_classes)
    if len(labels) == 0:  # scikit-learn refuses it
        return np.zeros((num_classes, num_classes), dtype=int)
    return sk.confusion_matrix(labels, predicted, labels=classes)


def rates_from_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, PPV and F1 of each class, (C,) each.

    Args:
        confusion: (C, C) counts, rows true classes, columns predicted ones.
    """
    hits, of_class, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    others = confusion.sum() - of_class
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is meant
        return {
            "sensitivity": hits / of_class,
            "specificity": (others - said + hits) / others,
            "PPV": hits / said,
            # of_class / of_class: a class without slices has no F1, even if it is predicted
            "F1": 2 * hits / (of_class + said) * (of_class / of_class),
        }


def one_vs_rest_auc(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Area under each class's ROC curve, (C,); NaN where all images or none are of the class.

    The score of a class is its own logit: each logit is trained on its own, by binary
    cross-entropy, and a softmax over the classes would reorder the images.
    """
    areas = np.full(logits.shape[1], np.nan)
    for index in range(logits.shape[1]):
        positive = labels == index
        if positive.any() and not positive.all():
            areas[index] = sk.roc_auc_score(positive, logits[:, index])
    return areas


def classification_metrics(
    labels: np.ndarray, logits: np.ndarray, class_names: Sequence[str]
) -> ClassificationMetrics:
    """All metrics; the predicted class is the one with the largest logit, on a tie the first.

    A class without images has no sensitivity, F1 or AUC; one that is never predicted has no PPV,
    and one that every image has has no specificity or AUC.

    Args:
        labels: (M,) true class indices.
        logits: (M, C).
        class_names: C of them.

    Raises:
        ValueError: shapes that do not fit, labels outside 0..C - 1, or logits that are not finite.
    """
    labels, logits = np.asarray(labels, dtype=int), np.asarray(logits, dtype=float)
    num_classes = len(class_names)
    logits = logits.reshape(-1, num_classes) if logits.size == 0 else logits
    if logits.ndim != 2 or logits.shape != (len(labels), num_classes):
        raise ValueError(
            f"logits {logits.shape} do not fit {len(labels)} labels and {num_classes} classes"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(f"labels {labels.min()}..{labels.max()} are not in 0..{num_classes - 1}")
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{(~np.isfinite(logits)).any(axis=1).sum()} images have logits that are not finite"
        )

    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, num_classes)
    rates = rates_from_confusion(confusion)
    result = ClassificationMetrics(
        class_names=tuple(class_names),
        confusion=confusion,
        accuracy=float(np.trace(confusion) / len(labels)) if len(labels) else np.nan,
        sensitivity=rates["sensitivity"],
        specificity=rates["specificity"],
        ppv=rates["PPV"],
        f1=rates["F1"],
        auc=one_vs_rest_auc(labels, logits),
    )
    of_class = confusion.sum(axis=1)
    result.undefined.update(_reasons(result, of_class, len(labels) - of_class))
    return result


def _reasons(
    result: ClassificationMetrics, of_class: np.ndarray, others: np.ndarray
) -> dict[str, str]:
    if not of_class.sum():
        return dict.fromkeys(result.as_dict(), "there are no images")
    reasons = {}
    for index, name in enumerate(result.class_names):
        if of_class[index] == 0:
            reason = f"no image is {name}"
        elif others[index] == 0:
            reason = f"every image is {name}"
        else:
            reason = f"no image is predicted as {name}"
        for metric in PER_CLASS:
            # PPV asks how often a class was predicted, whatever else is absent
            own = f"no image is predicted as {name}" if metric == "PPV" else reason
            if np.isnan(result.as_dict()[f"{metric}/{name}"]):
                reasons[f"{metric}/{name}"] = own
    return reasons
