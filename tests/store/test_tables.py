"""Results become rows and rows become the same results."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refute.core import Curve, Result
from refute.errors import StoreError
from refute.store.tables import SCHEMA, from_table, to_table

from .samples import result, results, same, trials

numbers = st.floats(allow_nan=True, allow_infinity=True, width=64).map(lambda x: math.nan if x != x else x)
axes = st.lists(st.floats(allow_nan=False), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def curve(draw: st.DrawFn) -> Curve:
    coordinates = draw(st.one_of(st.tuples(axes), st.tuples(axes, axes)))
    count = math.prod(map(len, coordinates))
    return Curve(coordinates, tuple(draw(st.lists(numbers, min_size=count, max_size=count))))


@given(
    scalars=st.lists(st.dictionaries(st.sampled_from("abc"), numbers), min_size=1, max_size=4),
    curves=st.dictionaries(st.sampled_from(("x", "y")), curve()),
    diverged=st.booleans(),
)
def test_any_result_survives(scalars: list[dict[str, float]], curves: dict[str, Curve], diverged: bool) -> None:
    members = trials(len(scalars))
    stored = [Result(trial.key, diverged, values, curves) for trial, values in zip(members, scalars, strict=True)]
    read = from_table(to_table(members, stored))
    assert list(read) == [trial.key for trial in members]
    assert all(same(read[one.key], one) for one in stored)


def test_rows_are_long_and_say_what_they_are() -> None:
    (trial,) = trials(1, first=3)
    table = to_table([trial], [result(trial)])
    assert table.schema == SCHEMA
    assert table.num_rows == 4 + 3 + 2 * 3
    assert table.to_pylist()[-1] == {
        "trial": trial.key,
        "phenomenon": "toy",
        "version": 1,
        "levels": '{"dataset": "digits", "deep": true, "learning_rate": 0.30000000000000004}',
        "settings": '{"steps": 100}',
        "block": 3,
        "seed": 2**59 + 3,
        "diverged": True,
        "quantity": "map",
        "axis0": 2.0,
        "axis1": 0.0,
        "value": 9.0,
    }


def test_results_may_come_in_any_order() -> None:
    members = trials(3)
    read = from_table(to_table(members, results(members)[::-1]))
    assert list(read) == [trial.key for trial in members]
    assert all(same(read[one.key], one) for one in results(members))


def test_a_trial_without_numbers_is_not_lost() -> None:
    (trial,) = trials(1)
    bare = Result(trial.key, True, {})
    assert from_table(to_table([trial], [bare])) == {trial.key: bare}


@pytest.mark.parametrize("coordinates", [((1.0, 1.0),), ((1.0, 1.0), (0.0, 5.0)), ((1.0, 2.0), (3.0, 3.0))])
def test_coordinates_may_repeat(coordinates: tuple[tuple[float, ...], ...]) -> None:
    (trial,) = trials(1)
    drawn = Curve(coordinates, tuple(float(i) for i in range(math.prod(map(len, coordinates)))))
    read = from_table(to_table([trial], [Result(trial.key, False, {}, {"map": drawn})]))
    points = list(read[trial.key].curves["map"].points())
    assert points == list(drawn.points())


def test_no_trials_no_rows() -> None:
    assert from_table(to_table([], [])) == {}


def test_results_of_other_trials_are_refused() -> None:
    members = trials(3)
    with pytest.raises(StoreError, match="one result for each of 3 trials"):
        to_table(members, results(members[:2]))
    with pytest.raises(StoreError, match="no counterpart"):
        to_table(members[:2], results(members))


def test_a_curve_without_points_is_refused() -> None:
    (trial,) = trials(1)
    with pytest.raises(StoreError, match=r"quantity 'course'.*without points"):
        to_table([trial], [Result(trial.key, False, {}, {"course": Curve(((),), ())})])
