"""Threads that stop with the command that started them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def thread_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yields a pool of threads; what is still queued when the block ends is dropped.

    `with ThreadPoolExecutor(…)` would finish all queued work first, also after Ctrl-C.

    Args:
        workers: number of threads.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
