"""RoIAlign and its gradient on channels-last maps, as Numba kernels.

Bilinear interpolation on a grid is separable: a bin is a weighted sum over a few columns of a
weighted sum over a few rows. Samples of a bin that read the same pixel are merged first, and a row
of bins shares the sum over rows. Each call handles a separate range of channels, so threads need no
locks and the order of summation does not depend on the number of threads.

Shapes: N images, C channels, H x W pixels of a map, R regions, P x P bins per region.
"""

import math

import numba
import numpy as np

# "contract" only allows fused multiply-add, which rounds once instead of twice
_compile = numba.njit(nogil=True, cache=True, fastmath={"contract"})


@_compile
def sample_taps(start, length, bins, samples, size, index, weight, count):
    """Find the pixels that each bin reads along one axis, and their weights.

    As in torchvision, a sample more than one pixel outside the map is skipped, and a sample within
    that pixel takes the border's value.

    Args:
        start, length: the region on this axis, in pixels of the map.
        bins: P.
        samples: number of samples in a bin on this axis.
        size: H or W.
        index, weight: ``(P, 2 * samples)``, filled with pixels and their weights, which sum to 1
            if all samples lie on the map.
        count: ``(P,)``, filled with the number of pixels of each bin.
    """
    step = length / bins
    for p in range(bins):
        n = 0
        for s in range(samples):
            place = start + p * step + (s + 0.5) * step / samples
            if not (-1.0 <= place <= size):  # NaN is skipped as well
                continue
            place = max(place, 0.0)
            low = int(place)
            if low >= size - 1:
                low = size - 1
                place = float(low)
            above = place - low
            for side in range(2):
                pixel = low + side
                share = (above if side else 1.0 - above) / samples
                if share == 0.0:
                    continue
                # samples rise along the axis, so a repeated pixel is one of the last two
                at = n
                if n > 0 and index[p, n - 1] == pixel:
                    at = n - 1
                elif n > 1 and index[p, n - 2] == pixel:
                    at = n - 2
                if at == n:
                    index[p, n] = pixel
                    weight[p, n] = share
                    n += 1
                else:
                    weight[p, at] += share
        count[p] = n


@_compile
def _region(roi, scale, aligned):
    """x0, y0, width and height of a region in pixels of the map."""
    offset = 0.5 if aligned else 0.0
    x0 = roi[1] * scale - offset
    y0 = roi[2] * scale - offset
    width = roi[3] * scale - offset - x0
    height = roi[4] * scale - offset - y0
    if not aligned:  # the legacy RoIAlign enlarges regions to one pixel
        width = max(width, 1.0)
        height = max(height, 1.0)
    return x0, y0, width, height


@_compile
def _samples(length, bins, sampling_ratio):
    """Number of samples in a bin; adaptive sampling gives an empty region no sample."""
    if sampling_ratio > 0 or not math.isfinite(length):
        return max(sampling_ratio, 0)
    return max(math.ceil(length / bins), 0)


@_compile
def _most_samples(rois, scale, bins, sampling_ratio, aligned):
    """The largest number of samples in a bin on an axis, over all regions; at least 1."""
    most = 1
    for r in range(len(rois)):
        _, _, width, height = _region(rois[r], scale, aligned)
        most = max(most, _samples(max(width, height), bins, sampling_ratio))
    return most


@_compile
def pool(features, rois, scale, sampling_ratio, aligned, first, last, out):
    """RoIAlign of the channels ``first`` to ``last``.

    Args:
        features: ``(N, H, W, C)``.
        rois: ``(R, 5)`` float64: image, x0, y0, x1, y1 in pixels of the input.
        scale: scale of the map, 1 / stride.
        sampling_ratio: samples in a bin on each axis; 0 for as many as the bin has pixels.
        aligned: whether pixel centres lie at half-integer coordinates.
        first, last: range of channels to compute.
        out: ``(R, P, P, C)`` of any strides, overwritten.
    """
    height, width = features.shape[1], features.shape[2]
    bins = out.shape[1]
    taps = 2 * _most_samples(rois, scale, bins, sampling_ratio, aligned)
    y_index, x_index = np.empty((bins, taps), np.int64), np.empty((bins, taps), np.int64)
    y_weight, x_weight = np.empty((bins, taps)), np.empty((bins, taps))
    y_count, x_count = np.empty(bins, np.int64), np.empty(bins, np.int64)
    line = np.empty((width, last - first), features.dtype)
    value = np.empty(last - first, features.dtype)
    for r in range(len(rois)):
        image = int(rois[r, 0])
        x0, y0, w, h = _region(rois[r], scale, aligned)
        ny, nx = _samples(h, bins, sampling_ratio), _samples(w, bins, sampling_ratio)
        sample_taps(y0, h, bins, ny, height, y_index, y_weight, y_count)
        sample_taps(x0, w, bins, nx, width, x_index, x_weight, x_count)
        left, right = _span(x_index, x_count, width)
        for p in range(bins):
            for x in range(left, right):
                line[x, :] = 0
            for t in range(y_count[p]):
                weight = features.dtype.type(y_weight[p, t])
                row = features[image, y_index[p, t]]
                for x in range(left, right):
                    _add(line[x], row[x, first:last], weight)
            for q in range(bins):
                value[:] = 0
                for t in range(x_count[q]):
                    _add(value, line[x_index[q, t]], features.dtype.type(x_weight[q, t]))
                out[r, p, q, first:last] = value


@_compile
def pool_gradient(gradient, rois, scale, sampling_ratio, aligned, first, last, out):
    """Gradient of :func:`pool` with respect to the features.

    Args:
        gradient: ``(R, P, P, C)`` of any strides, the gradient of the bins.
        rois, scale, sampling_ratio, aligned, first, last: as in :func:`pool`.
        out: ``(N, H, W, C)``, which the gradient is added to.
    """
    height, width = out.shape[1], out.shape[2]
    bins = gradient.shape[1]
    taps = 2 * _most_samples(rois, scale, bins, sampling_ratio, aligned)
    y_index, x_index = np.empty((bins, taps), np.int64), np.empty((bins, taps), np.int64)
    y_weight, x_weight = np.empty((bins, taps)), np.empty((bins, taps))
    y_count, x_count = np.empty(bins, np.int64), np.empty(bins, np.int64)
    line = np.empty((width, last - first), out.dtype)
    value = np.empty(last - first, out.dtype)
    for r in range(len(rois)):
        image = int(rois[r, 0])
        x0, y0, w, h = _region(rois[r], scale, aligned)
        ny, nx = _samples(h, bins, sampling_ratio), _samples(w, bins, sampling_ratio)
        sample_taps(y0, h, bins, ny, height, y_index, y_weight, y_count)
        sample_taps(x0, w, bins, nx, width, x_index, x_weight, x_count)
        left, right = _span(x_index, x_count, width)
        for p in range(bins):
            for x in range(left, right):
                line[x, :] = 0
            for q in range(bins):
                value[:] = gradient[r, p, q, first:last]
                for t in range(x_count[q]):
                    _add(line[x_index[q, t]], value, out.dtype.type(x_weight[q, t]))
            for t in range(y_count[p]):
                weight = out.dtype.type(y_weight[p, t])
                row = out[image, y_index[p, t]]
                for x in range(left, right):
                    _add(row[x, first:last], line[x], weight)


@_compile
def _span(index, count, size):
    """The first pixel that any bin reads, and the last plus 1."""
    left, right = size, 0
    for p in range(len(count)):
        for t in range(count[p]):
            left, right = min(left, index[p, t]), max(right, index[p, t] + 1)
    return left, right


@_compile
def _add(target, source, weight):
    for c in range(len(target)):
        target[c] += weight * source[c]
