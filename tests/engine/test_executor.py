"""Trials raise, workers die, memory runs out: nothing sound is lost, and results are the same."""

import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_phenomenon, noisy_trial
from typer.testing import CliRunner

from refute.cli import app
from refute.core import Cohort, Failure, Phenomenon, Result
from refute.engine import Finished, cohorts, execute, executor, memory, plan
from refute.engine.crew import Answer, Died, Done, Raised
from refute.environment import provenance
from refute.errors import DataError, DefinitionError, ExecutionError, UsageError

PER_REPLICA = 60_000_000
"""Bytes that `hungry_trial` takes for each replica."""


def threads_trial(cohort: Cohort) -> dict[str, Any]:
    return {**noisy_trial(cohort), "height": torch.full((len(cohort),), float(torch.get_num_threads()))}


def dying_trial(cohort: Cohort) -> dict[str, Any]:
    """Dies by its own hand the first time it sees a cohort of the kind minus."""
    marker = Path(os.environ["REFUTE_TEST_MARKER"])
    if cohort["kind"] == "minus" and not marker.exists():
        marker.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return noisy_trial(cohort)


def deadly_trial(cohort: Cohort) -> dict[str, Any]:
    """Dies of block 3 of the kind minus, every time."""
    if cohort["kind"] == "minus" and 3 in cohort.blocks:
        os.kill(os.getpid(), signal.SIGKILL)
    return noisy_trial(cohort)


def failing_trial(cohort: Cohort) -> dict[str, Any]:
    if cohort["kind"] == "plus" and 2 in cohort.blocks:
        raise ZeroDivisionError("nothing to divide")
    return noisy_trial(cohort)


def hungry_trial(cohort: Cohort) -> dict[str, Any]:
    torch.zeros(len(cohort), PER_REPLICA // 4).add_(1)
    return noisy_trial(cohort)


def killed_for_memory_trial(cohort: Cohort) -> dict[str, Any]:
    """More than two replicas, and the kernel counts a process that it ended for lack of memory."""
    events = Path(os.environ["REFUTE_TEST_MARKER"])
    if len(cohort) > 2:
        events.write_text(f"oom_kill {int(events.read_text().split()[1]) + 1}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return noisy_trial(cohort)


def without_data_trial(cohort: Cohort) -> dict[str, Any]:
    raise DataError("mnist could not be fetched")


def undeclared_trial(cohort: Cohort) -> dict[str, Any]:
    return {**noisy_trial(cohort), "width": torch.zeros(len(cohort))}


def everything(
    phenomenon: Phenomenon, workers: int, size: int = 10, **options: Any
) -> tuple[dict[str, Result], list[Failure]]:
    packed = cohorts(phenomenon, plan(phenomenon, "smoke"), size=size)
    ended = list(execute(phenomenon, packed, workers=workers, **options))
    results = {result.key: result for one in ended if isinstance(one, Finished) for result in one.results}
    return results, [one for one in ended if isinstance(one, Failure)]


def run(phenomenon: Phenomenon, workers: int, size: int = 10, **options: Any) -> dict[str, Result]:
    results, failures = everything(phenomenon, workers, size, **options)
    assert not failures
    return results


def test_worker_count_changes_nothing(toy: Phenomenon) -> None:
    assert run(toy, workers=0) == run(toy, workers=2, size=3)


def test_no_cohort_starts_no_worker(toy: Phenomenon) -> None:
    assert list(execute(toy, [], workers=2)) == []


def test_a_worker_has_one_thread() -> None:
    found = run(make_phenomenon(trial=threads_trial), workers=1)
    assert {result.values["height"] for result in found.values()} == {1.0}


def test_unknown_executors_are_refused(toy: Phenomenon) -> None:
    with pytest.raises(UsageError, match="must be local, ray or ray://HOST:PORT, 'dask' came"):
        run(toy, workers=1, executor="dask")


@pytest.mark.parametrize("device", ["cuda:0", "meta"])
def test_with_ray_nobody_chooses_a_gpu(toy: Phenomenon, device: str) -> None:
    packed = cohorts(toy, plan(toy, "smoke"), size=4, device=device)
    with pytest.raises(UsageError, match=f"with --executor ray the device must be cpu or cuda, '{device}' came"):
        list(execute(toy, packed, executor="ray"))


def test_the_command_line_without_ray_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "refute.engine.ray_cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["run", "layer-criticality", "--scale", "smoke", "--executor", "ray", "--lab", str(tmp_path / "lab")]
    answer = CliRunner().invoke(app, command)
    assert isinstance(answer.exception, UsageError)
    assert str(answer.exception) == "--executor ray needs Ray; install it with: pip install 'refute[ray]'"
    assert not list(tmp_path.rglob("*.parquet")), "nothing has run"


def test_a_trial_function_that_no_process_can_find(toy: Phenomenon) -> None:
    with pytest.raises(ExecutionError, match=r"toy can't be sent to worker processes .*or take workers=0"):
        run(make_phenomenon(trial=lambda cohort: noisy_trial(cohort)), workers=1)


# --- workers that die ---------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_nothing(toy: Phenomenon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTE_TEST_MARKER", str(tmp_path / "marker"))
    told: list[str] = []
    found = run(make_phenomenon(trial=dying_trial), workers=2, tell=told.append)
    assert found == run(toy, workers=0)
    assert told == ["a worker process died (signal 9); its unfinished cohort runs again"]


def test_the_trial_that_kills_every_worker_is_found_and_given_up(toy: Phenomenon) -> None:
    found, failures = everything(make_phenomenon(trial=deadly_trial), workers=2)
    assert sorted((one.trial.levels["kind"], one.trial.block) for one in failures) == [("minus", 3)] * 2
    assert all("its worker died 3 times (signal 9)" in one.error for one in failures)
    lost = {one.trial.key for one in failures}
    assert found == {key: result for key, result in run(toy, workers=0).items() if key not in lost}


# --- trials that raise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_trial_is_named_and_takes_no_neighbour_along(toy: Phenomenon, workers: int) -> None:
    found, failures = everything(make_phenomenon(trial=failing_trial), workers=workers)
    assert {(one.trial.levels["kind"], one.trial.block) for one in failures} == {("plus", 2)}
    assert len(failures) == 2
    assert all(one.error.startswith("ZeroDivisionError: nothing to divide (test_executor.py") for one in failures)
    lost = {one.trial.key for one in failures}
    assert found == {key: result for key, result in run(toy, workers=0).items() if key not in lost}


@pytest.mark.parametrize(("trial", "kind"), [(without_data_trial, DataError), (undeclared_trial, DefinitionError)])
def test_what_no_other_trial_can_do_better_ends_the_run(trial: Callable[..., Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        run(make_phenomenon(trial=trial), workers=1)


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is Linux's")
@pytest.mark.parametrize("workers", [0, 1])
def test_what_does_not_fit_is_halved_until_it_does(toy: Phenomenon, workers: int) -> None:
    told: list[str] = []
    found = run(make_phenomenon(trial=hungry_trial), workers=workers, tell=told.append, memory=4 * PER_REPLICA)
    assert found == run(toy, workers=0)
    assert told
    assert all("do not fit into memory" in text for text in told)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is Linux's")
@pytest.mark.parametrize("workers", [0, 1])
def test_one_replica_that_does_not_fit_is_a_failure_that_says_what_to_do(workers: int) -> None:
    found, failures = everything(make_phenomenon(trial=hungry_trial), workers=workers, memory=PER_REPLICA // 2)
    assert not found
    assert len(failures) == 20
    assert all("one replica does not fit into memory; try --workers 1" in one.error for one in failures)


def test_killed_for_lack_of_memory_is_halved(toy: Phenomenon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "vmstat"
    events.write_text("oom_kill 7\n")
    monkeypatch.setenv("REFUTE_TEST_MARKER", str(events))
    monkeypatch.setattr(memory, "EVENTS", events)
    told: list[str] = []
    assert run(make_phenomenon(trial=killed_for_memory_trial), workers=1, tell=told.append) == run(toy, workers=0)
    assert told[0] == "10 replicas of kind=plus do not fit into memory; going on with 5 at a time"
    assert len(told) == 4, "per kind: ten do not fit, five do not fit; what is left is divided at once"


class Scripted:
    """A crew that answers as it is told, and notes the sizes of what it was given."""

    def __init__(self, answer: Callable[[Cohort], Answer]) -> None:
        self.answer, self.given, self.closed = answer, list[Cohort](), False
        self.waiting: list[Cohort] = []

    def free(self) -> int:
        return 1 - len(self.waiting)

    def give(self, cohort: Cohort) -> None:
        self.given.append(cohort)
        self.waiting.append(cohort)

    def wait(self) -> list[tuple[Cohort, Answer]]:
        cohort = self.waiting.pop()
        return [(cohort, self.answer(cohort))]

    def close(self) -> None:
        self.closed = True

    @property
    def sizes(self) -> list[int]:
        return [len(cohort) for cohort in self.given]


def with_crew(
    toy: Phenomenon, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Cohort], Answer], sizes: Sequence[int]
) -> tuple[Scripted, list[Finished | Failure]]:
    crew = Scripted(answer)
    monkeypatch.setattr(executor, "_crew", lambda *_: crew)
    trials = [trial for trial in plan(toy, "smoke", seeds=50) if trial.levels["kind"] == "plus"]
    packed, first = [], 0
    for size in sizes:
        packed += cohorts(toy, trials[first : first + size], size=size)
        first += size
    ended = list(execute(toy, packed, workers=1))
    assert crew.closed
    return crew, ended


def done(cohort: Cohort, *, each: int, room: int) -> Done:
    results = [Result(trial.key, False, {}) for trial in cohort.trials]
    return Done(results, 1.0, each * len(cohort), room, provenance("cpu"))


def test_later_cohorts_are_sized_by_what_the_first_took(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    crew, ended = with_crew(toy, monkeypatch, lambda cohort: done(cohort, each=10, room=45), (3, 10, 4, 5))
    assert crew.sizes == [3, 3, 3, 4, 4, 2, 3]
    assert sum(len(one.cohort) for one in ended if isinstance(one, Finished)) == 22


def test_nothing_measured_limits_nothing(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    crew, _ = with_crew(toy, monkeypatch, lambda cohort: done(cohort, each=0, room=45), (3, 10, 4))
    assert crew.sizes == [3, 10, 4]


def test_after_a_memory_error_the_group_stays_small(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(cohort: Cohort) -> Answer:
        return done(cohort, each=0, room=1) if len(cohort) <= 4 else Raised("OutOfMemoryError", out_of_memory=True)

    crew, ended = with_crew(toy, monkeypatch, answer, (8, 8, 4))
    assert crew.sizes == [8, 4, 4, 4, 4, 4]
    assert not any(isinstance(one, Failure) for one in ended)


def test_a_death_without_a_reason_is_first_tried_whole(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = iter([Died("signal 9"), Died("signal 9")])
    crew, ended = with_crew(toy, monkeypatch, lambda cohort: next(deaths, done(cohort, each=0, room=1)), (8, 8))
    assert crew.sizes == [8, 8, 4, 4, 8]
    assert sum(len(one.cohort) for one in ended if isinstance(one, Finished)) == 16


def test_the_crew_is_dismissed_when_the_caller_stops(toy: Phenomenon, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = Scripted(lambda cohort: done(cohort, each=0, room=1))
    monkeypatch.setattr(executor, "_crew", lambda *_: crew)
    running = execute(toy, cohorts(toy, plan(toy, "smoke"), size=2), workers=1)
    next(running)
    running.close()
    assert crew.closed


def test_a_replica_that_took_nothing_has_no_limit() -> None:
    assert memory.largest_cohort([], 100) == memory.largest_cohort([(4, 0)], 100) == sys.maxsize
    assert memory.largest_cohort([(4, 4000)], 10) == 1, "one replica is always tried"
    assert math.isclose(memory.share("cpu", 4, 10_000), 2500)
