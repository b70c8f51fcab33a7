"""The search finds copies, but not neighbouring slices or other patients."""

from dataclasses import replace

import numpy as np
import pytest
from thin_scans import facts_of, thin_slices

from ct_lesion.audit.copies.candidates import MOST_CANDIDATES, find_candidates
from ct_lesion.audit.copies.kinds import COPY_KINDS, jpeg, rewindow, turn
from ct_lesion.audit.copies.search import Copy, find_copies


def pairs(copies: list[Copy]) -> list[tuple[int, int]]:
    return [(copy.i, copy.j) for copy in copies]


def test_neighbouring_slices_and_other_stacks_are_not_copies() -> None:
    facts = facts_of(thin_slices())
    assert find_copies(facts) == []
    # nor if every second slice is in another split
    assert find_copies(facts, [n % 2 for n in range(len(facts))]) == []


def test_each_kind_of_copy_is_found_among_neighbours() -> None:
    images = thin_slices()
    originals = facts_of(images)
    # one copy per original
    sources = range(len(COPY_KINDS))
    made = [kind.copy(images[n]) for kind, n in zip(COPY_KINDS, sources, strict=True)]
    copies = find_copies(originals + facts_of(made))
    assert pairs(copies) == [(n, len(images) + k) for k, n in enumerate(sources)]
    by_kind = {COPY_KINDS[c.j - len(images)].name: c for c in copies}
    assert by_kind["flipped left-right"].orientation == "flipped left-right"
    turned = by_kind["turned by 90 degrees, JPEG quality 75"]
    assert turned.orientation == "turned by 90 degrees" and turned.kind == "near copy"
    assert 0.8 < turned.similarity < 1


def test_copies_are_classified_by_bytes_pixels_and_likeness() -> None:
    image, other = thin_slices()[0], thin_slices()[-1]
    facts = facts_of([image, image, image, jpeg(75)(image), other])
    facts = [replace(f, sha256=s) for f, s in zip(facts, "aabcd", strict=True)]
    copies = find_copies(facts)
    assert [(c.i, c.j, c.kind) for c in copies] == [
        (0, 1, "same bytes"),
        (0, 2, "same pixels"),
        (0, 3, "near copy"),
    ]
    assert pairs(find_copies(facts, near=False)) == [(0, 1), (0, 2)]


def test_with_groups_only_images_of_different_groups_are_linked() -> None:
    image, other = thin_slices()[0], thin_slices()[-1]
    facts = facts_of([image, image, jpeg(75)(image), other, turn(1)(other)])
    assert find_copies(facts, ["a"] * 5) == []
    # both equal images are linked to the third, but not to each other within their group
    assert pairs(find_copies(facts, ["a", "a", "b", "c", "c"])) == [(0, 2), (1, 2)]
    assert pairs(find_copies(facts, ["a", "b", "b", "c", "d"])) == [(0, 1), (0, 2), (3, 4)]
    with pytest.raises(ValueError, match="2 groups for 5 images"):
        find_copies(facts, ["a", "b"])


def test_several_copies_of_one_image_are_all_found() -> None:
    images = thin_slices()
    changes = (jpeg(50), jpeg(75), turn(2), rewindow(-550, 1400))
    facts = facts_of(list(images) + [change(images[5]) for change in changes])
    links = pairs(find_copies(facts))
    assert len(links) == len(changes)
    assert {n for link in links for n in link} == {5, *range(len(images), len(facts))}


def test_a_large_set_of_equal_images_gives_one_link_per_image() -> None:
    facts = facts_of([thin_slices()[0]] * 300)
    copies = find_copies(facts, [n % 3 for n in range(300)])
    assert len(copies) == 299
    assert all(c.i % 3 != c.j % 3 for c in copies)


def test_a_large_cluster_of_near_copies_stays_linear() -> None:
    image = thin_slices()[0]
    rng = np.random.default_rng(0)
    noisy = [np.clip(image + rng.integers(-1, 2, image.shape), 0, 255) for _ in range(200)]
    facts = facts_of([n.astype(np.uint8) for n in noisy])
    prints = np.stack([f.fingerprint for f in facts])
    assert len(find_candidates(prints)[0]) <= MOST_CANDIDATES * len(noisy)
    assert len(find_copies(facts)) == len(noisy) - 1


def test_constant_and_unreadable_images_are_skipped() -> None:
    black = np.zeros((64, 64), np.uint8)
    facts = facts_of([black, black, black])
    broken = [replace(f, pixels_sha256=None, problem="x", problem_kind="corrupt") for f in facts]
    assert find_copies(facts + broken) == []
    assert find_copies([]) == []


def test_work_grows_about_linearly() -> None:
    # candidates per image instead of time: other patients add hardly any
    few, many = (
        np.stack([f.fingerprint for seed in seeds for f in facts_of(thin_slices(seed, 12, 4, 64))])
        for seeds in ((3,), (3, 4, 5, 6))
    )
    share = [len(find_candidates(prints)[0]) / len(prints) for prints in (few, many)]
    assert share[1] < 1.5 * share[0]
