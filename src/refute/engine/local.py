"""Workers on this machine: processes with one intra-op thread each, forked from a server that has imported all."""

import multiprocessing
import os
import pickle
import time
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler

from refute import forkserver
from refute.core import Cohort, Phenomenon, Provenance
from refute.engine import memory
from refute.engine.crew import Answer, Died
from refute.engine.worker import READY, Post, answer, work
from refute.errors import ExecutionError

STARTS = 3
"""A worker that ends this often before its first cohort will never start."""


class Here:
    """No worker at all: one cohort at a time in this process, for debugging and for the smallest runs.

    `limit`: bytes that a cohort may take, or what is free; the process itself is limited only while it computes.
    """

    def __init__(self, phenomenon: Phenomenon, provenance: Provenance, limit: int | None) -> None:
        device = provenance.device
        self.phenomenon, self.provenance = phenomenon, provenance
        self.meter, self.room = memory.Meter(device), memory.share(device, 1, limit)
        self.most = memory.hard_limit(device, self.room, limit)
        self.cohort: Cohort | None = None

    def free(self) -> int:
        return 1 if self.cohort is None else 0

    def give(self, cohort: Cohort) -> None:
        self.cohort = cohort

    def wait(self) -> list[tuple[Cohort, Answer]]:
        assert self.cohort is not None
        cohort, self.cohort = self.cohort, None
        with memory.limited(self.most):
            return [(cohort, answer(self.phenomenon, cohort, self.meter, self.room, self.provenance))]

    def close(self) -> None:
        """Nothing to end."""


class _Worker:
    """One process, and the cohort it is on."""

    def __init__(self, context: ForkServerContext | SpawnContext, post: Post) -> None:
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(theirs, post), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.cohort: Cohort | None = None


class LocalCrew:
    """Up to `workers` processes on this machine; `limit` bytes for all of them, or what is free."""

    def __init__(self, phenomenon: Phenomenon, provenance: Provenance, workers: int, limit: int | None) -> None:
        self.most = workers
        self.context: ForkServerContext | SpawnContext = multiprocessing.get_context("spawn")
        if forkserver.AVAILABLE:
            forkserver.start(phenomenon.trial.__module__)
            self.context = multiprocessing.get_context("forkserver")
        self.post = Post(phenomenon, provenance, dict(os.environ), workers, limit)
        _check_that_it_travels(self.post)
        self.workers: list[_Worker] = []
        self.failed_starts = 0
        self.kills = memory.kills()

    def free(self) -> int:
        return self.most - sum(worker.cohort is not None for worker in self.workers)

    def give(self, cohort: Cohort) -> None:
        worker = next((worker for worker in self.workers if worker.cohort is None), None)
        if worker is None:
            worker = self._hire()
            self.workers.append(worker)
        worker.cohort = cohort
        if worker.ready:
            _send(worker, cohort)

    def wait(self) -> list[tuple[Cohort, Answer]]:
        answers: list[tuple[Cohort, Answer]] = []
        while not answers:
            speaking = set(wait([worker.connection for worker in self.workers if worker.cohort is not None]))
            for worker in [worker for worker in self.workers if worker.connection in speaking]:
                found = self._hear(worker)
                if found is not None:
                    assert worker.cohort is not None
                    answers.append((worker.cohort, found))
                    worker.cohort = None
        return answers

    def close(self) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()
        self.workers = []

    def _hire(self) -> _Worker:
        """A new worker; a fork server that was killed is replaced on the way."""
        for attempt in range(STARTS):
            try:
                with forkserver.environment(forkserver.ONE_THREAD):
                    return _Worker(self.context, self.post)
            except (OSError, EOFError) as error:
                reason = f"{type(error).__name__}: {error}"
                time.sleep(attempt)
        raise ExecutionError(f"worker processes can't be started ({reason}); finished cohorts are kept")

    def _hear(self, worker: _Worker) -> Answer | None:
        """What a worker says; None when it only says that it is there."""
        try:
            heard = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if heard == READY:
            worker.ready, self.failed_starts = True, 0
            assert worker.cohort is not None
            _send(worker, worker.cohort)
            return None
        found: Answer = heard
        return found

    def _bury(self, worker: _Worker) -> Died:
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        code = worker.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not worker.ready:
            self.failed_starts += 1
            if self.failed_starts >= STARTS:
                raise ExecutionError(
                    f"worker processes can't be started ({how}, {STARTS} times; what they print stands above); in a "
                    'script, put the call under if __name__ == "__main__":; in a notebook, keep the phenomenon in a '
                    "file of its own; or take workers=0"
                )
        before, self.kills = self.kills, memory.kills()
        return Died(how, out_of_memory=self.kills > before)


def _check_that_it_travels(post: Post) -> None:
    try:
        ForkingPickler.dumps(post)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ExecutionError(
            f"{post.phenomenon.name} can't be sent to worker processes ({error}); define its trial function at the "
            "top of a file, or take workers=0"
        ) from error


def _send(worker: _Worker, cohort: Cohort) -> None:
    try:
        worker.connection.send(cohort)
    except OSError:
        return  # it has died meanwhile, which the next wait sees
