"""Searching 60,000 slices for copies, against decoding them, and how many copies are found."""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2

from ct_lesion.audit.copies.kinds import COPY_KINDS
from ct_lesion.audit.copies.search import find_copies
from ct_lesion.audit.copies.trials import TrialRow, count_links
from ct_lesion.audit.images.facts import ImageFacts, facts_of_pixels, read_image_facts

from .data_rows import decode_image, seconds_of
from .memory import GIB
from .row import Settings, Value, at_most, register_row
from .slices import chest_slices
from .thin_stacks import LEVELS, patient_stacks

PATIENTS, SLICES = 40, 100  # synthetic patients, slices of each of their LEVELS stacks
EVERY = 4  # slices, of which one is copied
SIZE = 256  # px, a side of the slices that are searched
FIRST_SEED = 1000  # of patients that the search was not tuned on
FILES = 60  # that are decoded
WORKERS = 2


def make_facts(seed: int, slices: int, size: int) -> tuple[list[ImageFacts], list[tuple[int, int]]]:
    """Facts of the slices of a synthetic patient and of copies of every fourth of them.

    Returns:
        The facts, originals first, and of each copy its kind and the number of its original.
    """
    originals, copies, made = [], [], []
    for stack in patient_stacks(seed, slices, size):
        for image in stack:
            number = len(originals)
            originals.append(facts_of_pixels(image, f"patient {seed}, slice {number}"))
            if number % EVERY == 0:
                kind = (number // EVERY + seed) % len(COPY_KINDS)
                copy = COPY_KINDS[kind].copy(image)
                copies.append(facts_of_pixels(copy, f"patient {seed}, copy of slice {number}"))
                made.append((kind, number))
    return originals + copies, made


def make_all(
    patients: int, slices: int, size: int
) -> tuple[list[ImageFacts], list[tuple[int, int]]]:
    """The same of many patients, in two processes."""
    originals, copies, made = [], [], []
    work = partial(make_facts, slices=slices, size=size)
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for facts, own in pool.map(work, range(FIRST_SEED, FIRST_SEED + patients)):
            made += [(kind, len(originals) + number) for kind, number in own]
            originals += facts[: len(facts) - len(own)]
            copies += facts[len(facts) - len(own) :]
    return originals + copies, made


def search(
    facts: list[ImageFacts], made: list[tuple[int, int]]
) -> tuple[float, list[TrialRow], int]:
    """Search all for copies of one another.

    Returns:
        Seconds, what was found of each kind, and links between originals, all of which are wrong.
    """
    links = []
    seconds = seconds_of(lambda: links.extend(find_copies(facts)))
    count = len(facts) - len(made)
    rows = count_links(links, made, range(count))
    return seconds, rows, sum(link.j < count for link in links)


def time_files(folder: Path, files: int, size: int) -> tuple[float, float]:
    """Seconds to decode a PNG, and to read all facts of it, in turn."""
    decoding, reading = [], []
    for number, item in enumerate(chest_slices(files, size)):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), item["image"][0].numpy())
        decoding.append(seconds_of(partial(decode_image, path)))
        reading.append(seconds_of(partial(read_image_facts, path)))
    return statistics.median(decoding), statistics.median(reading)


@register_row(
    "find-copies",
    work=f"finding copies among {PATIENTS * LEVELS * SLICES * (EVERY + 1) // EVERY:,} slices",
    unit="slice",
    first="reading all facts and searching, over decoding the images",
    second="",
    target=at_most(3.0),
)
def copies(settings: Settings) -> Value:
    with tempfile.TemporaryDirectory(prefix="ct_lesion_benchmark_") as folder:
        decoding, reading = time_files(Path(folder), FILES, settings.size)
    facts, made = make_all(PATIENTS, SLICES, SIZE)
    seconds, rows, between_originals = search(facts, made)
    found, wrong = sum(r.found for r in rows), sum(r.wrong for r in rows) + between_originals
    values = {
        "slices": len(facts),
        "copies among them": len(made),
        "seconds to search": seconds,
        f"ms to decode an image of {settings.size} px": decoding * 1e3,
        "reading all facts, over decoding": reading / decoding,
        "searching, over decoding": seconds / len(facts) / decoding,
        "most memory of the process, GiB": _most_memory(),
        "precision": found / (found + wrong),
        "recall": found / len(made),
        "wrong links between originals": between_originals,
    }
    for row in rows:
        values[f"{row.kind}: recall"] = row.recall
        values[f"{row.kind}: precision"] = row.precision
    return Value((reading + seconds / len(facts)) / decoding, "x", values)


def _most_memory() -> float:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / GIB
