import numpy as np
import pytest

from ct_lesion.audit.classes import shortcut_probe
from ct_lesion.audit.classes.shortcut_probe import ALL, probe_classes


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch):
    monkeypatch.setattr(shortcut_probe, "RESAMPLES", 200)
    monkeypatch.setattr(shortcut_probe, "TREES", 10)


def cohort(patients: int = 20, slices: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients of slices; the patients alternate between two classes."""
    patient_of = np.repeat(np.arange(2 * patients), slices)
    return np.where(patient_of % 2, "NCP", "CP"), patient_of.astype(str)


def test_a_property_that_predicts_the_class_is_named():
    labels, patients = cohort()
    rng = np.random.default_rng(0)
    features = {
        "file format": (labels == "NCP").astype(float)[:, None],
        "border": rng.normal(size=(len(labels), 1)),
    }
    results, why = probe_classes(features, labels, patients)
    assert why == ""
    by_features = {r.features: r for r in results}
    assert by_features["file format"].auc.estimate == 1
    assert by_features["file format"].is_shortcut
    assert by_features[ALL].is_shortcut
    assert not by_features["border"].is_shortcut
    assert {r.label for r in results} == {"CP or NCP"}


def test_properties_of_patients_unrelated_to_the_class_do_not_predict_it():
    labels, patients = cohort(slices=8)
    # each patient has a size: only cross-validation by patient prevents memorising it
    sizes = np.random.default_rng(1).normal(size=(40, 2))[patients.astype(int)]
    (result,), _ = probe_classes({"image size": sizes}, labels, patients)
    assert not result.is_shortcut
    assert result.auc.low < 0.5


def test_of_three_classes_only_the_predictable_class_is_a_shortcut():
    patients = np.repeat(np.arange(45), 2)
    labels = np.array(["CP", "NCP", "Normal"])[patients % 3]
    wide = (labels == "Normal").astype(float)[:, None]
    results, _ = probe_classes({"image size": wide}, labels, patients.astype(str))
    assert {r.label for r in results if r.auc.estimate > 0.99} == {"Normal"}
    assert [r.label for r in results] == ["CP", "NCP", "Normal"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(["CP"] * 40, "there is only one class"), (["CP"] * 31 + ["NCP"] * 9, "9 patients of NCP")],
)
def test_classes_that_cannot_be_measured_have_a_reason(labels, reason):
    patient_of = np.arange(40).astype(str)
    results, why = probe_classes({"x": np.arange(40.0)[:, None]}, np.array(labels), patient_of)
    assert results == []
    assert reason in why


def test_equal_properties_of_all_files_are_not_measured():
    labels, patients = cohort()
    results, why = probe_classes({"image size": np.full((len(labels), 2), 512.0)}, labels, patients)
    assert results == []
    assert "same properties" in why
