"""The flow: what is missing is run, what fails is told and tried again, curves are there when they are asked for."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_phenomenon, noisy_trial

from refute import flow
from refute.core import Cohort, Outcome, Phenomenon, Progress

BROKEN = {"now": True}


def sometimes_failing_trial(cohort: Cohort) -> dict[str, Any]:
    if BROKEN["now"] and cohort["kind"] == "plus" and 2 in cohort.blocks:
        raise ZeroDivisionError("nothing to divide")
    return noisy_trial(cohort)


def run(phenomenon: Phenomenon, lab: Path, **options: Any) -> Outcome:
    return flow.run(phenomenon, scale="smoke", lab=lab, **{"workers": 0, **options})


def test_the_second_run_trains_nothing_and_says_the_same(toy: Phenomenon, tmp_path: Path) -> None:
    first, second = run(toy, tmp_path), run(toy, tmp_path)
    assert (first.trials_run, first.trials_cached) == (20, 0)
    assert (second.trials_run, second.trials_cached) == (0, 20)
    assert first.verdicts == second.verdicts == flow.stored(toy, scale="smoke", lab=tmp_path).verdicts
    assert first.results == second.results
    assert not first.failures


def test_curves_are_read_when_they_are_asked_for(toy: Phenomenon, tmp_path: Path) -> None:
    outcome = run(toy, tmp_path)
    trial = next(trial for trial in outcome.trials if trial.levels["shift"] == 2.0)
    assert outcome.results[trial.key].curves["course"].values == (0.0, 2.0, 4.0, 6.0)
    assert set(outcome.results[trial.key].curves) == {"course"}


def test_failures_are_told_and_only_they_are_tried_again(
    toy: Phenomenon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phenomenon = make_phenomenon(trial=sometimes_failing_trial)
    broken = run(phenomenon, tmp_path)
    assert (broken.trials_run, broken.trials_cached, len(broken.failures)) == (18, 0, 2)
    assert {(one.trial.levels["kind"], one.trial.block) for one in broken.failures} == {("plus", 2)}
    cells = {tuple(cell.levels.values()): cell for cell in broken.verdicts[0].cells}
    assert cells["plus", 1.0].blocks == (0, 1, 3, 4), "the verdict is made from what is there"
    assert cells["minus", 1.0].blocks == (0, 1, 2, 3, 4)
    again = run(phenomenon, tmp_path)
    assert (again.trials_run, again.trials_cached, len(again.failures)) == (0, 18, 2)
    monkeypatch.setitem(BROKEN, "now", False)
    mended = run(phenomenon, tmp_path)
    assert (mended.trials_run, mended.trials_cached, mended.failures) == (2, 18, ())
    assert mended.verdicts == run(toy, tmp_path / "untouched").verdicts


def test_a_watcher_sees_every_cohort_and_the_last_verdicts(toy: Phenomenon, tmp_path: Path) -> None:
    seen: list[Progress] = []
    outcome = run(toy, tmp_path, watch=seen.append)
    assert [progress.trials_run for progress in seen] == [0, 3, 6, 10, 13, 16, 20, 20]
    assert seen[-1].verdicts == outcome.verdicts
