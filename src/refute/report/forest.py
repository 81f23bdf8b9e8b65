"""Forest plots: cells of a claim on one axis, as percentages of its width, so that the page's layout sets the size."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from refute.report import words
from refute.report.blocks import ClaimSection

MARGIN = 0.06
"""Share of the axis left free at both ends."""
WIDEST = 3.0
"""Ends of intervals further than this many spans of the effects and the bound are cut, with an arrow."""
TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A dot with its interval, in percent of the axis; NaN where there is nothing to draw."""

    dot: float
    low: float
    high: float
    cut_low: bool
    cut_high: bool

    @property
    def drawn(self) -> bool:
        return math.isfinite(self.dot)

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A labelled place of the axis."""

    at: float
    label: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Where everything lies on the axis."""

    cells: tuple[Bar, ...]
    pooled: Bar | None
    prediction: Bar | None
    regions: tuple[tuple[float, float], ...]
    """Start and width of the stretches in which the claim holds."""
    bounds: tuple[float, ...]
    zero: float | None
    ticks: tuple[Tick, ...]

    @property
    def drawn(self) -> bool:
        """Whether any cell has an effect to show."""
        return any(cell.drawn for cell in self.cells)


def forest(claim: ClaimSection) -> Forest:
    """The geometry of a claim's forest plot."""
    low, high = _span(claim)

    def place(value: float) -> float:
        return math.nan if math.isnan(value) else round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    def bar(effect: float, ends: tuple[float, float]) -> Bar:
        return Bar(
            dot=place(effect),
            low=place(ends[0]),
            high=place(ends[1]),
            cut_low=ends[0] < low,
            cut_high=ends[1] > high,
        )

    bound = claim.bound.value
    bounds = (-bound, bound) if claim.bound.direction == "within" else (bound,)
    match claim.bound.direction:
        case "at_least":
            regions = ((place(bound), 100 - place(bound)),)
        case "at_most":
            regions = ((0.0, place(bound)),)
        case _:
            regions = ((place(-bound), place(bound) - place(-bound)),)
    pooled = claim.pooled
    return Forest(
        cells=tuple(bar(cell.effect, (cell.low, cell.high)) for cell in claim.cells),
        pooled=bar(pooled.mean, (pooled.low, pooled.high)) if pooled else None,
        prediction=bar(pooled.mean, pooled.prediction) if pooled and pooled.prediction else None,
        regions=regions,
        bounds=tuple(place(value) for value in bounds),
        zero=place(0.0) if low < 0 < high else None,
        ticks=_ticks(low, high),
    )


def _span(claim: ClaimSection) -> tuple[float, float]:
    """Both ends of the axis: effects and bound always, intervals as far as they do not dwarf them."""
    bound = claim.bound.value
    anchors = [bound, -bound] if claim.bound.direction == "within" else [bound]
    anchors += [cell.effect for cell in claim.cells if math.isfinite(cell.effect)]
    ends = [end for cell in claim.cells for end in (cell.low, cell.high)]
    if claim.pooled is not None:
        anchors.append(claim.pooled.mean)
        ends += [claim.pooled.low, claim.pooled.high, *(claim.pooled.prediction or ())]
    anchors = [value for value in anchors if math.isfinite(value)]
    low, high = min(anchors), max(anchors)
    width = (high - low) or max(abs(high), 1.0) * 0.2
    reach = (low - WIDEST * width, high + WIDEST * width)
    kept = [min(max(end, reach[0]), reach[1]) for end in ends if not math.isnan(end)]
    low, high = min([low, *kept]), max([high, *kept])
    free = MARGIN * ((high - low) or width)
    return low - free, high + free


def _ticks(low: float, high: float) -> tuple[Tick, ...]:
    found = [float(value) for value in MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    step = float(np.diff(found).min()) if len(found) > 1 else 1.0
    ticks = []
    for value in found:
        at = 100 * (value - low) / (high - low)
        if 0 <= at <= 100:
            anchor = "start" if at < 6 else "end" if at > 94 else "middle"
            label = words.number(0.0 if abs(value) < step / 1e6 else value)
            ticks.append(Tick(at=round(at, 2), label=label, anchor=anchor))
    return tuple(ticks)
