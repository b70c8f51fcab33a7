"""Metrics by a column of a metadata file, and unusable files."""

import math

import numpy as np
import pytest

from ct_lesion.evaluation.classification_intervals import classification_intervals
from ct_lesion.evaluation.subgroups import (
    MetadataError,
    read_metadata,
    subgroup_metrics,
    subgroup_names,
)

NAMES = ("Control", "Common Pneumonia", "COVID-19")
FILES = ["/data/7/0.png", "/data/7/1.png", "/data/8/0.png", "/data/9/0.png"]
SCANS = ["1", "2", "1", "5"]
PATIENTS = ["7", "7", "8", "9"]


@pytest.fixture
def names_by(tmp_path):
    """Subgroup names of the four slices above, by the text of a CSV file."""

    def read(text: str, column: str = "site") -> list[str]:
        path = tmp_path / "meta.csv"
        path.write_text(text, encoding="utf-8")
        return subgroup_names(read_metadata(path, column), FILES, SCANS, PATIENTS).tolist()

    return read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patient,site\n7,A\n8,B\n", ["A", "A", "B", "unknown"]),
        ("scan,site\n7/1,A\n7/2,B\n5,C\n", ["A", "B", "unknown", "C"]),
        ("file,site\n/data/7/0.png,A\n1.png,B\n9/0.png,C\n", ["A", "B", "unknown", "C"]),
        # the first key column counts; other columns and their order do not matter
        ("site,patient,age,scan\nA,7,5,7/1\nB,7,5,7/2\n", ["A", "B", "unknown", "unknown"]),
        # byte order mark, spaces, an empty value, an empty and a short line, a repeated line
        (
            "\ufeffpatient, site\n 7 , A\n8,\n\n9\n7,A\n",
            ["A", "A", "unknown", "unknown"],
        ),
    ],
)
def test_values_are_matched_by_patient_scan_or_file(names_by, text, expected):
    assert names_by(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,age\n7,50\n", "has no column site; its columns are: patient, age."),
        ("id,site\n7,A\n", "has no column file, scan or patient; its columns are: id, site."),
        ("", "its columns are: none."),
        ("patient,site\n7,A\n7,B\n", "patient 7 has several values of site: A and B."),
        ("patient,site\n70,A\n", "none of the 4 slices. .* patient has e.g. 70, .* e.g. 7."),
        ("patient,site\n", "none of the 4 slices. .* e.g. nothing"),
        ("scan,site\n1,A\n", "scan 1 is ambiguous, it matches e.g. 7/1 and 8/1. Use a longer"),
        (
            "file,site\n0.png,A\n",
            "file 0.png is ambiguous, it matches e.g. /data/7/0.png and /data/8/0.png",
        ),
    ],
)
def test_faulty_files_are_one_line(names_by, text, message):
    with pytest.raises(MetadataError, match=message) as caught:
        names_by(text)
    assert "meta.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(MetadataError, match=r"none\.csv cannot be read"):
        read_metadata(tmp_path / "none.csv", "site")
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(MetadataError, match=r"table\.xlsx is not a CSV file in UTF-8"):
        read_metadata(tmp_path / "table.xlsx", "site")


def test_metrics_of_each_subgroup():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3)) + np.eye(3)[labels]
    patients = np.arange(200) // 4
    groups = np.where(patients < 20, "9", np.where(patients < 40, "10", "unknown"))
    found = subgroup_metrics(labels, logits, NAMES, patients, groups, resamples=60, seed=5)
    assert [g.name for g in found] == ["9", "10", "unknown"]
    assert [(g.slices, g.patients) for g in found] == [(80, 20), (80, 20), (40, 10)]
    assert [g.warning for g in found] == ["", "", ""]
    own = groups == "10"
    alone = classification_intervals(
        labels[own], logits[own], NAMES, patients[own], resamples=60, seed=5
    )
    wanted = ("accuracy", "sensitivity", "specificity", "AUC")
    expected = {k: v for k, v in alone.items() if k.split("/")[0] in wanted}
    assert found[1].metrics == expected
    assert len(expected) == 1 + 3 * 3


def test_subgroups_of_one_class_or_one_patient_have_a_warning():
    labels = np.array([0, 0, 0, 1, 2, 0])
    groups = ["b", "b", "b", "Siemens", "Siemens", "unknown"]
    patients = ["1", "2", "2", "3", "3", "4"]
    siemens, b, unknown = subgroup_metrics(labels, np.eye(3)[labels], NAMES, patients, groups)
    assert siemens.warning == "only one patient, so no intervals"
    assert siemens.metrics["AUC/COVID-19"].estimate == 1
    assert math.isnan(siemens.metrics["accuracy"].low)
    assert b.warning.startswith("only Control slices")
    assert b.metrics["accuracy"].estimate == b.metrics["sensitivity/Control"].low == 1
    assert b.metrics["specificity/COVID-19"].estimate == 1
    assert math.isnan(b.metrics["specificity/Control"].estimate)
    assert math.isnan(b.metrics["AUC/Control"].estimate)
    assert unknown.warning.startswith("only Control slices")
    assert unknown.warning.endswith("; only one patient, so no intervals")
