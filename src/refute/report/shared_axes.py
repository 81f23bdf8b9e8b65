"""What figures have in common: labels of axes, positions of levels that are words, looks of colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refute.core import Level, Phenomenon
from refute.report import palette, words
from refute.report.blocks import Axis, Key, Legend
from refute.report.entries import Entry, distinct, numeric
from refute.report.palette import Look

ALIKE = 0.4
"""Panels share an axis when the narrowest spans at least this share of what all span together."""
FREE = 0.05
"""Share of a shared axis left free at both ends."""
MOST_KEYS = 12
"""Longer legends of ordered levels become a scale of colours."""


def axis_label(phenomenon: Phenomenon, name: str) -> str:
    """The name of a quantity, factor or axis in words, with its unit."""
    known = phenomenon.quantities.get(name)
    unit = f" ({known.unit})" if known and known.unit else ""
    return words.name_in_words(name) + unit


@dataclass(frozen=True)
class Scale:
    """Positions of a name's values on an axis: numbers stand for themselves, words get 0, 1, 2 ..."""

    name: str
    axis: Axis

    def position(self, entry: Entry) -> float:
        if not self.axis.names:
            value = entry.number(self.name)
            return math.nan if self.axis.log and not value > 0 else value
        text = words.level(entry.values[self.name])
        return float(self.axis.names.index(text))


def scale(phenomenon: Phenomenon, name: str, values: Sequence[Level], *, log: bool) -> Scale:
    """The axis for a name with the values that occur."""
    label = axis_label(phenomenon, name)
    if numeric(values):
        return Scale(name, Axis(label=label, log=log))
    return Scale(name, Axis(label=label, names=tuple(words.level(value) for value in distinct(values))))


@dataclass(frozen=True)
class Colours:
    """Looks of the levels of a figure's colour, the same in all panels."""

    looks: Mapping[Level, Look]
    legend: Legend | None


def colours(phenomenon: Phenomenon, name: str, values: Sequence[Level]) -> Colours:
    """Looks for the levels that occur, with the legend."""
    found = distinct(values)
    ordered = numeric(found) and len(found) > 2
    looks = dict(zip(found, (palette.ordered if ordered else palette.categories)(len(found)), strict=True))
    label = axis_label(phenomenon, name)
    if ordered and len(found) > MOST_KEYS:
        ends = words.level(found[0]), words.level(found[-1])
        return Colours(looks, Legend(title=label, colours=palette.RAMP, low=ends[0], high=ends[1]))
    keys = tuple(
        Key(sign=palette.SIGNS[look.marker], colour=look.colour, label=words.level(value))
        for value, look in looks.items()
    )
    return Colours(looks, Legend(title=label, keys=keys))


def shared_limits(panels: Sequence[Sequence[float]], *, log: bool) -> tuple[float, float] | None:
    """Limits that all panels can share, so that they compare by eye; None when their numbers differ too much.

    >>> shared_limits([[0.0, 1.0], [0.0, 0.8]], log=False)
    (-0.05, 1.05)
    >>> shared_limits([[0.0, 1.0], [0.0, 80.0]], log=False) is None
    True
    """
    ends = [(min(values), max(values)) for values in panels if values]
    if log:
        ends = [(math.log(low), math.log(high)) for low, high in ends if low > 0]
    if len(ends) < 2:
        return None
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    width = high - low
    if not (math.isfinite(width) and width > 0) or min(b - a for a, b in ends) < ALIKE * width:
        return None
    low, high = low - FREE * width, high + FREE * width
    return (math.exp(low), math.exp(high)) if log else (low, high)


def span(values: Sequence[float]) -> str:
    """Smallest to largest in words, for alternative texts."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "no number"
    return f"{words.number(min(finite))} to {words.number(max(finite))}"
