"""Lesion as a share of lungs and their parts, against hand-computed values."""

import numpy as np
import pytest
from lung_phantoms import as_scan, volume

from ct_lesion.errors import UserError
from ct_lesion.lesions.lung_shares import RegionCounts, severity_score
from ct_lesion.lesions.lung_source import LungSource


def test_shares_of_a_lung_and_its_thirds():
    labels = np.zeros((8, 2, 10), np.uint8)
    labels[1:7, 0] = 1  # six slices with ten pixels, the label 2 in one slice
    labels[5, 1, :4] = 2
    counts = RegionCounts(labels)
    for index in range(8):
        lesion = np.zeros((2, 10), bool)
        lesion[0, :index] = True
        counts.add(index, lesion)
    assert counts.found == [1, 2]
    assert counts.share(1, [1.0] * 8) == pytest.approx(21 / 60)
    assert counts.share(2, [1.0] * 8) == 0
    assert counts.thirds(1, [1.0] * 8) == pytest.approx(
        {"lower": 3 / 20, "middle": 7 / 20, "upper": 11 / 20}
    )
    # the lowest slice alone fills the lower third: 4 of 4 + 5 x 1.6 mm
    thick = [1.0, 4.0, *[1.6] * 5, 1.0]
    assert counts.thirds(1, thick)["lower"] == pytest.approx(1 / 10)
    assert counts.thirds(2, [1.0] * 8) == {"lower": None, "middle": 0, "upper": None}


@pytest.mark.parametrize(
    ("percent", "score"),
    [(0, 0), (0.1, 1), (4.9, 1), (5, 2), (25, 2), (26, 3), (49, 3), (50, 4), (75, 4), (76, 5)],
)
def test_the_severity_score_of_a_lobe(percent, score):
    assert severity_score(percent / 100) == score


def test_the_options_choose_the_source(tmp_path):
    file = tmp_path / "lobes.nii.gz"
    file.touch()
    chosen = {
        name: LungSource.of_options(lungs, lobes, False, ["a"]).record()["lungs"]
        for name, lungs, lobes in (
            ("auto", "auto", None),
            ("none", "none", None),
            ("mask", str(file), None),
            ("lobes", "auto", file),
        )
    }
    assert chosen == {name: name for name in chosen}
    with pytest.raises(UserError, match="Leave out --lungs"):
        LungSource.of_options(str(file), file, False, ["a"])


def test_unknown_lungs_have_a_note_only_if_they_were_searched_for():
    hu, _, spacing = volume()
    scan = as_scan(hu[:4], spacing)
    assert LungSource(auto=False).of(scan).notes == ()
    (note,) = LungSource().of(scan).notes
    assert note.startswith("no shares of lung, because the lungs are unknown: ")
