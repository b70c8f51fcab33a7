"""Pairs of images that may be copies, in about linear time, by locality-sensitive hashing.

Each image gets 1024 bits: where it is brighter than its surroundings. Copies with another window or
encoding share almost all bits. For each of BANDS random selections of bits, images with the same
bits share a bucket; a copy shares at least one bucket with its original, images of other anatomy
hardly ever do. N images, P pairs.
"""

from __future__ import annotations

import cv2
import numpy as np
from tqdm import tqdm

from ..images.fingerprint import SIDE, thumbnails
from .orientations import INVERSE, ORIENTATIONS, orientation_orders

BIT_SIDE = 32
BANDS, BAND_BITS = 32, 40
MOST_IN_BUCKET = 16
"""Images of a bucket that an image is paired with: keeps large clusters of copies linear."""
MOST_CANDIDATES = 48  # of an image: those that share the most buckets with it
BLOCK = 2048  # images looked up at a time
SAMPLE = 4096  # images whose bits decide which bits discriminate


def find_candidates(fingerprints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of images that look alike in some orientation, with a progress bar.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8.

    Returns:
        ``i``, ``j`` and ``orientation``, each ``(P,)``, sorted by ``i`` and ``j``: the orientation
        turns image i into image j; ``i < j``. A pair may occur in several orientations.
    """
    count = len(fingerprints)
    bits = _bits(fingerprints)
    bands = _choose_bands(bits)
    tables = []
    for band in bands:
        keys = _keys(bits[:, band])
        order = np.argsort(keys, kind="stable").astype(np.int64)
        tables.append((keys[order], order))
    orders = orientation_orders(BIT_SIDE)
    found = []
    bar = tqdm(range(0, count, BLOCK), desc="searching similar images", leave=False, disable=None)
    for start in bar:
        rows = np.arange(start, min(start + BLOCK, count))
        found.append(_block_candidates(bits, rows, bands, tables, orders))
    codes = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return codes // 8 // count, codes // 8 % count, codes % 8


def _bits(fingerprints: np.ndarray) -> np.ndarray:
    """``(N, BIT_SIDE ** 2)`` uint8, 0 or 1."""
    bits = np.empty((len(fingerprints), BIT_SIDE**2), np.uint8)
    scale = SIDE / BIT_SIDE
    for row, thumbnail in zip(bits, thumbnails(fingerprints), strict=True):
        image = thumbnail.astype(np.float32)
        detail = cv2.GaussianBlur(image, (0, 0), 0.5 * scale)
        detail -= cv2.GaussianBlur(image, (0, 0), 2 * scale)
        small = cv2.resize(detail, (BIT_SIDE, BIT_SIDE), interpolation=cv2.INTER_AREA)
        row[:] = small.ravel() > 1  # at threshold 0, flat areas give random bits
    return bits


def _choose_bands(bits: np.ndarray) -> np.ndarray:
    """``(BANDS, BAND_BITS)``: random selections of the bits that vary most between images."""
    sample = bits[:: max(len(bits) // SAMPLE, 1)]
    share = sample.mean(axis=0, dtype=np.float64) if len(sample) else np.zeros(bits.shape[1])
    varying = np.argsort(-share * (1 - share), kind="stable")
    enough = max(8 * BAND_BITS, int(((share > 0.2) & (share < 0.8)).sum()))
    rng = np.random.default_rng(0)
    chosen = [rng.choice(varying[:enough], BAND_BITS, replace=False) for _ in range(BANDS)]
    return np.array(chosen)


def _keys(bits: np.ndarray) -> np.ndarray:
    """``(N,)`` uint64 of ``(N, up to 64)`` bits."""
    packed = np.zeros((len(bits), 8), np.uint8)
    narrow = np.packbits(bits, axis=1)
    packed[:, : narrow.shape[1]] = narrow
    return packed.view(np.uint64).ravel()


def _block_candidates(
    bits: np.ndarray,
    rows: np.ndarray,
    bands: np.ndarray,
    tables: list[tuple[np.ndarray, np.ndarray]],
    orders: np.ndarray,
) -> np.ndarray:
    """Candidates of the images ``rows``, as codes ``(i * N + j) * 8 + orientation``, ``i < j``."""
    count, hits = len(bits), []
    for orientation in range(len(ORIENTATIONS)):
        for band, (keys, order) in zip(bands, tables, strict=True):
            own = _keys(bits[np.ix_(rows, orders[orientation][band])])
            low = np.searchsorted(keys, own, "left")
            size = np.searchsorted(keys, own, "right") - low
            taken = np.minimum(size, MOST_IN_BUCKET)
            # each image takes another part of a large bucket
            low = low + rows * 7919 % (size - taken + 1)
            query = np.repeat(np.arange(len(rows)), taken)
            first = np.repeat(low - (np.cumsum(taken) - taken), taken)
            others = order[np.arange(len(query)) + first]
            keep = others != rows[query]
            hits.append((query[keep] * count + others[keep]) * 8 + orientation)
    codes, times = np.unique(np.concatenate(hits), return_counts=True)
    query = codes // 8 // count
    # for each image, sort by the number of shared buckets
    ranked = np.lexsort((-times, query))
    place = np.arange(len(codes)) - np.searchsorted(query, query[ranked])
    codes = codes[ranked[place < MOST_CANDIDATES]]
    i, j, orientation = rows[codes // 8 // count], codes // 8 % count, codes % 8
    swap = i > j
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    return (i * count + j) * 8 + np.where(swap, INVERSE[orientation], orientation)
