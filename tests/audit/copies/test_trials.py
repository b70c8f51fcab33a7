"""Trials of the search: what is counted, and on what."""

from pathlib import Path

import cv2
import numpy as np
from thin_scans import thin_slices

from ct_lesion.audit.copies.kinds import COPY_KINDS, CopyKind
from ct_lesion.audit.copies.search import Copy
from ct_lesion.audit.copies.trials import TrialRow, count_links, run_trial, trial_on

KINDS = COPY_KINDS[:2]


def test_links_are_counted_by_hand() -> None:
    # originals 0..3, copies 4 and 5 of kind 0, 6 and 7 of kind 1
    made = [(0, 0), (0, 1), (1, 2), (1, 3)]
    links = [Copy(0, 4, "near copy"), Copy(1, 4, "near copy"), Copy(2, 6, "near copy")]
    links += [Copy(6, 7, "near copy"), Copy(0, 1, "near copy")]
    rows = count_links(links, KINDS, made, range(4))
    assert rows == [
        TrialRow(KINDS[0].name, copies=2, found=1, wrong=1),
        # a link between copies of two images is wrong for both
        TrialRow(KINDS[1].name, copies=2, found=1, wrong=2),
    ]
    assert (rows[0].recall, rows[0].precision) == (0.5, 0.5)
    # where original 0 is itself a copy of 1, a copy of either is one of both
    rows = count_links(links, KINDS, made, [0, 0, 2, 3])
    assert (rows[0].found, rows[0].wrong) == (1, 0)


def test_a_trial_on_thin_slices() -> None:
    report = trial_on(thin_slices(), copies=9)
    assert report.images == 36 and report.copies == 9 * len(COPY_KINDS)
    assert [row.kind for row in report.rows] == [kind.name for kind in COPY_KINDS]
    assert all(row.copies == 9 for row in report.rows)
    assert report.recall >= 0.98 and report.precision >= 0.99
    assert report.linked_originals == 0


def test_a_change_that_leaves_nothing_is_not_found() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    lost = CopyKind("replaced by noise", (lambda _: noise,))
    (row,) = trial_on(thin_slices()[:12], copies=12, kinds=[lost]).rows
    # the copies are all one image: links among them join different originals
    assert row.found == 0 and row.recall == 0 and row.precision == 0 and row.wrong > 0


def test_a_trial_of_files_takes_runs_and_leaves_out_the_broken(tmp_path: Path) -> None:
    for number, image in enumerate(thin_slices()):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "0.png").write_bytes(b"broken")
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((64, 64), np.uint8))
    report = run_trial(sorted(tmp_path.iterdir()), sample=100, copies=5, kinds=KINDS)
    assert report.images == 34
    assert [(row.copies, row.found, row.wrong) for row in report.rows] == [(5, 5, 0)] * 2
    assert run_trial(sorted(tmp_path.iterdir()), sample=20, copies=5, kinds=KINDS).images <= 20


def test_a_trial_of_nothing() -> None:
    report = run_trial([])
    assert report.images == 0 and report.recall is None and report.precision is None
