"""What the statistics accept: each check names the argument and the value that came."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refute.errors import DefinitionError, JudgementError, UsageError

Floats = NDArray[np.float64]


def check_level(level: float) -> float:
    """A one-sided level lies strictly between 0 and one half."""
    if not 0 < level < 0.5:
        raise UsageError(f"level must lie between 0 and 0.5 (one-sided), {level} came")
    return level


def check_quantum(quantum: float) -> float:
    """A quantum is the smallest step of the effect: 0 when it is continuous."""
    if not (math.isfinite(quantum) and quantum >= 0):
        raise DefinitionError(f"quantum must be a finite number of at least 0, {quantum} came")
    return quantum


def check_looks(looks: Sequence[int]) -> tuple[int, ...]:
    """Looks are counts of planned blocks: at least one, positive, strictly increasing."""
    checked = tuple(looks)
    whole = all(isinstance(look, (int, np.integer)) and look > 0 for look in checked)
    if not checked or not whole or any(a >= b for a, b in pairwise(checked)):
        raise DefinitionError(f"looks must be increasing counts of blocks such as (5, 10, 20, 40), {looks!r} came")
    return tuple(int(look) for look in checked)


def check_looks_taken(taken: Sequence[int], looks: Sequence[int], reached: int) -> tuple[int, ...]:
    """Looks taken are planned, reached and in order."""
    checked = tuple(taken)
    if list(checked) != [look for look in looks if look in checked and look <= reached]:
        raise UsageError(
            f"looks_taken must be planned looks {tuple(looks)} that {reached} blocks reach, in order, {taken!r} came"
        )
    return checked


def planned_effects(effects: ArrayLike) -> Floats:
    """One number per planned block, NaN where the block failed; infinite numbers are refused."""
    array = np.asarray(effects, dtype=np.float64)
    if array.ndim != 1:
        raise JudgementError(f"effects must be one number per block, an array of shape {array.shape} came")
    if np.isinf(array).any():
        block = int(np.flatnonzero(np.isinf(array))[0])
        raise JudgementError(f"effects must be finite, or NaN where a block failed; {array[block]} came at {block}")
    return array


def valid_effects(effects: ArrayLike, name: str = "effects") -> Floats:
    """Finite numbers, at least one."""
    array = np.asarray(effects, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise JudgementError(f"{name} must be a list of at least one number, an array of shape {array.shape} came")
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)][0]
        raise JudgementError(f"{name} must be finite numbers (leave failed blocks out), {bad} came")
    return array


def check_events(events: Floats) -> Floats:
    """Every valid block says whether the event happened: 1 or 0."""
    wrong = events[~(np.isnan(events) | (events == 0) | (events == 1))]
    if wrong.size:
        raise JudgementError(f"events of a share must be 0 or 1, {wrong[0]} came")
    return events


def paired(first: ArrayLike, second: ArrayLike, least: int) -> tuple[Floats, Floats]:
    """Two finite lists of the same length, at least `least` long."""
    x, y = valid_effects(first, "x"), valid_effects(second, "y")
    if x.size != y.size or x.size < least:
        raise JudgementError(f"x and y must be equally long with at least {least} numbers, {x.size} and {y.size} came")
    return x, y
