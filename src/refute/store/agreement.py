"""The same trial computed twice must give the same numbers, to the last bit."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from refute.core import Curve, Result


class Disagreement(NamedTuple):
    """Where two results of one trial differ most, and by how much: 0 when they agree, infinity when not comparable."""

    quantity: str
    deviation: float


def compare(one: Result, other: Result) -> Disagreement:
    """The largest difference between two results of the same trial; NaN equals NaN.

    A number beside NaN, a quantity that one of them lacks, other coordinates of a curve, and divergence of one of them
    alone all count as infinite.

    >>> compare(Result("k", False, {"loss": 1.0}), Result("k", False, {"loss": 1.25}))
    Disagreement(quantity='loss', deviation=0.25)
    """
    return max(_differences(one, other), key=lambda found: found.deviation)


def _differences(one: Result, other: Result) -> Iterator[Disagreement]:
    yield Disagreement("diverged", 0.0 if one.diverged == other.diverged else math.inf)
    for name in dict.fromkeys((*one.values, *other.values)):
        both = name in one.values and name in other.values
        yield Disagreement(name, _deviation((one.values[name],), (other.values[name],)) if both else math.inf)
    for name in dict.fromkeys((*one.curves, *other.curves)):
        both = name in one.curves and name in other.curves
        yield Disagreement(name, _curve_deviation(one.curves[name], other.curves[name]) if both else math.inf)


def _curve_deviation(one: Curve, other: Curve) -> float:
    if len(one.coordinates) != len(other.coordinates):
        return math.inf
    moved = any(_deviation(a, b) > 0 for a, b in zip(one.coordinates, other.coordinates, strict=True))
    return math.inf if moved else _deviation(one.values, other.values)


def _deviation(one: Sequence[float], other: Sequence[float]) -> float:
    if len(one) != len(other):
        return math.inf
    return max((_difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)


def _difference(a: float, b: float) -> float:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    return math.inf if math.isnan(a) or math.isnan(b) else abs(a - b)
