"""Figures of a phenomenon + results -> panels with their data. What is drawn is decided here, not how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from refute.core import Figure, HeatMap, Level, Lines, Outcome, Phenomenon, Result, Scatter, Trial
from refute.report import words
from refute.report.blocks import FigureBlock, Legend, Panel
from refute.report.entries import distinct, selected
from refute.report.lines import line_panels
from refute.report.maps import map_panels
from refute.report.scatters import scatter_panels

MOST_PANELS = 24
"""Panels drawn of one figure; the caption names what is left out."""

Rows = list[tuple[Trial, Result]]


def figure_block(outcome: Outcome, figure: Figure) -> FigureBlock:
    """One figure with its data; without a panel when nothing was measured."""
    rows = selected(outcome.trials, outcome.results, figure.among)
    panels = {key: rows_of for key, rows_of in _panels(rows, figure.panels).items() if rows_of}
    drawn = dict(list(panels.items())[:MOST_PANELS])
    made, legends, note = _draw(outcome.phenomenon, figure, drawn)
    notes = [
        figure.caption,
        note if made else "",
        _mixed(figure, drawn) if made else "",
        _left_out(outcome, figure),
        f"The first {MOST_PANELS} of {len(panels)} panels are drawn." if len(panels) > MOST_PANELS else "",
    ]
    return FigureBlock(
        title=figure.title,
        caption=" ".join(_sentence(text) for text in notes if text),
        legends=legends if made else (),
        panels=tuple(made),
    )


def _draw(
    phenomenon: Phenomenon, figure: Figure, rows: Mapping[str, Rows]
) -> tuple[list[Panel], tuple[Legend, ...], str]:
    match figure:
        case Lines():
            return line_panels(phenomenon, figure, rows)
        case Scatter():
            return scatter_panels(phenomenon, figure, rows)
        case HeatMap():
            return map_panels(phenomenon, figure, rows)


def _panels(rows: Rows, factors: Sequence[str]) -> dict[str, Rows]:
    """Title -> rows, one panel per combination of levels, in the order of the levels."""
    orders: dict[str, Callable[[Level], int]] = {
        name: distinct([trial.levels[name] for trial, _ in rows]).index for name in factors
    }
    keys = sorted(
        {tuple(trial.levels[name] for name in factors) for trial, _ in rows},
        key=lambda key: [orders[name](value) for name, value in zip(factors, key, strict=True)],
    )
    named = {name for key in keys for name, level in zip(factors, key, strict=True) if not isinstance(level, str)}
    return {
        words.levels(dict(zip(factors, key, strict=True)), named=named) if factors else "": [
            row for row in rows if tuple(row[0].levels[name] for name in factors) == key
        ]
        for key in keys
    }


def _mixed(figure: Figure, panels: Mapping[str, Rows]) -> str:
    """Which factors vary inside a panel without being shown: the reader must know that they are averaged over."""
    shown = {*figure.panels}
    match figure:
        case Lines(x=x, colour=colour) | Scatter(x=x, colour=colour):
            shown |= {x, colour or ""}
    if isinstance(figure, Scatter):
        shown.add(figure.y)
    varying = [
        name
        for name in next(iter(panels.values()))[0][0].levels
        if name not in shown and any(len({trial.levels[name] for trial, _ in rows}) > 1 for rows in panels.values())
    ]
    if not varying:
        return ""
    names = words.listing([words.name_in_words(name) for name in varying])
    return f"Marks of all levels of {names} together." if isinstance(figure, Scatter) else f"Averaged over {names}."


def _left_out(outcome: Outcome, figure: Figure) -> str:
    wanted = [
        trial for trial in outcome.trials if all(trial.levels[name] in levels for name, levels in figure.among.items())
    ]
    diverged = sum(trial.key in outcome.results and outcome.results[trial.key].diverged for trial in wanted)
    return f"{diverged} diverged trial{'s are' if diverged > 1 else ' is'} not drawn." if diverged else ""


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def renumbered(block: FigureBlock, number: int) -> FigureBlock:
    """The figure with its number in the title."""
    return replace(block, title=f"Figure {number}. {block.title}")
