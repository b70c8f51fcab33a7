from pathlib import Path

import numpy as np
import pytest

from ct_lesion.audit.classes import shortcut_probe
from ct_lesion.audit.classes.probe_features import find_shortcuts, probe_groups
from ct_lesion.audit.images.checks import SliceImage
from ct_lesion.audit.images.facts import Border, ImageFacts
from ct_lesion.audit.inputs.slices import AuditInput, AuditSlice

PATIENTS = 24


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch):
    monkeypatch.setattr(shortcut_probe, "RESAMPLES", 200)
    monkeypatch.setattr(shortcut_probe, "TREES", 10)


def cohort(**of_covid: object) -> tuple[AuditInput, list[SliceImage]]:
    """A slice of each patient; the given facts replace those of patients with COVID-19."""
    rng = np.random.default_rng(0)
    dataset = AuditInput("train", "mine", "json", "here")
    images = []
    for number in range(PATIENTS):
        label = "COVID-19" if number % 2 else "Control"
        facts = {"format": "PNG", "mode": "L", "bits": 8, "width": 512, "height": 512}
        facts["file_bytes"] = int(rng.integers(90_000, 110_000))
        facts["border"] = Border(0, 0, 0, 0, float(rng.random()))
        if label == "COVID-19":
            facts |= of_covid
        path = Path(f"{number}.png")
        dataset.slices.append(AuditSlice(str(number), path, patient=str(number), label=label))
        images.append(SliceImage(dataset, dataset.slices[-1], path, ImageFacts(path, **facts)))
    return dataset, images


@pytest.mark.parametrize(
    ("of_covid", "feature"),
    [
        ({"format": "JPEG"}, "file format"),
        ({"width": 630, "height": 630}, "image size"),
        ({"border": Border(0.1, 0.1, 0, 0, 0.5)}, "border"),
        ({"file_bytes": 200_000}, "file size"),
    ],
)
def test_a_format_size_or_border_that_predicts_the_class_is_named(of_covid, feature):
    dataset, images = cohort(**of_covid)
    results, unchecked = probe_groups([dataset], images)
    assert unchecked == []
    (finding,) = find_shortcuts(results)
    assert "COVID-19 or Control (AUC 1.00) can be predicted from file properties" in finding.what
    assert feature in finding.where[0].partition("; from ")[2]


def test_equal_file_properties_are_not_a_shortcut():
    dataset, images = cohort()
    results, _ = probe_groups([dataset], images)
    assert set(results) == {"train"}
    assert find_shortcuts(results) == []


def test_lists_without_images_are_probed_by_their_body_boxes():
    dataset, _ = cohort()
    rng = np.random.default_rng(0)
    dataset.slices = [
        AuditSlice(
            s.key,
            patient=s.patient,
            label=s.label,
            body_box=(0, int(rng.integers(100)), 512 if s.label == "Control" else 450, 400),
        )
        for s in dataset.slices
    ]
    results, unchecked = probe_groups([dataset], [])
    (finding,) = find_shortcuts(results)
    assert "from body box of the list alone" in finding.what
    assert "only the body boxes" in unchecked[0].why


def test_groups_that_cannot_be_probed_have_a_reason():
    dataset, images = cohort()
    few = AuditInput("few", "few", "json", "here", dataset.slices[:6])
    names_only = AuditInput(
        "names", "names", "list", "here", [AuditSlice("a", patient="1", label="Control")]
    )
    unlabelled = AuditInput("lesions", "lesions", "json", "here", [AuditSlice("a", patient="1")])
    of_few = [SliceImage(few, s.slice, s.path, s.facts) for s in images[:6]]
    results, unchecked = probe_groups([few, names_only, unlabelled], of_few)
    assert results == {}
    few_patients, no_features = unchecked
    assert "only 3 patients of COVID-19" in few_patients.why
    assert no_features.why == "there are neither images nor body boxes, or no patients"
