"""Executor: worker processes with one intra-op thread each; cohorts are the unit of work.

A worker that dies takes nothing with it but the cohort it was on, which is run again by a fresh worker. Workers end by
themselves when the driver does (also after kill -9), so nothing keeps computing for nobody.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch

from refute.core import Cohort, Phenomenon, Result
from refute.engine.measure import measure
from refute.errors import ExecutionError, RefuteError

ATTEMPTS = 3
"""A cohort whose worker died this often is given up: the fault is then in the cohort (memory), not in the machine."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PARENT_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Finished:
    """One cohort's results and the seconds its worker took."""

    cohort: Cohort
    results: list[Result]
    seconds: float


def default_workers(device: str) -> int:
    """As many as cores this process may use; one on a GPU."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def execute(
    phenomenon: Phenomenon,
    cohorts: Sequence[Cohort],
    *,
    workers: int,
    tell: Callable[[str], None] = lambda message: None,  # noqa: ARG005
) -> Iterator[Finished]:
    """Run cohorts and yield each as it is finished. `workers` = 0 runs them one by one in this process.

    Raises:
        ExecutionError: a trial function failed, or workers died `ATTEMPTS` times on the same cohort.
    """
    if workers <= 0:
        yield from (_run(phenomenon, cohort) for cohort in cohorts)
        return
    todo, deaths = deque(cohorts), Counter[str]()
    while todo:
        running: dict[Future[Finished], Cohort] = {}
        pool = _pool(min(workers, len(todo)))
        try:
            while todo or running:
                while todo and len(running) < workers:
                    running[pool.submit(_run, phenomenon, todo[0])] = todo[0]
                    todo.popleft()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    finished = _outcome(future, running[future])
                    del running[future]
                    yield finished
        except BrokenProcessPool:
            lost = list(running.values())
            todo.extendleft(reversed(lost))
            deaths.update(cohort.key for cohort in lost)
            _give_up_or_tell(lost, deaths, tell)
        finally:
            _stop(pool)


def _outcome(future: "Future[Finished]", cohort: Cohort) -> Finished:
    try:
        return future.result()
    except (BrokenProcessPool, RefuteError):
        raise
    except Exception as error:
        raise ExecutionError(
            f"a trial of {cohort.trials[0].phenomenon} failed ({_where(cohort)}): {type(error).__name__}: {error}; "
            "finished cohorts are kept"
        ) from error


def _give_up_or_tell(lost: list[Cohort], deaths: "Counter[str]", tell: Callable[[str], None]) -> None:
    for cohort in lost:
        if deaths[cohort.key] >= ATTEMPTS:
            raise ExecutionError(
                f"workers died {ATTEMPTS} times on the cohort {_where(cohort)} ({len(cohort)} replicas), most likely "
                "for lack of memory; finished cohorts are kept; try --workers 1 or fewer seeds"
            )
    tell(f"a worker process died; {len(lost)} unfinished cohort(s) run again")


def _where(cohort: Cohort) -> str:
    return ", ".join(f"{name}={level}" for name, level in cohort.looped.items())


def _run(phenomenon: Phenomenon, cohort: Cohort) -> Finished:
    started = time.perf_counter()
    results = measure(phenomenon, cohort)
    return Finished(cohort, results, time.perf_counter() - started)


def _pool(workers: int) -> ProcessPoolExecutor:
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(),))


def _start_worker(parent: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now: after the last cohort they are idle, after Ctrl-C or an error nobody waits for them."""
    workers = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
    for worker in workers:
        worker.join()
