"""What a trial function hands back is checked before it is stored."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_phenomenon, noisy_trial

from refute.core import Cohort, Phenomenon, Quantity
from refute.engine import cohorts, measure, plan
from refute.environment import provenance
from refute.errors import DefinitionError, ExecutionError
from refute.store import Store


def first_cohort(phenomenon: Phenomenon) -> Cohort:
    return cohorts(phenomenon, plan(phenomenon, "smoke"), size=4)[0]


def changed(change: Any) -> Phenomenon:
    return make_phenomenon(
        trial=lambda cohort: change(noisy_trial(cohort)),
        quantities={
            "height": Quantity(definition="h", low=-10, high=10),
            "course": Quantity(definition="c", axes=("step",)),
        },
    )


def test_values_and_curves_by_replica(toy: Phenomenon) -> None:
    cohort = first_cohort(toy)
    results = measure(toy, cohort)
    assert [result.key for result in results] == [trial.key for trial in cohort.trials]
    assert results[0].curves["course"].coordinates == ((0.0, 1.0, 2.0, 3.0),)
    assert not any(result.diverged for result in results)


def test_packing_changes_nothing_bit_for_bit(toy: Phenomenon) -> None:
    trials = plan(toy, "smoke")
    by_size = [
        {result.key: result for cohort in cohorts(toy, trials, size=size) for result in measure(toy, cohort)}
        for size in (1, 3, 20)
    ]
    assert by_size[0] == by_size[1] == by_size[2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: {**found, "extra": found["height"]}, "undeclared: extra"),
        (lambda found: {"course": found["course"]}, "missing: height"),
        (lambda found: {**found, "height": torch.zeros(2)}, r"shape \(2,\) came"),
        (lambda found: {**found, "diverged": torch.zeros(2)}, r"diverged: a tensor \(replica\) with"),
    ],
)
def test_what_was_not_declared_is_refused(change: Any, says: str) -> None:
    phenomenon = changed(change)
    with pytest.raises(DefinitionError, match=says):
        measure(phenomenon, first_cohort(phenomenon))


def test_a_number_out_of_its_range_is_an_error_of_the_trial() -> None:
    phenomenon = changed(lambda found: {**found, "height": found["height"] + 50})
    with pytest.raises(ExecutionError, match=r"must lie in \[-10, 10\]"):
        measure(phenomenon, first_cohort(phenomenon))


# --- numbers that are not finite ----------------------------------------------------------------------------------


def second(found: dict[str, Any], number: float) -> dict[str, Any]:
    """Without a word on divergence; the second replica's height is `number`."""
    height = found["height"].clone()
    height[1] = number
    return {"height": height, "course": found["course"]}


def second_course(found: dict[str, Any], number: float) -> dict[str, Any]:
    course, axes = found["course"]
    course = course.clone()
    course[1, -1] = number
    return {"height": found["height"], "course": (course, axes)}


def nothing_finite(found: dict[str, Any], number: float) -> dict[str, Any]:
    """The second replica has not one finite number, and yet it is said that none diverged."""
    course, axes = found["course"]
    course = course.clone()
    course[1] = number
    return {**second(found, number), "course": (course, axes), "diverged": torch.zeros(len(course), dtype=torch.bool)}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("change", [second, second_course, nothing_finite])
def test_nan_and_infinity_are_stored_as_diverged(change: Any, number: float, tmp_path: Path) -> None:
    phenomenon = changed(lambda found: change(found, number))
    cohort = first_cohort(phenomenon)
    store = Store(tmp_path)
    store.add(cohort, measure(phenomenon, cohort), provenance("cpu"), 1.0)
    stored = store.results(cohort.trials)
    assert [stored[trial.key].diverged for trial in cohort.trials] == [False, True, *[False] * (len(cohort) - 2)]


def test_who_says_what_diverged_may_leave_a_number_undefined() -> None:
    phenomenon = changed(lambda found: {**second(found, math.nan), "diverged": found["diverged"]})
    assert not any(result.diverged for result in measure(phenomenon, first_cohort(phenomenon)))
