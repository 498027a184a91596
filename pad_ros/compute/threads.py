"""How the CPU kernels are compiled and spread over threads.

The kernels release the GIL and run on a small thread pool of our own rather than on Numba's
parallel layers: those slow down next to torch's OpenMP pool (omp) or abort when two Python threads
enter them at once (workqueue). NUMBA_NUM_THREADS limits the threads; by default one per core that
the process may use.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numba
import threadpoolctl


def _stamp(source: Path) -> tuple[tuple[str, float, int], ...]:
    """What a kernel in `source` is compiled from: itself, and the modules whose functions other kernels may inline."""
    package = Path(__file__).parents[1]
    inlined = ("compute/simd.py", "rendering/cpu/*.py", "*/*_kernels.py")
    files = sorted({source, *(file for pattern in inlined for file in package.glob(pattern))})
    return tuple((file.name, file.stat().st_mtime, file.stat().st_size) for file in files)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use, kept on disk; where no cache folder is writable, once per process."""
    # No "nnan": the kernels rely on comparisons with NaN being false to drop broken Gaussians.
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        compiled = numba.njit(**options)(function)
    # Numba drops a cached kernel when its own file changes; ours inline functions of their sibling files too.
    cache_file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if cache_file is not None and hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _stamp(Path(function.__code__.co_filename))
    return compiled


@contextmanager
def only_our_threads() -> Iterator[None]:
    """Torch (where it is loaded) and OpenCV with one thread each, so that they do not fight the kernels for the cores.

    With their own pools a fit on two cores takes three times as long.
    """
    torch = sys.modules.get("torch")
    before = cv2.getNumThreads(), torch.get_num_threads() if torch else 1
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def one_blas_thread() -> AbstractContextManager[Any]:
    """NumPy's products on the calling thread: threads of their own spin on, and take a core from what follows."""
    limited: AbstractContextManager[Any] = _blas().limit(limits=1)
    return limited


def thread_count() -> int:
    """How many threads `for_each` spreads work over."""
    return max(1, int(numba.config.NUMBA_NUM_THREADS))


@cache
def _pool() -> ThreadPoolExecutor:
    """The threads of `for_each` besides the caller's, made on first use."""
    return ThreadPoolExecutor(thread_count() - 1, thread_name_prefix="pad-kernel")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def for_each(task: Callable[[int], None], count: int) -> None:
    """task(0), ..., task(count - 1) over the threads, in any order. Tasks must not depend on each other."""
    threads = min(thread_count(), count)
    if threads <= 1:
        for i in range(count):
            task(i)
        return
    indices = itertools.count()  # next() on it is atomic, so that threads draw work as they become free

    def work() -> None:
        while (i := next(indices)) < count:
            task(i)

    helpers = [_pool().submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()


def in_bands(task: Callable[[int, int], None], rows: int) -> None:
    """task(first, last) for a few bands of rows per thread, as `for_each`."""
    count = min(2 * thread_count(), rows)
    for_each(lambda i: task(i * rows // count, (i + 1) * rows // count), count)
