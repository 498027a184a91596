"""The vector operations that the kernels are written in, against NumPy."""

from __future__ import annotations

import numpy as np

from pad_ros.compute import simd
from pad_ros.compute.threads import for_each, kernel


@kernel
def _apply(values, out):
    a = simd.load(values, 0)
    b = simd.load(values, simd.LANES)
    simd.store(out, 0, simd.exp2(a))
    simd.store(out, 8, simd.fma(a, b, simd.lanes()))
    simd.store(out, 16, simd.select(a > b, simd.minimum(a, b), simd.maximum(a, b)))
    simd.store(out, 24, simd.negative_abs(a) + simd.splat(np.float32(2)) * b)
    simd.store(out, 32, simd.totals(a, b, a + b, a - b, a * b, a / b, a, b))
    out[40] = 1.0 if simd.any_lane((a > b) & (a <= b)) else 0.0
    out[41] = 1.0 if simd.any_lane(a > b) else 0.0


def test_operations_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.uniform(-9, 9, 16).astype(np.float32)
        out = np.empty(42, np.float32)
        _apply(values, out)
        a, b = values[:8], values[8:]
        np.testing.assert_allclose(out[:8], np.exp2(a.astype(np.float64)), rtol=3e-7)
        np.testing.assert_allclose(out[8:16], a * b + np.arange(8), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(out[16:24], np.where(a > b, np.minimum(a, b), np.maximum(a, b)))
        np.testing.assert_allclose(out[24:32], -np.abs(a) + 2 * b, rtol=1e-6)
        sums = [x.astype(np.float64).sum() for x in (a, b, a + b, a - b, a * b, a / b, a, b)]
        np.testing.assert_allclose(out[32:40], sums, rtol=1e-5, atol=1e-4)
        assert out[40] == 0 and out[41] == np.any(a > b)


def test_every_task_runs_once() -> None:
    counts = np.zeros(1000, int)

    def task(i: int) -> None:
        counts[i] += 1

    for_each(task, len(counts))
    for_each(task, 0)
    assert np.all(counts == 1)
