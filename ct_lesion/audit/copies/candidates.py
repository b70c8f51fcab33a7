"""Finds pairs of images that may be copies by locality-sensitive hashing, in about linear time.

Each image gets 1024 bits, which show where it is brighter than its surroundings. Copies with
another window or encoding have almost the same bits. A band is a random selection of bits; images
that agree in all bits of a band share a bucket. A copy shares at least one of BANDS buckets with
its original, images of other anatomy rarely share any. N images, P pairs.
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
"""Partners of an image per bucket; the limit keeps large clusters of copies linear."""
MOST_CANDIDATES = 48  # partners of an image: the ones that share the most buckets with it
BLOCK = 2048  # images looked up at a time
SAMPLE = 4096  # images that are sampled to find the bits that vary most


def find_candidates(fingerprints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs of images that look alike in some orientation, with a progress bar.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8.

    Returns:
        ``i``, ``j`` and ``orientation``, each ``(P,)`` int64, sorted by ``i`` and ``j``: the
        orientation turns image i into image j; ``i < j``. A pair may occur in several orientations.
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
    blocks = []
    bar = tqdm(range(0, count, BLOCK), desc="searching similar images", leave=False, disable=None)
    for start in bar:
        rows = np.arange(start, min(start + BLOCK, count))
        blocks.append(_block_candidates(bits, rows, bands, tables, orders))
    codes = np.unique(np.concatenate(blocks)) if blocks else np.empty(0, np.int64)
    return codes // 8 // count, codes // 8 % count, codes % 8


def _bits(fingerprints: np.ndarray) -> np.ndarray:
    """Compute ``(N, BIT_SIDE ** 2)`` bits as uint8: 1 where an image exceeds its surroundings."""
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
    """Select ``(BANDS, BAND_BITS)`` bit indices at random from the bits that vary most."""
    sample = bits[:: max(len(bits) // SAMPLE, 1)]
    share = sample.mean(axis=0, dtype=np.float64) if len(sample) else np.zeros(bits.shape[1])
    varying = np.argsort(-share * (1 - share), kind="stable")
    usable = max(8 * BAND_BITS, int(((share > 0.2) & (share < 0.8)).sum()))
    rng = np.random.default_rng(0)
    bands = [rng.choice(varying[:usable], BAND_BITS, replace=False) for _ in range(BANDS)]
    return np.array(bands)


def _keys(bits: np.ndarray) -> np.ndarray:
    """Pack ``(N, up to 64)`` bits into ``(N,)`` uint64."""
    padded = np.zeros((len(bits), 8), np.uint8)
    packed = np.packbits(bits, axis=1)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64).ravel()


def _block_candidates(
    bits: np.ndarray,
    rows: np.ndarray,
    bands: np.ndarray,
    tables: list[tuple[np.ndarray, np.ndarray]],
    orders: np.ndarray,
) -> np.ndarray:
    """Find partners of the images ``rows``.

    Args:
        bits: ``(N, BIT_SIDE ** 2)`` of all images.
        rows: indices of the images to look up.
        bands: ``(BANDS, BAND_BITS)`` bit indices.
        tables: for each band, the sorted keys of all images, and the images in that order.
        orders: ``(8, BIT_SIDE ** 2)`` pixel order of each orientation.

    Returns:
        Codes ``(i * N + j) * 8 + orientation``, ``i < j``.
    """
    count, hits = len(bits), []
    for orientation in range(len(ORIENTATIONS)):
        for band, (keys, order) in zip(bands, tables, strict=True):
            row_keys = _keys(bits[np.ix_(rows, orders[orientation][band])])
            low = np.searchsorted(keys, row_keys, "left")
            size = np.searchsorted(keys, row_keys, "right") - low
            taken = np.minimum(size, MOST_IN_BUCKET)
            # spread over large buckets: each image takes a different part
            low = low + rows * 7919 % (size - taken + 1)
            query = np.repeat(np.arange(len(rows)), taken)
            first = np.repeat(low - (np.cumsum(taken) - taken), taken)
            others = order[np.arange(len(query)) + first]
            keep = others != rows[query]
            hits.append((query[keep] * count + others[keep]) * 8 + orientation)
    codes, times = np.unique(np.concatenate(hits), return_counts=True)
    query = codes // 8 // count
    # keep for each image the partners with the most shared buckets
    ranked = np.lexsort((-times, query))
    place = np.arange(len(codes)) - np.searchsorted(query, query[ranked])
    codes = codes[ranked[place < MOST_CANDIDATES]]
    i, j, orientation = rows[codes // 8 // count], codes // 8 % count, codes % 8
    swap = i > j
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    return (i * count + j) * 8 + np.where(swap, INVERSE[orientation], orientation)
