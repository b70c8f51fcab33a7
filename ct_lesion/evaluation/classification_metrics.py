"""Classification metrics, as pure functions on arrays.

Shapes: M images, C classes. ``labels`` and ``predicted`` are (M,) class indices, ``logits`` (M, C).
All values are fractions in 0..1; undefined values are NaN, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

PER_CLASS = ("sensitivity", "specificity", "PPV", "F1", "AUC")


@dataclass(frozen=True)
class ClassificationMetrics:
    """Classification metrics; those of the classes are arrays (C,), in class order.

    Attributes:
        class_names: names of the classes 0 to C - 1.
        confusion: (C, C) counts, rows are true classes, columns predicted classes.
        accuracy: fraction of all images that are predicted correctly.
        sensitivity: fraction of the images of a class that are predicted as it (recall).
        specificity: fraction of the images of other classes that are not predicted as it.
        ppv: fraction of the images predicted as a class that belong to it (precision).
        f1: harmonic mean of sensitivity and positive predictive value.
        auc: area under the ROC curve of the class's logit, against all other classes.
        undefined: why a value is NaN, by its name in :meth:`as_dict`.
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
    """Counts (C, C); rows are true classes, columns predicted classes."""
    classes = np.arange(num_classes)
    if len(labels) == 0:  # scikit-learn raises an error
        return np.zeros((num_classes, num_classes), dtype=int)
    # not at the top: the import takes a second, and most commands do not need it
    from sklearn import metrics

    return metrics.confusion_matrix(labels, predicted, labels=classes)


def rates_from_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, PPV and F1 of each class, (C,) each.

    Args:
        confusion: (C, C) counts, rows are true classes, columns predicted classes.
    """
    hits, of_class, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    others = confusion.sum() - of_class
    with np.errstate(invalid="ignore"):  # 0 / 0 gives NaN, as documented
        return {
            "sensitivity": hits / of_class,
            "specificity": (others - predicted + hits) / others,
            "PPV": hits / predicted,
            # of_class / of_class is NaN for a class without images, even if it is predicted
            "F1": 2 * hits / (of_class + predicted) * (of_class / of_class),
        }


def one_vs_rest_auc(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Area under each class's ROC curve, (C,); NaN if all or no images belong to the class.

    The score of a class is its logit. A softmax over the classes would reorder the images, because
    the logits are trained separately, by binary cross-entropy.
    """
    from sklearn import metrics

    areas = np.full(logits.shape[1], np.nan)
    for index in range(logits.shape[1]):
        positive = labels == index
        if positive.any() and not positive.all():
            areas[index] = metrics.roc_auc_score(positive, logits[:, index])
    return areas


def classification_metrics(
    labels: np.ndarray, logits: np.ndarray, class_names: Sequence[str]
) -> ClassificationMetrics:
    """All metrics; the predicted class has the largest logit, and is the first of tied classes.

    Sensitivity, F1 and AUC are undefined for a class without images, PPV for a class that is never
    predicted, specificity and AUC for a class that all images belong to.

    Args:
        labels: (M,) true class indices.
        logits: (M, C).
        class_names: C names.

    Raises:
        ValueError: the shapes do not match, a label is outside 0..C - 1, or a logit is not finite.
    """
    labels, logits = np.asarray(labels, dtype=int), np.asarray(logits, dtype=float)
    num_classes = len(class_names)
    logits = logits.reshape(-1, num_classes) if logits.size == 0 else logits
    if logits.ndim != 2 or logits.shape != (len(labels), num_classes):
        raise ValueError(
            f"expected logits of shape {(len(labels), num_classes)} for {len(labels)} labels and "
            f"{num_classes} classes, got {logits.shape}"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"expected labels in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}"
        )
    if not np.isfinite(logits).all():
        raise ValueError(
            f"the logits of {(~np.isfinite(logits)).any(axis=1).sum()} images are not finite"
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
    result.undefined.update(_reasons(result))
    return result


def _reasons(result: ClassificationMetrics) -> dict[str, str]:
    """Why values are NaN, by the value's name."""
    values, of_class = result.as_dict(), result.confusion.sum(axis=1)
    if not of_class.sum():
        return dict.fromkeys(values, "there are no images")
    reasons = {}
    for index, name in enumerate(result.class_names):
        if of_class[index] == 0:
            reason = f"no image is {name}"
        elif of_class[index] == of_class.sum():
            reason = f"every image is {name}"
        else:
            reason = f"no image is predicted as {name}"
        for metric in PER_CLASS:
            # PPV depends on the predictions only
            why = f"no image is predicted as {name}" if metric == "PPV" else reason
            if np.isnan(values[f"{metric}/{name}"]):
                reasons[f"{metric}/{name}"] = why
    return reasons
