"""The case on the search for copies, at a small scale."""

import numpy as np

from ct_lesion.audit.copies.kinds import COPY_KINDS
from ct_lesion.benchmark.copies import (
    EVERY,
    LEVELS,
    make_facts,
    patient_stacks,
    search,
    time_files,
)


def test_stacks_are_reproducible_and_change_slowly() -> None:
    (one, *_), (again, *_) = (list(patient_stacks(5, 4, 64)) for _ in range(2))
    assert np.array_equal(one, again) and one.shape == (4, 64, 64)
    values = one.astype(float)
    steps = [np.abs(values[0] - values[n]).mean() for n in (1, 3)]
    assert 0 < steps[0] < steps[1]


def test_copies_among_slices_are_searched_and_counted() -> None:
    slices = 4
    facts, made = make_facts(1000, slices, 64)
    count = LEVELS * slices
    assert len(facts) == count + count // EVERY and len(made) == count // EVERY
    seconds, rows, _ = search(facts, made)
    assert seconds > 0
    assert [row.kind for row in rows] == [kind.name for kind in COPY_KINDS]
    assert sum(row.copies for row in rows) == len(made)
    assert sum(row.found for row in rows) > len(made) // 2


def test_decoding_and_reading_are_timed(tmp_path) -> None:
    decoding, reading = time_files(tmp_path, 3, 64)
    assert decoding > 0 and reading > 0
