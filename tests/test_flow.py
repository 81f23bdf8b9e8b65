"""The flow: what is missing is run, what fails is told and tried again, curves are there when they are asked for."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_phenomenon, noisy_trial

from refute import flow, statistics
from refute.core import Claim, Cohort, Grid, Outcome, Phenomenon, Progress, Protocol, Value, at_least, at_most

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


# --- look by look -------------------------------------------------------------------------------------------------

LOOKS = (5, 10, 20)


def height(name: str, holds: Any) -> Claim:
    return Claim(id=name, statement=f"Claim {name}.", effect=Value("height"), holds=holds, within=("shift",))


def sequential(*claims: Claim, shifts: tuple[float, ...] = (1.0,), seeds: int = 20) -> Phenomenon:
    """Heights are the shift plus noise of sd 0.1."""
    grid = Grid(levels={"kind": ("plus",), "shift": shifts}, seeds=seeds)
    return make_phenomenon(claims=claims, protocols={"smoke": Protocol(grids=(grid,), looks=LOOKS, cohort=4)})


CLEAR = height("clear", at_least(0.5, reason="half"))
ON_THE_BOUND = height("on the bound", at_least(1.0, reason="one"))


def test_a_clear_claim_stops_at_the_first_look(tmp_path: Path) -> None:
    outcome = run(sequential(CLEAR), tmp_path)
    (cell,) = outcome.verdicts[0].cells
    assert (outcome.trials_run, outcome.spared, len(outcome.trials)) == (5, 15, 20)
    assert (cell.verdict, cell.decided_at, cell.looks, cell.open) == ("supported", 5, LOOKS, False)
    assert cell.confidence == pytest.approx(0.975), "the level of this look, not of the last one"
    assert outcome.verdicts[0].settled


def test_only_the_cells_that_are_open_go_on(tmp_path: Path) -> None:
    outcome = run(sequential(height("some", at_least(1.0, reason="one")), shifts=(1.0, 3.0)), tmp_path)
    seeds = {cell.levels["shift"]: len(cell.blocks) for cell in outcome.verdicts[0].cells}
    assert seeds == {1.0: 20, 3.0: 5}
    assert (outcome.trials_run, outcome.spared) == (25, 15)


def test_a_trial_is_run_as_long_as_one_claim_needs_it(tmp_path: Path) -> None:
    outcome = run(sequential(CLEAR, ON_THE_BOUND), tmp_path)
    assert outcome.trials_run > 5
    clear = next(verdict for verdict in outcome.verdicts if verdict.claim.id == "clear")
    assert clear.cells[0].decided_at == 5, "later seeds do not move a decided claim"


def test_the_verdict_is_that_of_the_law_on_the_same_numbers(tmp_path: Path) -> None:
    outcome = run(sequential(ON_THE_BOUND), tmp_path)
    (cell,) = outcome.verdicts[0].cells
    expected = statistics.judge_cell(cell.effects, region=statistics.Region("at_least", 1.0), looks=LOOKS)
    assert (cell.verdict, cell.low, cell.high) == (expected.verdict, expected.low, expected.high)
    assert cell.p_supported == expected.p_supported


def test_cells_of_a_contested_claim_go_on_until_that_is_beyond_chance(tmp_path: Path) -> None:
    shifts = (0.0, 0.1, 0.2, 1.8, 1.9, 2.0)
    outcome = run(sequential(height("split", at_most(1.0, reason="one")), shifts=shifts), tmp_path)
    assert outcome.verdicts[0].verdict == "limited"
    assert outcome.verdicts[0].settled


def test_a_stopped_run_goes_on_and_says_what_an_unbroken_one_says(tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop(progress: Progress) -> None:
        if progress.trials_run >= 7:
            raise Stop

    phenomenon = sequential(ON_THE_BOUND, shifts=(0.95, 1.0))
    with pytest.raises(Stop):
        run(phenomenon, tmp_path / "stopped", watch=stop)
    unbroken = run(phenomenon, tmp_path / "unbroken")
    assert run(phenomenon, tmp_path / "stopped").verdicts == unbroken.verdicts
    assert flow.stored(phenomenon, scale="smoke", lab=tmp_path / "stopped").verdicts == unbroken.verdicts


def test_between_two_looks_nothing_is_decided(tmp_path: Path) -> None:
    phenomenon = sequential(CLEAR)
    run(phenomenon, tmp_path, seeds=4)
    early = flow.stored(phenomenon, scale="smoke", lab=tmp_path)
    assert early.verdicts[0].verdict == "untested"
    assert early.verdicts[0].cells[0].reason == "4 of the 5 blocks of the first look have been run"
    assert early.verdicts[0].cells[0].open


def test_a_fixed_number_of_seeds_is_judged_once(tmp_path: Path) -> None:
    outcome = run(sequential(ON_THE_BOUND), tmp_path, seeds=7)
    (cell,) = outcome.verdicts[0].cells
    assert (outcome.trials_run, outcome.looks, outcome.spared, cell.looks) == (7, None, 0, (7,))


def test_a_cell_in_which_too_many_seeds_failed_is_not_paid_for(tmp_path: Path) -> None:
    outcome = run(sequential(height("high", at_least(0.5, reason="half")), shifts=(101.0,)), tmp_path)
    (cell,) = outcome.verdicts[0].cells
    assert (outcome.trials_run, cell.verdict, cell.open) == (5, "untested", False)
    assert "more than 10 %" in cell.reason


def test_a_watcher_hears_why_the_run_goes_on(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run(sequential(CLEAR, ON_THE_BOUND, shifts=(0.8, 1.0)), tmp_path, watch=seen.append)
    assert any("claims settled after 10 trials; " in progress.message for progress in seen)
    assert all(progress.trials_run + progress.trials_cached <= progress.trials_planned for progress in seen)
