"""Several processes read files, some of which end their process."""

import pytest
from deadly_reader import name_or_die

from ct_lesion.audit.images.workers import map_chunks

CHUNKS = [["0", "deadly"], ["deadly"], ["3", "4", "deadly", "6"], ["7"], ["deadly", "deadly"]]


def test_each_file_that_ends_its_process_is_named_and_no_other() -> None:
    results = list(map_chunks(name_or_die, CHUNKS, 2, str.upper))
    assert sorted(results) == sorted(
        [[n.upper() if n == "deadly" else n for n in c] for c in CHUNKS]
    )


def test_an_error_of_the_reader_is_raised() -> None:
    with pytest.raises(ValueError, match="no name"):
        list(map_chunks(name_or_die, [["0", "1"], ["", "3"]], 2, str.upper))
