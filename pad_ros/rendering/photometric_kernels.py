"""The photometric loss and its gradient on a CPU (Numba, eight values at a time); see `losses` for what it computes.

Three passes over rows: blur the image's moments along the rows; blur them down the columns, compare, and blur what the
gradient needs along the rows; blur that down the columns. The window is symmetric, so that a blur is its own adjoint.
A row holds the 3 W values of its pixels, padded with zeros to whole vectors.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compute.simd import LANES, fma, lanes, load, maximum, select, splat, store
from ..compute.threads import in_bands, kernel

Floats = NDArray[np.float32]

WINDOW_HALF = 5  # px, of the window
CHANNELS = 3
ROW_MARGIN = 2 * LANES  # floats before and after a row: at least WINDOW_HALF pixels
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def window() -> Floats:
    """Weights [6] of the window of SSIM (11 px, sigma 1.5), from its centre outwards."""
    weights = np.exp(-0.5 * (np.arange(-WINDOW_HALF, WINDOW_HALF + 1) / 1.5) ** 2)
    return (weights / weights.sum()).astype(np.float32)[WINDOW_HALF:]


def padded(image: Floats) -> Floats:  # [H, W, 3] -> [H, N]
    """Rows as the kernels take them."""
    height, width = image.shape[:2]
    out = np.zeros((height, -(-width * CHANNELS // LANES) * LANES), np.float32)
    out[:, : width * CHANNELS] = image.reshape(height, -1)
    return out


class Comparison:
    """What does not change from one comparison with the target image [H, W, 3] to the next."""

    def __init__(self, target: Floats) -> None:
        self.shape = target.shape
        self.rows = padded(target)
        self._weights = window()
        self._used = target.shape[1] * CHANNELS
        shape = self.rows.shape
        self._mean, self._square = np.empty(shape, np.float32), np.empty(shape, np.float32)
        blurred = np.empty((CHANNELS, *shape), np.float32)
        self._blur_moments(self.rows, blurred)
        _columns(blurred[0], self._weights, self._mean)
        _columns(blurred[1], self._weights, self._square)

    def gradient(self, image: Floats, l1_weight: float, ssim_weight: float) -> tuple[float, float, Floats]:
        """(sum of |image - target|, sum of SSIM, gradient [H, W, 3] of l1_weight * first - ssim_weight * second)."""
        height, width, channels = self.shape
        rows = padded(image)
        moments, slopes = np.empty((3, *rows.shape), np.float32), np.empty((3, *rows.shape), np.float32)
        out = np.empty(self.shape, np.float32)
        flat = out.reshape(height, width * channels)
        sums = np.empty((height, 2))  # of each row, so that they do not depend on the threads
        weights = np.array([l1_weight, ssim_weight], np.float32)
        self._blur_moments(rows, moments)
        in_bands(lambda first, last: _compare(
            moments, self._mean, self._square, self._weights, self._used, slopes, sums, first, last,
        ), height)  # fmt: skip
        in_bands(lambda first, last: _gradient(
            rows, self.rows, slopes, self._weights, weights, flat, sums, first, last,
        ), height)  # fmt: skip
        ssim, l1 = sums.sum(axis=0)
        return float(l1), float(ssim), out

    def _blur_moments(self, rows: Floats, out: Floats) -> None:
        in_bands(lambda first, last: _blur_rows(rows, self.rows, self._weights, out, first, last), len(rows))


@kernel
def _blurred(row, weights, at):
    """The blur along a row with margins, at eight values."""
    total = splat(weights[0]) * load(row, at)
    for k in range(1, WINDOW_HALF + 1):
        both = load(row, at - CHANNELS * k) + load(row, at + CHANNELS * k)
        total = fma(splat(weights[k]), both, total)
    return total


@kernel
def _down(flat, weights, y, height, stride, at):
    """The blur down the columns of an image [height, stride] given flat, at eight values of row y."""
    total = splat(weights[0]) * load(flat, y * stride + at)
    for k in range(1, WINDOW_HALF + 1):
        weight = splat(weights[k])
        if y >= k:
            total = fma(weight, load(flat, (y - k) * stride + at), total)
        if y + k < height:
            total = fma(weight, load(flat, (y + k) * stride + at), total)
    return total


@kernel
def _blur_rows(image, target, weights, out, first, last):
    """out [3, H, N]: image, image^2 and image * target, blurred along the rows."""
    stride = image.shape[1]
    size = stride + 2 * ROW_MARGIN
    x, xx, xt = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    for y in range(first, last):
        for q in range(0, stride, LANES):
            a, b = load(image[y], q), load(target[y], q)
            store(x, ROW_MARGIN + q, a)
            store(xx, ROW_MARGIN + q, a * a)
            store(xt, ROW_MARGIN + q, a * b)
        for q in range(0, stride, LANES):
            store(out[0, y], q, _blurred(x, weights, ROW_MARGIN + q))
            store(out[1, y], q, _blurred(xx, weights, ROW_MARGIN + q))
            store(out[2, y], q, _blurred(xt, weights, ROW_MARGIN + q))


@kernel
def _columns(rows, weights, out):
    height, stride = rows.shape
    flat = rows.reshape(height * stride)
    for y in range(height):
        for q in range(0, stride, LANES):
            store(out[y], q, _down(flat, weights, y, height, stride, q))


@kernel
def _compare(moments, target_mean, target_square, weights, used, out, sums, first, last):
    """SSIM (its sum over row y goes to sums[y, 0]), and the terms of its gradient [3, H, N], blurred along the rows."""
    height, stride = target_mean.shape
    means = moments[0].reshape(height * stride)
    squares = moments[1].reshape(height * stride)
    products = moments[2].reshape(height * stride)
    by_mean = np.zeros(stride + 2 * ROW_MARGIN, np.float32)
    by_variance, by_covariance = by_mean.copy(), by_mean.copy()
    c1, c2 = splat(np.float32(SSIM_C1)), splat(np.float32(SSIM_C2))
    one, two, zero = splat(np.float32(1)), splat(np.float32(2)), splat(np.float32(0))
    eight = np.empty(LANES, np.float32)
    for y in range(first, last):
        row_sum = zero
        for q in range(0, stride, LANES):
            mean = _down(means, weights, y, height, stride, q)
            square = _down(squares, weights, y, height, stride, q)
            product = _down(products, weights, y, height, stride, q)
            other = load(target_mean[y], q)
            a1 = fma(two * mean, other, c1)
            a2 = fma(two, product - mean * other, c2)
            b1 = fma(mean, mean, fma(other, other, c1))
            b2 = (square - mean * mean) + (load(target_square[y], q) - other * other) + c2
            inverse1, inverse2 = one / b1, one / b2
            inverse = inverse1 * inverse2
            ssim = a1 * a2 * inverse
            variance = zero - ssim * inverse2
            covariance = two * a1 * inverse
            direct = two * (other * a2 * inverse - ssim * mean * inverse1)
            inside = splat(np.float32(used - q)) > lanes()
            row_sum = row_sum + select(inside, ssim, zero)
            store(by_mean, ROW_MARGIN + q, select(inside, direct - two * mean * variance - other * covariance, zero))
            store(by_variance, ROW_MARGIN + q, select(inside, variance, zero))
            store(by_covariance, ROW_MARGIN + q, select(inside, covariance, zero))
        for q in range(0, stride, LANES):
            store(out[0, y], q, _blurred(by_mean, weights, ROW_MARGIN + q))
            store(out[1, y], q, _blurred(by_variance, weights, ROW_MARGIN + q))
            store(out[2, y], q, _blurred(by_covariance, weights, ROW_MARGIN + q))
        store(eight, 0, row_sum)
        sums[y, 0] = eight.sum()


@kernel
def _gradient(image, target, slopes, window_weights, weights, out, sums, first, last):
    """out [H, 3 W]; the sum of |image - target| over row y goes to sums[y, 1]."""
    height, stride = image.shape
    used = out.shape[1]
    by_mean = slopes[0].reshape(height * stride)
    by_variance = slopes[1].reshape(height * stride)
    by_covariance = slopes[2].reshape(height * stride)
    row, eight = np.empty(stride, np.float32), np.empty(LANES, np.float32)
    two, zero, l1, ssim = splat(np.float32(2)), splat(np.float32(0)), splat(weights[0]), splat(weights[1])
    for y in range(first, last):
        row_sum = zero
        for q in range(0, stride, LANES):
            a, b = load(image[y], q), load(target[y], q)
            difference = a - b
            row_sum = row_sum + maximum(difference, zero - difference)
            slope = _down(by_mean, window_weights, y, height, stride, q)
            slope = fma(two * a, _down(by_variance, window_weights, y, height, stride, q), slope)
            slope = fma(b, _down(by_covariance, window_weights, y, height, stride, q), slope)
            sign = select(difference > zero, l1, select(zero > difference, zero - l1, zero))
            store(row, q, sign - ssim * slope)
        out[y] = row[:used]
        store(eight, 0, row_sum)
        sums[y, 1] = eight.sum()
