"""A trial that was computed twice must give the same numbers."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from refute.core import Curve, Result
from refute.errors import DeterminismWarning
from refute.store import Store
from refute.store.agreement import compare

from .samples import PROVENANCE, cohort, result, results, trials

EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"


def add(lab: Path, count: int, *, shift: float, created: str, processor: str = "Abacus 3") -> Path:
    members = trials(count)
    made = replace(PROVENANCE, created=created, processor=processor)
    return Store(lab).add(cohort(members), results(members, shift=shift), made, 1.0)


@pytest.mark.parametrize("early_first", [True, False])
def test_one_warning_names_files_trial_quantity_and_deviation(tmp_path: Path, early_first: bool) -> None:
    arguments = [(3, 0.0, EARLY), (2, 0.25, LATE)][:: 1 if early_first else -1]
    paths = {created: add(tmp_path, count, shift=shift, created=created) for count, shift, created in arguments}
    with pytest.warns(DeterminismWarning) as caught:
        read = Store(tmp_path).results(trials(3))
    (message,) = [str(warning.message) for warning in caught]
    assert trials(1)[0].key in message
    assert "accuracy differs by up to 0.25" in message
    assert f"between {paths[EARLY]} and {paths[LATE]}" in message
    assert "the same environment" in message
    assert "(1 more trial" in message
    assert {one.values["accuracy"] for one in read.values()} == {0.9}, "the one made first is used"


def test_made_in_the_same_second_the_name_decides(tmp_path: Path) -> None:
    paths = [add(tmp_path, 1, shift=shift, created=EARLY) for shift in (0.0, 0.5)]
    with pytest.warns(DeterminismWarning, match=f"between {min(paths)} and"):
        read = Store(tmp_path).results(trials(1))
    assert read[trials(1)[0].key].values["accuracy"] == (0.9, 1.4)[paths.index(min(paths))]


def test_different_environments_are_told(tmp_path: Path) -> None:
    add(tmp_path, 1, shift=0.0, created=EARLY)
    add(tmp_path, 1, shift=1e-12, created=LATE, processor="Abacus 4")
    with pytest.warns(DeterminismWarning, match=r"up to 1e-12 .*different environments"):
        Store(tmp_path).results(trials(1))


def test_results_that_agree_do_not_warn(tmp_path: Path) -> None:
    add(tmp_path, 3, shift=0.0, created=EARLY)
    add(tmp_path, 2, shift=0.0, created=LATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Store(tmp_path).results(trials(3))) == 3


BASE = Result("k", False, {"loss": 1.0, "gap": math.nan}, {"course": Curve(((0.0, 1.0),), (1.0, math.nan))})


@pytest.mark.parametrize(
    ("other", "quantity", "deviation"),
    [
        (BASE, "diverged", 0.0),
        (replace(BASE, diverged=True), "diverged", math.inf),
        (replace(BASE, values={"loss": 1.5, "gap": math.nan}), "loss", 0.5),
        (replace(BASE, values={"loss": 1.0, "gap": 0.0}), "gap", math.inf),
        (replace(BASE, values={"loss": 1.0}), "gap", math.inf),
        (replace(BASE, values={**BASE.values, "new": math.nan}), "new", math.inf),
        (replace(BASE, curves={}), "course", math.inf),
        (replace(BASE, curves={"course": Curve(((0.0, 1.0),), (0.75, math.nan))}), "course", 0.25),
        (replace(BASE, curves={"course": Curve(((0.0, 2.0),), (1.0, math.nan))}), "course", math.inf),
        (replace(BASE, curves={"course": Curve(((0.0,), (1.0,)), (1.0,))}), "course", math.inf),
        (replace(BASE, curves={"course": Curve(((0.0,),), (1.0,))}), "course", math.inf),
    ],
)
def test_what_counts_as_a_difference(other: Result, quantity: str, deviation: float) -> None:
    assert compare(BASE, other) == (quantity, deviation)
    assert compare(other, BASE) == (quantity, deviation)


def test_infinities_agree() -> None:
    (trial,) = trials(1)
    assert compare(result(trial), result(trial)).deviation == 0
