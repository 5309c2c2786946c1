"""Threads for kernels, which release the GIL."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=8)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # Threads do not survive a fork: each process has its own.
    return ThreadPoolExecutor(threads, thread_name_prefix="gemkr-index")


def run_all(tasks: Sequence[Callable[[], Result]], threads: int) -> list[Result]:
    """Results of tasks that do not start others, in their order."""
    if threads == 1 or len(tasks) == 1:
        return [task() for task in tasks]
    pool = _pool(threads - 1, os.getpid())
    others = [pool.submit(task) for task in tasks[1:]]
    # The caller's own thread is one of them: it need not be woken.
    return [tasks[0](), *(other.result() for other in others)]


__all__ = ["available_cores", "run_all"]
