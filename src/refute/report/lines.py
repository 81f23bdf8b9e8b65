"""Lines: mean over seeds with its confidence band, y against x."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from refute.core import Level, Lines, Phenomenon, Result, Trial
from refute.report import palette, words
from refute.report.blocks import Axis, Key, Legend, LinePanel, Panel, Series
from refute.report.entries import Entry, entries
from refute.report.palette import Look
from refute.report.shared_axes import Colours, Scale, axis_label, colours, scale, shared_limits, span

CONFIDENCE = 0.95
Group = dict[tuple[str, Level | None], dict[float, dict[int, list[float]]]]
"""(quantity, colour) -> x -> block -> numbers."""


class Point(NamedTuple):
    """Mean over seeds with the ends of its interval (equal to the mean for one seed)."""

    mean: float
    low: float
    high: float
    seeds: int


def line_panels(
    phenomenon: Phenomenon, figure: Lines, rows: Mapping[str, Sequence[tuple[Trial, Result]]]
) -> tuple[list[Panel], tuple[Legend, ...], str]:
    """Panels, legends and what the caption must say about mean and band."""
    found = {title: _entries(phenomenon, figure, members) for title, members in rows.items()}
    everything = [pair for pairs in found.values() for pair in pairs]
    x = scale(phenomenon, figure.x, [e.values[figure.x] for _, e in everything], log=figure.log_x)
    coloured = None
    if figure.colour:
        present = [e.values[figure.colour] for _, e in everything if figure.colour in e.values]
        coloured = colours(phenomenon, figure.colour, present)
    panels: list[LinePanel] = []
    seeds: set[int] = set()
    for title, pairs in found.items():
        series = []
        for (quantity, level), by_x in _grouped(figure, x, pairs).items():
            points = {at: summary(list(_blocks(blocks)), log=figure.log_y) for at, blocks in sorted(by_x.items())}
            seeds |= {point.seeds for point in points.values()}
            series.append(_series(phenomenon, figure, coloured, quantity, level, points))
        if any(one.x for one in series):
            panels.append(_panel(phenomenon, figure, title, x, [one for one in series if one.x]))
    return list(_on_one_scale(panels, figure.reference)), _legends(figure, coloured), _note(figure, seeds)


def summary(values: Sequence[float], *, log: bool = False) -> Point:
    """Mean of the seeds with its t-based 95 % interval; of logarithms (geometric mean) when `log`.

    >>> summary([1.0, 2.0, 3.0]).mean
    2.0
    """
    numbers = np.log(np.asarray(values)) if log else np.asarray(values, dtype=float)
    mean, half = float(numbers.mean()), 0.0
    if len(numbers) > 1:
        t = float(stdtrit(len(numbers) - 1, (1 + CONFIDENCE) / 2))
        half = t * float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    ends = mean, mean - half, mean + half
    mean, low, high = (math.exp(min(end, 700.0)) for end in ends) if log else ends
    return Point(mean, low, high, len(numbers))


def _entries(phenomenon: Phenomenon, figure: Lines, rows: Sequence[tuple[Trial, Result]]) -> list[tuple[str, Entry]]:
    """(quantity, entry) of all that can be placed on the x axis; each quantity may have axes of its own."""
    return [
        (quantity, entry)
        for quantity in figure.y
        for entry in entries(phenomenon, rows, [quantity, figure.x], log=figure.log_x)
        if figure.x in entry.values
    ]


def _grouped(figure: Lines, x: Scale, pairs: Sequence[tuple[str, Entry]]) -> Group:
    groups: Group = {}
    for quantity, entry in pairs:
        at, value = x.position(entry), entry.number(quantity)
        if math.isnan(at) or math.isnan(value) or (figure.log_y and value <= 0):
            continue
        level = entry.values.get(figure.colour) if figure.colour else None
        groups.setdefault((quantity, level), {}).setdefault(at, {}).setdefault(entry.block, []).append(value)
    return groups


def _blocks(blocks: Mapping[int, Sequence[float]]) -> list[float]:
    """One number per seed: what varies unseen inside a seed is averaged first."""
    return [math.fsum(values) / len(values) for values in blocks.values()]


def _series(
    phenomenon: Phenomenon,
    figure: Lines,
    coloured: Colours | None,
    quantity: str,
    level: Level | None,
    points: Mapping[float, Point],
) -> Series:
    look = _look(figure, coloured, quantity, level)
    banded = quantity not in figure.dashed and any(point.low < point.high for point in points.values())
    label = axis_label(phenomenon, quantity)
    return Series(
        label=label if level is None else f"{label}, {words.level(level)}",
        colour=look.colour,
        style=_style(figure, coloured, quantity),
        marker="" if quantity in figure.dashed else look.marker,
        x=tuple(points),
        y=tuple(point.mean for point in points.values()),
        low=tuple(point.low for point in points.values()) if banded else (),
        high=tuple(point.high for point in points.values()) if banded else (),
    )


def _look(figure: Lines, coloured: Colours | None, quantity: str, level: Level | None) -> Look:
    if coloured is not None:
        return Look("", "o") if level is None else coloured.looks[level]
    return palette.categories(len(figure.y))[figure.y.index(quantity)]


def _style(figure: Lines, coloured: Colours | None, quantity: str) -> str:
    if quantity in figure.dashed:
        return palette.DASHED
    measured = [name for name in figure.y if name not in figure.dashed]
    return palette.STYLES[measured.index(quantity) % len(palette.STYLES)] if coloured else palette.STYLES[0]


def _panel(phenomenon: Phenomenon, figure: Lines, title: str, x: Scale, series: Sequence[Series]) -> LinePanel:
    units = {phenomenon.quantities[name].unit for name in figure.y}
    label = axis_label(phenomenon, figure.y[0]) if len(figure.y) == 1 else ", ".join(units)
    drawn = [f"{one.label} {span(one.y)}" for one in series[:8]]
    rest = f" and {len(series) - 8} more lines" if len(series) > 8 else ""
    xs = [at for one in series for at in one.x]
    where = f"{x.axis.label} from {span(xs)}" if not x.axis.names else x.axis.label
    return LinePanel(
        title=title,
        alt=f"{figure.title}{f', {title}' if title else ''}: lines over {where}: {'; '.join(drawn)}{rest}.",
        x=x.axis,
        y=Axis(label=label, log=figure.log_y),
        series=tuple(series),
        reference=figure.reference,
    )


def _on_one_scale(panels: Sequence[LinePanel], reference: float | None) -> list[LinePanel]:
    """The panels with the same y axis where their numbers allow it."""
    if not panels:
        return []
    log = panels[0].y.log
    extra = [reference] if reference is not None and not (log and reference <= 0) else []
    numbers = [[value for one in panel.series for value in (*one.y, *one.low, *one.high)] + extra for panel in panels]
    limits = shared_limits(numbers, log=log)
    return [replace(panel, y=replace(panel.y, limits=limits)) for panel in panels]


def _legends(figure: Lines, coloured: Colours | None) -> tuple[Legend, ...]:
    legends = [coloured.legend] if coloured and coloured.legend else []
    if len(figure.y) > 1 or figure.dashed:
        keys = []
        for quantity in figure.y:
            style = _style(figure, coloured, quantity)
            look = _look(figure, coloured, quantity, None)
            marker = "" if quantity in figure.dashed or coloured else palette.SIGNS[look.marker]
            line = palette.STYLE_SIGNS[style]
            keys.append(
                Key(
                    sign=f"{line[0]}{marker}{line[0]}" if marker else line,
                    colour="" if coloured else look.colour,
                    label=words.name_in_words(quantity),
                )
            )
        legends.append(Legend(title="", keys=tuple(keys)))
    return tuple(legends)


def _note(figure: Lines, seeds: set[int]) -> str:
    if not seeds:
        return ""
    counted = f"{min(seeds)} seed{'s' if max(seeds) > 1 else ''}"
    if len(seeds) > 1:
        counted = f"{min(seeds)} to {max(seeds)} seeds"
    mean = "Geometric mean" if figure.log_y else "Mean"
    band = "; band: t-based 95 % confidence interval of the mean" if max(seeds) > 1 else ""
    dashed = (
        f" Dashed: {words.listing([words.name_in_words(name) for name in figure.dashed])}." if figure.dashed else ""
    )
    line = f" Horizontal line: {figure.reference:g}." if figure.reference is not None else ""
    return f"{mean} over {counted}{band}.{dashed}{line}"
