"""Scatter: one mark per trial, or per entry of curves that share an axis."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from refute.core import Level, Phenomenon, Result, Scatter, Trial
from refute.report.blocks import Axis, Legend, Marks, Panel, ScatterPanel
from refute.report.entries import Entry, entries, kept_positions
from refute.report.palette import Look, categories
from refute.report.shared_axes import Colours, Scale, colours, scale, shared_limits, span

MOST_MARKS = 300
"""Marks drawn in one panel; more only lie on top of each other."""


def scatter_panels(
    phenomenon: Phenomenon, figure: Scatter, rows: Mapping[str, Sequence[tuple[Trial, Result]]]
) -> tuple[list[Panel], tuple[Legend, ...], str]:
    """Panels, legends and what the caption must say about marks."""
    names = [name for name in (figure.x, figure.y, figure.colour) if name]
    found = {
        title: [e for e in entries(phenomenon, members, names) if all(name in e.values for name in names)]
        for title, members in rows.items()
    }
    everything = [entry for members in found.values() for entry in members]
    x = scale(phenomenon, figure.x, [entry.values[figure.x] for entry in everything], log=figure.log_x)
    y = scale(phenomenon, figure.y, [entry.values[figure.y] for entry in everything], log=figure.log_y)
    coloured = (
        colours(phenomenon, figure.colour, [e.values[figure.colour] for e in everything]) if figure.colour else None
    )
    panels: list[ScatterPanel] = []
    thinned = False
    for title, members in found.items():
        placed = [e for e in members if math.isfinite(x.position(e)) and math.isfinite(y.position(e))]
        kept = [placed[i] for i in kept_positions(len(placed), limit=MOST_MARKS)]
        thinned |= len(kept) < len(placed)
        if kept:
            panels.append(_panel(figure, title, x, y, coloured, kept))
    notes = [_mark_words(phenomenon, figure)]
    notes += [f"Hollow: {figure.hollow.in_words().replace('_', ' ')}."] if figure.hollow else []
    notes += [f"At most {MOST_MARKS} evenly chosen marks a panel are drawn."] if thinned else []
    return list(_on_one_scale(panels)), (coloured.legend,) if coloured and coloured.legend else (), " ".join(notes)


def _panel(
    figure: Scatter, title: str, x: Scale, y: Scale, coloured: Colours | None, members: Sequence[Entry]
) -> ScatterPanel:
    looks: Mapping[Level, Look] = coloured.looks if coloured else {"": categories(1)[0]}
    groups: dict[Level, list[Entry]] = {level: [] for level in looks}
    for entry in members:
        groups[entry.values[figure.colour] if figure.colour else ""].append(entry)
    marks = tuple(
        Marks(
            label=str(level),
            colour=looks[level].colour,
            marker=looks[level].marker,
            x=tuple(x.position(entry) for entry in group),
            y=tuple(y.position(entry) for entry in group),
            hollow=tuple(_hollow(figure, entry) for entry in group),
        )
        for level, group in groups.items()
        if group
    )
    xs, ys = [at for one in marks for at in one.x], [at for one in marks for at in one.y]
    return ScatterPanel(
        title=title,
        alt=f"{figure.title}{f', {title}' if title else ''}: {len(members)} marks, {_extent(x.axis, xs)}, "
        f"{_extent(y.axis, ys)}.",
        x=x.axis,
        y=y.axis,
        marks=marks,
    )


def _on_one_scale(panels: Sequence[ScatterPanel]) -> list[ScatterPanel]:
    """The panels with the same axes where their numbers allow it."""
    if not panels or panels[0].x.names or panels[0].y.names:
        return list(panels)
    xs = [[value for marks in panel.marks for value in marks.x] for panel in panels]
    ys = [[value for marks in panel.marks for value in marks.y] for panel in panels]
    x, y = shared_limits(xs, log=panels[0].x.log), shared_limits(ys, log=panels[0].y.log)
    return [replace(panel, x=replace(panel.x, limits=x), y=replace(panel.y, limits=y)) for panel in panels]


def _extent(axis: Axis, values: Sequence[float]) -> str:
    return axis.label if axis.names else f"{axis.label} {span(values)}"


def _hollow(figure: Scatter, entry: Entry) -> bool:
    return figure.hollow is not None and figure.hollow.holds(entry.number(figure.hollow.quantity))


def _mark_words(phenomenon: Phenomenon, figure: Scatter) -> str:
    axes = [
        axis
        for name in (figure.x, figure.y)
        if name in phenomenon.quantities
        for axis in phenomenon.quantities[name].axes
    ]
    return f"One mark per trial and {axes[0].replace('_', ' ')}." if axes else "One mark per trial."
