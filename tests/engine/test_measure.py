"""What a trial function hands back is checked before it is stored."""

from typing import Any

import pytest
import torch
from conftest import make_phenomenon, noisy_trial

from refute.core import Cohort, Phenomenon, Quantity
from refute.engine import cohorts, measure, plan
from refute.errors import DefinitionError


def first_cohort(phenomenon: Phenomenon) -> Cohort:
    return cohorts(phenomenon, plan(phenomenon, "smoke"), size=4)[0]


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
        (lambda found: {**found, "height": found["height"] + 50}, r"must lie in \[-10, 10\]"),
    ],
)
def test_what_was_not_declared_is_refused(change: Any, says: str) -> None:
    phenomenon = make_phenomenon(
        trial=lambda cohort: change(noisy_trial(cohort)),
        quantities={
            "height": Quantity(definition="h", low=-10, high=10),
            "course": Quantity(definition="c", axes=("step",)),
        },
    )
    with pytest.raises(DefinitionError, match=says):
        measure(phenomenon, first_cohort(phenomenon))
