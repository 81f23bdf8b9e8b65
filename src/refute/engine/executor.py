"""Executor: hands cohorts to workers, and goes on when a trial raises, a worker dies or memory runs out.

How trials are packed changes no result, so a cohort that fails is divided: the trials beside a bad one are saved, and
what was too large for the memory gets through in parts.
"""

import importlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from refute.core import Cohort, Failure, Phenomenon, Provenance, Result
from refute.engine.cohorts import divide
from refute.engine.crew import Answer, Crew, Died, Done, Raised
from refute.engine.local import Here, LocalCrew
from refute.engine.memory import largest_cohort
from refute.environment import provenance
from refute.errors import UsageError

ATTEMPTS = 3
"""A trial whose worker died this often is given up: the fault is then in the trial, not in the machine."""
MOST_OBSERVED = 8
"""Finished cohorts per group whose memory is remembered."""

Group = tuple[object, ...]


@dataclass(frozen=True)
class Finished:
    """One cohort's results, the seconds its worker took, and where that was."""

    cohort: Cohort
    results: list[Result]
    seconds: float
    provenance: Provenance


def default_workers(device: str) -> int:
    """As many as cores this process may use; one on a GPU."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def check_executor(executor: str, device: str = "cpu") -> None:
    """Raise UsageError unless there is such an executor, and it can be asked for such a device."""
    if executor not in ("local", "ray") and not executor.startswith("ray://"):
        raise UsageError(f"the executor must be local, ray or ray://HOST:PORT, '{executor}' came")
    if executor != "local" and device not in ("cpu", "cuda"):
        raise UsageError(
            f"with --executor {executor} the device must be cpu or cuda, '{device}' came; Ray gives each task its GPU"
        )


def execute(
    phenomenon: Phenomenon,
    cohorts: Sequence[Cohort],
    *,
    workers: int | None = None,
    executor: str = "local",
    memory: int | None = None,
    tell: Callable[[str], None] = lambda message: None,  # noqa: ARG005
) -> Iterator[Finished | Failure]:
    """Run cohorts and yield each as it is finished, and every trial that could not be run.

    Args:
        phenomenon: whose trial function is called.
        cohorts: may be divided on the way, when they do not fit into memory or one of their trials fails.
        workers: processes with one thread each; by default as many as cores. 0 runs all in this process.
        executor: "local", "ray" (a cluster inside this process) or "ray://HOST:PORT" (an existing one).
        memory: bytes for all workers of a machine together (Ray: of each node); by default what is free.
        tell: is told what the user should know now.

    Raises:
        ExecutionError: workers can't be started.
        DataError: a data set can't be had. DefinitionError: the trial function breaks the phenomenon's definition.
        UsageError: there is no such executor, or its cluster has no GPU and one is asked for.
    """
    check_executor(executor, cohorts[0].device if cohorts else "cpu")
    if not cohorts:
        return
    queue = _Queue(cohorts, tell)
    crew = _crew(phenomenon, cohorts, workers, executor, memory)
    busy = 0
    try:
        while queue.todo or busy:
            while queue.todo and crew.free() > 0:
                crew.give(queue.take())
                busy += 1
            answers = crew.wait()
            busy -= len(answers)
            ready = list(chain.from_iterable(queue.answered(cohort, answer) for cohort, answer in answers))
            while queue.todo and crew.free() > 0:  # nobody idles while what is ready gets stored
                crew.give(queue.take())
                busy += 1
            yield from ready
    finally:
        crew.close()


def _crew(
    phenomenon: Phenomenon, cohorts: Sequence[Cohort], workers: int | None, executor: str, memory: int | None
) -> Crew:
    device = cohorts[0].device
    if executor == "local":
        count = default_workers(device) if workers is None else workers
        made = provenance(device)
        if count == 0:
            return Here(phenomenon, made, memory)
        return LocalCrew(phenomenon, made, min(count, len(cohorts)), memory)
    try:
        ray_cluster = importlib.import_module("refute.engine.ray_cluster")
    except ModuleNotFoundError as error:
        raise UsageError(f"--executor {executor} needs Ray; install it with: pip install 'refute[ray]'") from error
    crew: Crew = ray_cluster.connect(phenomenon, cohorts, workers, executor, memory)
    return crew


class _Queue:
    """Cohorts to be run, and what has been learned about how large they may be."""

    def __init__(self, cohorts: Sequence[Cohort], tell: Callable[[str], None]) -> None:
        self.todo = deque(cohorts)
        self.tell = tell
        self.deaths = Counter[str]()
        self.most: dict[Group, int] = {}
        self.observed: dict[Group, deque[tuple[int, int]]] = {}

    def take(self) -> Cohort:
        """The next cohort, no larger than what is known to fit."""
        cohort = self.todo.popleft()
        most = self.most.get(_group(cohort), len(cohort))
        if len(cohort) <= most:
            return cohort
        first, *rest = divide(cohort, -(-len(cohort) // most))
        self.todo.extendleft(reversed(rest))
        return first

    def answered(self, cohort: Cohort, answer: Answer) -> Iterator[Finished | Failure]:
        """What is to be told of a cohort; what must be run again goes back to the front of the queue."""
        match answer:
            case Done():
                self._learn(cohort, answer)
                yield Finished(cohort, answer.results, answer.seconds, answer.provenance)
            case Raised(fatal=Exception() as fatal):
                raise fatal
            case Raised(out_of_memory=True):
                yield from self._too_large(cohort, answer.error)
            case Raised():
                yield from self._divided(cohort, answer.error)
            case Died():
                yield from self._again(cohort, answer)

    def _learn(self, cohort: Cohort, done: Done) -> None:
        group = _group(cohort)
        observed = self.observed.setdefault(group, deque(maxlen=MOST_OBSERVED))
        observed.append((len(cohort), done.bytes))
        fits = largest_cohort(observed, done.room)
        self.most[group] = min(fits, self.most.get(group, fits))

    def _too_large(self, cohort: Cohort, error: str) -> Iterator[Failure]:
        half = len(cohort) // 2
        if half == 0:
            advice = "one replica does not fit into memory; try --workers 1, more --memory, or another machine"
            yield Failure(cohort.trials[0], f"{error}: {advice}")
            return
        self.most[_group(cohort)] = half
        self.todo.extendleft(reversed(divide(cohort, 2)))
        self.tell(f"{len(cohort)} replicas of {_where(cohort)} do not fit into memory; going on with {half} at a time")

    def _divided(self, cohort: Cohort, error: str) -> Iterator[Failure]:
        if len(cohort) == 1:
            yield Failure(cohort.trials[0], error)
        else:
            self.todo.extendleft(reversed(divide(cohort, 2)))

    def _again(self, cohort: Cohort, died: Died) -> Iterator[Failure]:
        if died.out_of_memory:
            yield from self._too_large(cohort, f"the system ended the worker for lack of memory ({died.how})")
            return
        self.deaths[cohort.key] += 1
        self.tell(f"a worker process died ({died.how}); its unfinished cohort runs again")
        if self.deaths[cohort.key] == 1 or (len(cohort) == 1 and self.deaths[cohort.key] < ATTEMPTS):
            self.todo.appendleft(cohort)
            return
        advice = "most likely for lack of memory; try --workers 1, more --memory, or another machine"
        yield from self._divided(cohort, f"its worker died {ATTEMPTS} times ({died.how}), {advice}")


def _group(cohort: Cohort) -> Group:
    """Cohorts of one group differ in seeds and stacked levels alone, so a replica takes the same memory in each."""
    return (*cohort.looped.items(), *sorted(cohort.settings.items()))


def _where(cohort: Cohort) -> str:
    return ", ".join(f"{name}={level}" for name, level in cohort.looped.items()) or cohort.trials[0].phenomenon
