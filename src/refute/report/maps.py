"""Heat maps: mean over seeds of a curve with two axes, rows by the first, columns by the second."""

import math
from collections.abc import Mapping, Sequence

from refute.core import HeatMap, Phenomenon, Result, Trial
from refute.report import palette, words
from refute.report.blocks import Axis, Legend, MapPanel, Panel
from refute.report.entries import entries
from refute.report.lines import summary
from refute.report.shared_axes import axis_label, span

Means = dict[tuple[float, float], float]


def map_panels(
    phenomenon: Phenomenon, figure: HeatMap, rows: Mapping[str, Sequence[tuple[Trial, Result]]]
) -> tuple[list[Panel], tuple[Legend, ...], str]:
    """Panels that share one scale of colours, its legend, and what the caption must say."""
    means = {title: _means(phenomenon, figure, members) for title, members in rows.items()}
    finite = [value for found in means.values() for value in found.values() if math.isfinite(value)]
    if not finite:
        return [], (), ""
    low, high = min(finite), max(finite)
    panels: list[Panel] = [
        _panel(phenomenon, figure, title, found, low, high) for title, found in means.items() if found
    ]
    legend = Legend(
        title=axis_label(phenomenon, figure.quantity),
        colours=palette.MAP_STOPS,
        low=words.number(low),
        high=words.number(high),
    )
    return panels, (legend,), "Mean over seeds; one scale of colours for all panels."


def _means(phenomenon: Phenomenon, figure: HeatMap, rows: Sequence[tuple[Trial, Result]]) -> Means:
    axes = phenomenon.quantities[figure.quantity].axes
    if len(axes) != 2:
        return {}
    found: dict[tuple[float, float], list[float]] = {}
    for entry in entries(phenomenon, rows, [figure.quantity]):
        value = entry.number(figure.quantity)
        values = found.setdefault((float(entry.values[axes[0]]), float(entry.values[axes[1]])), [])
        if not math.isnan(value):
            values.append(value)
    return {at: summary(values).mean if values else math.nan for at, values in found.items()}


def _panel(phenomenon: Phenomenon, figure: HeatMap, title: str, means: Means, low: float, high: float) -> MapPanel:
    row_axis, column_axis = phenomenon.quantities[figure.quantity].axes
    down, across = sorted({row for row, _ in means}), sorted({column for _, column in means})
    return MapPanel(
        title=title,
        alt=f"{figure.title}{f', {title}' if title else ''}: {len(down)} rows ({words.name_in_words(row_axis)}) by "
        f"{len(across)} columns ({words.name_in_words(column_axis)}), "
        f"{axis_label(phenomenon, figure.quantity)} {span(list(means.values()))}.",
        x=Axis(
            label=words.name_in_words(column_axis),
            names=tuple(figure.column_labels.get(at, words.level(at)) for at in across),
        ),
        y=Axis(label=words.name_in_words(row_axis), names=tuple(words.level(at) for at in down)),
        values=tuple(tuple(means.get((row, column), math.nan) for column in across) for row in down),
        low=low,
        high=high,
    )
