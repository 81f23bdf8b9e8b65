"""Where a claim says the true mean effect lies."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from refute.errors import DefinitionError

Kind = Literal["at_least", "at_most", "within"]
Side = Literal["supported", "refuted"]


class Tails(NamedTuple):
    """One-sided p-values of the two directions of a claim."""

    supported: float
    refuted: float


@dataclass(frozen=True)
class Region:
    """The values of the true mean effect for which a claim holds: at least, at most, or within +- `bound`.

    docs: statistics section 1 (the region) and section 4 (within = equivalence).

    Args:
        kind: "at_least", "at_most" or "within" (then the region is [-bound, +bound]).
        bound: the smallest effect that matters, in the unit of the effect.

    Raises:
        DefinitionError: an unknown kind, a bound that is not finite, or a "within" that is not positive.

    >>> Region("at_least", 0.02).side(0.021, 0.04)
    'supported'
    >>> Region("within", 0.05).side(-0.01, 0.06) is None
    True
    """

    kind: Kind
    bound: float

    def __post_init__(self) -> None:
        if self.kind not in ("at_least", "at_most", "within"):
            raise DefinitionError(f"kind of a region must be at_least, at_most or within, {self.kind!r} came")
        if not math.isfinite(self.bound):
            raise DefinitionError(f"bound of a region must be a finite number, {self.bound} came")
        if self.kind == "within" and self.bound <= 0:
            raise DefinitionError(f"bound of a region 'within' must be positive, {self.bound} came")

    def side(self, low: float, high: float) -> Side | None:
        """On which side of the bound an interval lies wholly; None when it does not (or has NaN limits).

        docs: statistics section 3 (verdict at a look) and section 4 (equivalence).
        """
        match self.kind:
            case "at_least":
                inside, outside = low > self.bound, high < self.bound
            case "at_most":
                inside, outside = high < self.bound, low > self.bound
            case "within":
                inside = -self.bound < low and high < self.bound
                outside = low > self.bound or high < -self.bound
        return "supported" if inside else "refuted" if outside else None

    def tails(self, p_above: Callable[[float], float], p_below: Callable[[float], float]) -> Tails:
        """The p-values of both directions, from the p-values of "mean above x" and "mean below x".

        docs: statistics section 3 (at least: p_up, p_down; at most: p_down, p_up) and section 4 (within).
        """
        bound = self.bound
        match self.kind:
            case "at_least":
                return Tails(p_above(bound), p_below(bound))
            case "at_most":
                return Tails(p_below(bound), p_above(bound))
            case "within":
                return Tails(max(p_above(-bound), p_below(bound)), min(p_above(bound), p_below(-bound)))

    def contains(self, effect: float) -> bool:
        """Whether one number lies in the region, its ends included."""
        match self.kind:
            case "at_least":
                return effect >= self.bound
            case "at_most":
                return effect <= self.bound
            case "within":
                return abs(effect) <= self.bound

    def distance(self, mean: float) -> float:
        """How far a mean is from the nearest end of the region, in the unit of the effect."""
        return abs(abs(mean) - self.bound) if self.kind == "within" else abs(mean - self.bound)

    def in_words(self) -> str:
        """For sentences: `the bound 0.02`, `the bounds -0.05 and 0.05`."""
        if self.kind == "within":
            return f"the bounds {-self.bound:g} and {self.bound:g}"
        return f"the bound {self.bound:g}"
