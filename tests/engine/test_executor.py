"""Worker processes: results do not depend on them, their deaths cost one cohort, errors are one sentence."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_phenomenon, noisy_trial

from refute.core import Cohort, Phenomenon
from refute.engine import cohorts, execute, plan
from refute.errors import ExecutionError


def threads_trial(cohort: Cohort) -> dict[str, Any]:
    return {**noisy_trial(cohort), "height": torch.full((len(cohort),), float(torch.get_num_threads()))}


def dying_trial(cohort: Cohort) -> dict[str, Any]:
    """Dies by its own hand the first time it sees a cohort of the kind minus."""
    marker = Path(os.environ["REFUTE_TEST_MARKER"])
    if cohort["kind"] == "minus" and not marker.exists():
        marker.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return noisy_trial(cohort)


def always_dying_trial(cohort: Cohort) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return noisy_trial(cohort)


def failing_trial(cohort: Cohort) -> dict[str, Any]:
    raise ZeroDivisionError(f"nothing to divide {cohort['kind']}")


def run(phenomenon: Phenomenon, workers: int, size: int = 10, **options: Any) -> dict[str, Any]:
    packed = cohorts(phenomenon, plan(phenomenon, "smoke"), size=size)
    finished = list(execute(phenomenon, packed, workers=workers, **options))
    return {result.key: result for each in finished for result in each.results}


def test_worker_count_changes_nothing(toy: Phenomenon) -> None:
    assert run(toy, workers=0) == run(toy, workers=2, size=3)


def test_a_worker_has_one_thread() -> None:
    found = run(make_phenomenon(trial=threads_trial), workers=1)
    assert {result.values["height"] for result in found.values()} == {1.0}


def test_a_killed_worker_costs_one_cohort(toy: Phenomenon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUTE_TEST_MARKER", str(tmp_path / "marker"))
    told: list[str] = []
    found = run(make_phenomenon(trial=dying_trial), workers=1, tell=told.append)
    assert found == run(toy, workers=0)
    assert len(told) == 1
    assert "a worker process died" in told[0]


def test_a_cohort_that_kills_every_worker_is_given_up() -> None:
    with pytest.raises(ExecutionError, match=r"workers died 3 times on the cohort kind=plus.*memory"):
        run(make_phenomenon(trial=always_dying_trial), workers=1)


def test_a_failing_trial_is_named() -> None:
    with pytest.raises(ExecutionError, match=r"kind=plus.*ZeroDivisionError: nothing to divide plus"):
        run(make_phenomenon(trial=failing_trial), workers=1)
