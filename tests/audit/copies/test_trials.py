"""The trial makes copies of given images and measures the search on them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from thin_scans import thin_slices

from ct_lesion.audit.copies import trials
from ct_lesion.audit.copies.kinds import COPY_KINDS, CopyKind
from ct_lesion.audit.copies.search import Copy
from ct_lesion.audit.copies.trials import TrialRow, count_links, run_trial, trial_on


def test_links_are_counted_by_hand() -> None:
    # originals 0..3, copies 4 and 5 of kind 0, 6 and 7 of kind 1
    made = [(0, 0), (0, 1), (1, 2), (1, 3)]
    links = [Copy(0, 4, "near copy"), Copy(1, 4, "near copy"), Copy(2, 6, "near copy")]
    links += [Copy(6, 7, "near copy"), Copy(0, 1, "near copy")]
    rows = count_links(links, made, range(4))
    assert rows[:2] == [
        TrialRow(COPY_KINDS[0].name, copies=2, found=1, wrong=1),
        # a link between copies of two images is wrong for both
        TrialRow(COPY_KINDS[1].name, copies=2, found=1, wrong=2),
    ]
    assert rows[2:] == [TrialRow(kind.name, 0, 0, 0) for kind in COPY_KINDS[2:]]
    assert (rows[0].recall, rows[0].precision) == (0.5, 0.5)
    # if originals 0 and 1 are copies, a copy of either is a copy of both
    rows = count_links(links, made, [0, 0, 2, 3])
    assert (rows[0].found, rows[0].wrong) == (1, 0)


def test_a_trial_on_thin_slices_finds_nearly_all_copies() -> None:
    report = trial_on(thin_slices())
    assert report.images == 36
    assert [row.kind for row in report.rows] == [kind.name for kind in COPY_KINDS]
    assert {row.copies for row in report.rows} <= {8, 9, 10}  # 5 x 36 copies of 20 kinds
    assert report.total.copies == 180
    assert report.total.recall >= 0.98 and report.total.precision >= 0.99
    assert report.linked_originals == 0


def test_copies_that_lose_the_image_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    lost = CopyKind("replaced by noise", (lambda _: noise,))
    monkeypatch.setattr(trials, "COPY_KINDS", [lost])
    (row,) = trial_on(thin_slices()[:12]).rows
    # all copies are the same image, so links between them join different originals
    assert row.found == 0 and row.recall == 0 and row.precision == 0 and row.wrong > 0


def test_a_trial_of_files_samples_runs_and_skips_unusable_images(tmp_path: Path) -> None:
    for number, image in enumerate(thin_slices()):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "0.png").write_bytes(b"broken")
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((64, 64), np.uint8))
    paths = sorted(tmp_path.iterdir())
    assert len(trials._read(trials._choose(paths, 100, seed=0))) == 34
    chosen = [int(path.stem) for path in trials._choose(paths, 20, seed=0)]
    assert len(chosen) <= 20 and chosen == sorted(chosen)
    assert all(n + 1 in chosen for n in chosen if n % 10 != 9 and n != 35)
    assert run_trial(paths, sample=10).images <= 10


def test_a_trial_without_images_has_no_recall() -> None:
    report = run_trial([])
    assert report.images == 0 and report.total.recall is None and report.total.precision is None
