"""Threads for kernels that release the GIL."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

Result = TypeVar("Result")


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=8)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # Threads do not survive a fork: each process has its own pool.
    return ThreadPoolExecutor(threads, thread_name_prefix="gemkr-index")


def run_all(tasks: Sequence[Callable[[], Result]], threads: int) -> list[Result]:
    """Run tasks in threads (they must not call `run_all`); return their results in order."""
    if threads == 1 or len(tasks) == 1:
        return [task() for task in tasks]
    pool = _pool(threads - 1, os.getpid())
    others = [pool.submit(task) for task in tasks[1:]]
    # The caller's thread takes one task: it need not be woken.
    return [tasks[0](), *(other.result() for other in others)]


def run_blocks(length: int, block: int, work: Callable[[int, int], object], threads: int) -> None:
    """Call ``work(first, last)`` for blocks of ``range(length)``, in threads."""
    firsts = range(0, length, block)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: work(first, min(length, first + block)), firsts))


__all__ = ["available_cores", "run_all", "run_blocks"]
