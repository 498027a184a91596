"""The kernels' thread pool, and whose threads run meanwhile."""

import threading

import cv2
import numba
import numpy as np
import pytest
import torch

from pad_ros.compute.threads import for_each, kernel, only_our_threads, thread_count


@kernel
def double(values, out):
    for i in range(len(values)):
        out[i] = 2 * values[i]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_task_runs_once(monkeypatch, threads, count):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
    done = np.zeros(count, int)

    def task(i):
        done[i] += 1

    for_each(task, count)
    assert np.all(done == 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_task_reaches_the_caller(monkeypatch, threads):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)

    def task(i):
        if i == 3:
            raise ValueError("task 3")

    with pytest.raises(ValueError, match="task 3"):
        for_each(task, 10)
    for_each(lambda i: None, 10)  # and the pool lives


def test_two_threads_may_use_the_pool_at_once():
    totals = []

    def use():
        found = np.zeros(200)
        for_each(lambda i: found.__setitem__(i, i), 200)
        totals.append(found.sum())

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(30)
    assert totals == [199 * 100.0] * 4


def test_a_kernel_computes_and_divides_without_raising():
    out = np.zeros(4, np.float32)
    double(np.arange(4, dtype=np.float32), out)
    assert out.tolist() == [0, 2, 4, 6]

    @kernel
    def share(a, b):
        return a / b

    assert np.isinf(share(1.0, 0.0))


def test_where_nothing_can_be_cached_kernels_compile_all_the_same():
    """Numba finds no place for a cache, as in a read-only installation without a home folder."""
    scope = {}
    exec("from pad_ros.compute.threads import kernel\n@kernel\ndef plus_one(x):\n    return x + 1\n", scope)
    assert scope["plus_one"](41) == 42


def test_other_libraries_get_their_threads_back():
    before = torch.get_num_threads(), cv2.getNumThreads()
    with pytest.raises(RuntimeError), only_our_threads():
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
        raise RuntimeError
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before
    assert thread_count() >= 1
