"""From a protocol to trials and cohorts."""

import pytest
from conftest import make_phenomenon

from refute.core import Grid, Phenomenon, Protocol, looped, stacked
from refute.engine import cohorts, plan
from refute.errors import UnknownNameError, UsageError


def test_every_combination_and_seed_once(toy: Phenomenon) -> None:
    trials = plan(toy, "smoke")
    assert len(trials) == 2 * 2 * 5
    assert len({trial.key for trial in trials}) == 20
    assert {trial.block for trial in trials} == set(range(5))


def test_grids_that_overlap_share_trials() -> None:
    grid = Grid(levels={"kind": ("plus",), "shift": (1.0, 2.0)}, seeds=5)
    more = Grid(levels={"kind": ("plus",)}, seeds=8)  # the default shift is 1.0: five of the eight stand already
    phenomenon = make_phenomenon(protocols={"smoke": Protocol(grids=(grid, more))})
    assert len(plan(phenomenon, "smoke")) == 13


def test_seeds_first_seed_and_only(toy: Phenomenon) -> None:
    trials = plan(toy, "smoke", seeds=3, first_seed=1000, only={"kind": ["plus"], "shift": ["2.0"]})
    assert [trial.block for trial in trials] == [1000, 1001, 1002]
    assert {(trial.levels["kind"], trial.levels["shift"]) for trial in trials} == {("plus", 2.0)}


def test_one_seed_is_refused_with_the_reason(toy: Phenomenon) -> None:
    with pytest.raises(UsageError, match=r"1 seed can't be judged.*no spread"):
        plan(toy, "smoke", seeds=1)


@pytest.mark.parametrize(
    ("only", "says"),
    [
        ({"knid": ["plus"]}, "no factor 'knid'; did you mean 'kind'"),
        ({"kind": ["pls"]}, "no kind 'pls' at this scale; did you mean 'plus'"),
    ],
)
def test_unknown_levels_are_refused(toy: Phenomenon, only: dict[str, list[str]], says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        plan(toy, "smoke", only=only)


def test_levels_that_never_meet_are_refused() -> None:
    protocol = Protocol(
        grids=(
            Grid(levels={"kind": ("plus",), "shift": (1.0,)}, seeds=2),
            Grid(levels={"kind": ("minus",), "shift": (2.0,)}, seeds=2),
        )
    )
    with pytest.raises(UsageError, match="no trial of toy"):
        plan(make_phenomenon(protocols={"smoke": protocol}), "smoke", only={"kind": ["plus"], "shift": ["2.0"]})


def test_cohorts_share_looped_levels_and_stay_small(toy: Phenomenon) -> None:
    trials = plan(toy, "smoke")
    packed = cohorts(toy, trials, size=4)
    assert sorted(trial.key for cohort in packed for trial in cohort.trials) == sorted(t.key for t in trials)
    assert all(len(cohort) <= 4 for cohort in packed)
    assert all(len({trial.levels["kind"] for trial in cohort.trials}) == 1 for cohort in packed)
    lengths = [len(cohort) for cohort in packed]
    assert max(lengths) - min(lengths) <= 1


def test_a_cohort_answers_for_its_factors(toy: Phenomenon) -> None:
    cohort = cohorts(toy, plan(toy, "smoke"), size=4)[0]
    assert cohort["kind"] == "plus"
    assert len(cohort["shift"]) == len(cohort)
    with pytest.raises(UnknownNameError, match="did you mean 'shift'"):
        cohort["shft"]
    with pytest.raises(UnknownNameError, match="no setting 'steps'"):
        cohort.setting("steps")


def test_an_own_copy_of_a_data_set_has_keys_of_its_own() -> None:
    phenomenon = make_phenomenon(
        factors={
            "dataset": looped("images"),
            "kind": looped("sign", default="plus"),
            "shift": stacked("s", default=1.0),
        },
        protocols={"smoke": Protocol(grids=(Grid(levels={"dataset": ("mnist", "digits")}, seeds=3),))},
        claims=(make_phenomenon().claims[0],),
    )
    published = plan(phenomenon, "smoke")
    own = plan(phenomenon, "smoke", own_copies={"mnist": "0123456789abcdef"})
    same = {trial.key for trial in published} & {trial.key for trial in own}
    assert {trial.levels["dataset"] for trial in published if trial.key in same} == {"digits"}
    assert len(same) == 3
