"""Rows side by side: on a CPU, small models gain nothing from several threads, but two trainings
beside each other take half the time."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch

from gemkr_hf.progress import be_quiet
from gemkr_hf.tables.config import EvaluationConfig
from gemkr_hf.tables.ground import Ground
from gemkr_hf.tables.rows import Row, answer_seed, is_there

logger = logging.getLogger(__name__)

RowsOf = Callable[[Ground], Sequence[Row]]
"""Makes a table's rows in each process anew: it must be a function of a module, or a partial."""
_MOST = 8


def usual_jobs() -> int:
    """One for a GPU, else one for each core, up to eight."""
    if torch.cuda.is_available():
        return 1
    own = getattr(os, "sched_getaffinity", None)  # a container may have fewer than there are
    return max(1, min(_MOST, len(own(0)) if own else os.cpu_count() or 1))


def answer_side_by_side(ground: Ground, rows_of: RowsOf, jobs: int) -> None:
    """Make the runs that are missing, several at a time, each in a process of its own.

    What all rows share is made first, by this process. Runs are kept as they are finished: what is
    there when one fails, or when all is stopped, is there the next time.

    Args:
        ground: the benchmark; its configuration must name its data.
        rows_of: makes the table's rows.
        jobs: processes.

    Raises:
        ValueError, OSError: as `answer` has it, of whichever run fails first.
    """
    rows = list(rows_of(ground))
    missing = [(row, seed) for row in rows for seed in row.seeds if not is_there(ground, row, seed)]
    if not missing:
        return
    ground.prepare(
        captions=any(row.reads_captions for row, _ in missing),
        pictures=any(row.looks for row, _ in missing),
    )
    started, done = time.time(), 0
    with (
        _one_thread_each(),
        ProcessPoolExecutor(min(jobs, len(missing)), mp_context=get_context("spawn")) as pool,
    ):
        # What others share is trained by them first.
        for wave in (False, True):
            futures = {
                pool.submit(
                    _answer, ground.config, ground.base, ground.overwrite, rows_of, row.label, seed
                ): (row, seed)
                for row, seed in missing
                if row.shares is wave
            }
            try:
                for future in as_completed(futures):
                    row, seed = futures[future]
                    seconds = future.result()
                    done += 1
                    left = (time.time() - started) / done * (len(missing) - done)
                    ground.say(
                        f"{row.label}, seed {seed}: {seconds:.0f} s; {done} of {len(missing)} "
                        f"runs, about {left / 60:.0f} min left"
                    )
            except BrokenProcessPool:
                raise ValueError(
                    "A run was ended from outside, as when there is too little memory: make fewer "
                    "side by side (--jobs 1)"
                ) from None
            except BaseException:
                # Those that have begun are finished and kept.
                pool.shutdown(wait=True, cancel_futures=True)
                raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """What a new process reads when it starts: one thread, and no bars over each other."""
    wanted = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _answer(
    config: EvaluationConfig,
    base: Path,
    overwrite: bool,
    rows_of: RowsOf,
    label: str,
    seed: int,
) -> float:
    """One run, in a process of its own; the seconds that it took."""
    be_quiet()
    torch.set_num_threads(1)
    started = time.time()
    ground = Ground(config, base, say=logger.debug, overwrite=overwrite)
    row = next(row for row in rows_of(ground) if row.label == label)
    answer_seed(ground, row, seed)
    return time.time() - started


__all__ = ["answer_side_by_side", "usual_jobs"]
