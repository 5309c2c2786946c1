"""Runs in parallel processes: small models on a CPU gain nothing from several threads, but two
trainings in two processes take half the time."""

import logging
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config

from gemkr_hf.paper.evaluation_config import EvaluationConfig
from gemkr_hf.paper.runs import kept_run, make_run
from gemkr_hf.paper.system_evaluation import Evaluation
from gemkr_hf.paper.systems import System
from gemkr_hf.utils.logging import be_quiet

logger = logging.getLogger(__name__)

MAX_JOBS = 8
CAPTIONS, TRAINING_IMAGES = "captions", "training images"

Job = tuple[str, System | None, int]
"""A label, and a system with a seed; without a system the label names a shared input."""


def default_jobs() -> int:
    """Return 1 with a GPU, otherwise the number of cores, at most 8."""
    if torch.cuda.is_available():
        return 1
    # A container may be limited to some of the machine's cores.
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, min(MAX_JOBS, len(affinity(0)) if affinity else os.cpu_count() or 1))


def make_runs_in_parallel(evaluation: Evaluation, systems: Sequence[System], jobs: int) -> None:
    """Make the missing runs of some systems, several at a time, each in its own process.

    Shared inputs come first, then the systems, then those that use a part of another system. Each
    run is kept as soon as it is finished, also if another one fails or all are interrupted.

    Args:
        evaluation: the evaluation; its configuration must describe the benchmark.
        systems: systems of a table.
        jobs: number of processes.

    Raises:
        ValueError, OSError: The error of the first run that failed, once its stage is finished.
    """
    missing = [
        (system, seed)
        for system in systems
        for seed in system.seeds(evaluation)
        if kept_run(evaluation, system, seed) is None
    ]
    if not missing:
        return
    # This builds the knowledge base, which the other processes then load.
    documents = f"{len(evaluation.knowledge_base):,} documents"
    evaluation.log(
        f"{len(missing)} runs, {len(evaluation.test_questions):,} questions, {documents}"
    )
    labels = {system.label for system, _ in missing}
    stages: list[list[Job]] = [[], [], []]
    if any(system.reads_captions for system, _ in missing):
        stages[0].append((CAPTIONS, None, 0))
    if any(system.trains_on_images and system.is_trained(evaluation) for system, _ in missing):
        stages[0].append((TRAINING_IMAGES, None, 0))
    for system, seed in reversed(missing):  # a table's last systems take longest
        depends = not labels.isdisjoint(system.after)
        stages[2 if depends else 1].append((system.label, system, seed))
    progress = _Progress([system.label for system, _ in missing], jobs)
    for stage in filter(None, stages):
        _run_stage(evaluation, stage, jobs, progress)


def _run_stage(
    evaluation: Evaluation, stage: Sequence[Job], jobs: int, progress: "_Progress"
) -> None:
    def prepare_worker() -> None:
        # joblib sends a local function by value: it runs before tqdm is imported.
        os.environ["TQDM_DISABLE"] = "1"
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process reports Ctrl-C

    errors: list[Exception] = []
    settings = (evaluation.config, evaluation.base, evaluation.overwrite)
    try:
        with parallel_config(
            "loky", n_jobs=jobs, inner_max_num_threads=1, initializer=prepare_worker
        ):
            tasks = (delayed(_run_job)(*settings, job) for job in stage)
            for job, result in Parallel(return_as="generator_unordered", batch_size=1)(tasks):
                if isinstance(result, Exception):
                    errors.append(result)
                    evaluation.log(f"{job[0]} failed: {result}")
                else:
                    evaluation.log(progress.line(job, result))
    except BrokenProcessPool:
        raise ValueError(
            "A process was killed, probably because memory ran out: run fewer systems at a time "
            "(--jobs 1)"
        ) from None
    except KeyboardInterrupt:
        evaluation.log("Interrupted: the same command resumes with the missing runs")
        raise
    if errors:
        raise errors[0]


def _run_job(
    config: EvaluationConfig, base: Path, overwrite: bool, job: Job
) -> tuple[Job, float | Exception]:
    """Run one job in a worker process; return its seconds or its error."""
    be_quiet()
    torch.set_num_threads(1)
    started = time.time()
    label, system, seed = job
    try:
        evaluation = Evaluation(config, base, log=logger.debug, overwrite=overwrite)
        if system is not None:
            make_run(evaluation, system, seed)
        elif label == CAPTIONS:
            logger.debug(f"{len(evaluation.captions)} captions")
        else:
            logger.debug(f"{len(evaluation.training_images)} training images")
    except (ValueError, OSError) as error:
        return job, error
    return job, time.time() - started


class _Progress:
    """Estimates the time left: a run takes as long as one of the same system, else the mean."""

    def __init__(self, labels: Sequence[str], jobs: int) -> None:
        self._remaining, self._total, self._jobs = list(labels), len(labels), jobs
        self._seconds: dict[str, float] = {}

    def line(self, job: Job, seconds: float) -> str:
        """Return the line for a finished job."""
        label, system, seed = job
        if system is None:
            return f"{label.capitalize()}: {seconds:.0f} s"
        self._remaining.remove(label)
        self._seconds[label] = seconds
        mean = sum(self._seconds.values()) / len(self._seconds)
        left = sum(self._seconds.get(other, mean) for other in self._remaining) / self._jobs
        done = self._total - len(self._remaining)
        return (
            f"{label}, seed {seed}: {seconds:.0f} s; {done} of {self._total} runs, about "
            f"{left / 60:.0f} min left"
        )


__all__ = ["default_jobs", "make_runs_in_parallel"]
