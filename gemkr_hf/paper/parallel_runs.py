"""Rows side by side: on a CPU, small models gain nothing from several threads, but two trainings
beside each other take half the time."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch

from gemkr_hf.paper.evaluation_config import EvaluationConfig
from gemkr_hf.paper.evaluation_context import Ground
from gemkr_hf.paper.table_rows import Row, answer_seed, is_there
from gemkr_hf.utils.logging import be_quiet

logger = logging.getLogger(__name__)

Job = tuple[str, int]
"""Label of a row and seed, or what rows share."""
CAPTIONS, IMAGES = ("The images in words", 0), ("Training images", 0)

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

    What rows share (captions, training images, a part that another row trains) is made once, and
    rows that do not need it go on beside it. Runs are kept as they are finished: what is there when
    one fails, or when all is stopped, is there the next time.

    Args:
        ground: the benchmark; its configuration must name its data.
        rows_of: makes the table's rows.
        jobs: processes.

    Raises:
        ValueError, OSError: as `answer` has it, of whichever run fails first.
    """
    missing = {
        (row.label, seed): row
        for row in rows_of(ground)
        for seed in row.seeds
        if not is_there(ground, row, seed)
    }
    if not missing:
        return
    ground.prepare()
    waiting = _needs(missing)
    clock = _Clock([label for label, _ in missing], jobs)
    with (
        _one_thread_each(),
        ProcessPoolExecutor(
            min(jobs, len(waiting)), mp_context=get_context("spawn"), initializer=_end_silently
        ) as pool,
    ):
        at_work: dict[Future[float], Job] = {}
        try:
            while waiting or at_work:
                for job in _ready(waiting, at_work.values())[: jobs - len(at_work)]:
                    del waiting[job]
                    with _without_interrupts():
                        future = pool.submit(
                            _make, ground.config, ground.base, ground.overwrite, rows_of, job
                        )
                    at_work[future] = job
                finished, _ = wait(at_work, return_when=FIRST_COMPLETED)
                for future in finished:
                    job = at_work[future]
                    seconds = future.result()
                    del at_work[future]
                    ground.say(clock.told(job, seconds))
        except BrokenProcessPool:
            raise ValueError(
                "A run was ended from outside, as when there is too little memory: make fewer "
                "side by side (--jobs 1)"
            ) from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                ground.say("Stopped: the same command goes on with the runs that are missing")
            # Those that have begun are finished and kept.
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _needs(missing: Mapping[Job, Row]) -> dict[Job, set[Job]]:
    """Job -> those that must be done before it; runs, and what several of them read."""
    needs: dict[Job, set[Job]] = {}
    for (label, seed), row in missing.items():
        before = {(other, seed) for other in row.after} & missing.keys()
        before |= {CAPTIONS} if row.reads_captions else set()
        before |= {IMAGES} if row.looks else set()
        needs[label, seed] = before
    read = [job for job in (CAPTIONS, IMAGES) if any(job in before for before in needs.values())]
    return {**{job: set() for job in read}, **needs}


def _ready(waiting: Mapping[Job, set[Job]], at_work: Iterable[Job]) -> list[Job]:
    """What can begin: first what others wait for, then a table's last rows, which take longest, so
    that no long run is left alone at the end.

    >>> dpr, vrr, seal, gemkr = (("DPR", 0), ("VRR", 0), ("SEAL", 0), ("GeMKR", 0))
    >>> _ready({seal: set(), dpr: set(), vrr: {dpr}, gemkr: set()}, [])
    [('DPR', 0), ('GeMKR', 0), ('SEAL', 0)]
    """
    undone = {*waiting, *at_work}
    free = [job for job, before in waiting.items() if not before & undone]
    wanted = {job for before in waiting.values() for job in before}
    places = {label: place for place, (label, _) in enumerate(waiting)}
    return sorted(free, key=lambda job: (job not in wanted, -places[job[0]]))


class _Clock:
    """Tells how far it is: a run takes as long as the same row with another seed did, or, for a row
    that no run of is done, as a run took on average."""

    def __init__(self, labels: Sequence[str], jobs: int) -> None:
        self._left, self._all, self._jobs = list(labels), len(labels), jobs
        self._seconds: dict[str, float] = {}

    def told(self, job: Job, seconds: float) -> str:
        """The line for a job that is done."""
        label, seed = job
        if label not in self._left:
            return f"{label}: {seconds:.0f} s"
        self._left.remove(label)
        self._seconds[label] = seconds
        mean = sum(self._seconds.values()) / len(self._seconds)
        left = sum(self._seconds.get(other, mean) for other in self._left) / self._jobs
        done = self._all - len(self._left)
        return (
            f"{label}, seed {seed}: {seconds:.0f} s; {done} of {self._all} runs, about "
            f"{left / 60:.0f} min left"
        )


def _end_silently() -> None:
    """Ctrl-C reaches all processes: those that work end, the first one says so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that begin here do not hear Ctrl-C, until `_end_silently`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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


def _make(
    config: EvaluationConfig, base: Path, overwrite: bool, rows_of: RowsOf, job: Job
) -> float:
    """One job, in a process of its own; the seconds that it took."""
    be_quiet()
    torch.set_num_threads(1)
    started = time.time()
    ground = Ground(config, base, say=logger.debug, overwrite=overwrite)
    if job == CAPTIONS:
        _ = ground.captions
    elif job == IMAGES:
        _ = ground.prepared
    else:
        label, seed = job
        row = next(row for row in rows_of(ground) if row.label == label)
        answer_seed(ground, row, seed)
    return time.time() - started


__all__ = ["answer_side_by_side", "usual_jobs"]
