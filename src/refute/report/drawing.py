"""Panels -> inline SVG, drawn by matplotlib's object interface (no global state)."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from refute.report import palette, words
from refute.report.blocks import Axis, LinePanel, MapPanel, Marks, Panel, ScatterPanel, Series
from refute.report.svg import GRID, INK, inline

WIDTH, HEIGHT = 340, 250
"""Size of a panel in CSS pixels; a phone shows one beside the other's bottom."""
POINTS_PER_INCH = 72
MOST_MARKED = 25
"""Lines with more points carry no markers."""
MOST_NUMBERS = 64
"""Cells of a heat map up to which each prints its number."""
MOST_DRAWN_CELLS = 400
"""Larger heat maps are one embedded picture instead of one path per cell."""
MOST_TICKS = 8
LABEL_LENGTH = 42
SUBTICKS = {1.2: (1.0, 2.0, 5.0), 2.6: (1.0, 3.0)}
"""Decades of a logarithmic axis -> multiples of powers of ten that are labelled, so that short axes have ticks too."""
TICK_LETTERS = 60
"""Letters that fit below an axis."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "refute",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "axes.unicode_minus": False,
    "path.simplify": True,
}
DASHES: dict[str, Any] = {
    "solid": "solid",
    "dashed": (0, (5, 3)),
    "dotted": (0, (1, 1.6)),
    "dashdot": (0, (5, 2, 1, 2)),
    "loosely dashed": (0, (6, 5)),
}


def draw(panel: Panel, prefix: str) -> str:
    """The panel as an inline SVG element that scales with its container.

    Args:
        panel: what to draw.
        prefix: makes the ids inside the picture unique on the page.

    Returns:
        SVG text without any reference outside itself; lines of axes and text take the page's colour.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        canvas = Canvas(figsize=(WIDTH / POINTS_PER_INCH, HEIGHT / POINTS_PER_INCH), layout="constrained")
        canvas.patch.set_visible(False)
        axes = canvas.add_subplot(facecolor="none")
        match panel:
            case LinePanel():
                _lines(axes, panel)
            case ScatterPanel():
                _scatter(axes, panel)
            case MapPanel():
                _map(axes, panel)
        text = io.StringIO()
        printer: Any = FigureCanvasSVG(canvas)
        printer.print_svg(text, metadata={"Date": None, "Creator": None})
    return inline(text.getvalue(), prefix, panel.alt)


def _lines(axes: Axes, panel: LinePanel) -> None:
    _prepare(axes, panel.x, panel.y, [x for one in panel.series for x in one.x])
    for series in panel.series:
        _line(axes, series)
    if panel.reference is not None and not (panel.y.log and panel.reference <= 0):
        axes.axhline(panel.reference, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), alpha=0.7)
    _finish(axes, panel.x, panel.y)


def _line(axes: Axes, series: Series) -> None:
    colour = series.colour or INK
    if series.low:
        axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.18, linewidth=0)
    marker = series.marker if len(series.x) <= MOST_MARKED else ""
    axes.plot(series.x, series.y, color=colour, linestyle=DASHES[series.style], marker=marker)


def _scatter(axes: Axes, panel: ScatterPanel) -> None:
    _prepare(axes, panel.x, panel.y, [x for one in panel.marks for x in one.x])
    _name_ticks(axes.yaxis, panel.y)
    for marks in panel.marks:
        _draw_marks(axes, marks)
    axes.margins(0.07)
    _finish(axes, panel.x, panel.y)


def _draw_marks(axes: Axes, marks: Marks) -> None:
    hollow = np.asarray(marks.hollow, dtype=bool)
    x, y = np.asarray(marks.x), np.asarray(marks.y)
    look: dict[str, Any] = {"linestyle": "none", "marker": marks.marker, "color": marks.colour, "markersize": 5}
    axes.plot(x[~hollow], y[~hollow], markeredgewidth=0, alpha=0.75, **look)
    axes.plot(x[hollow], y[hollow], markerfacecolor="none", markeredgewidth=1, **look)


def _map(axes: Axes, panel: MapPanel) -> None:
    values = np.asarray(panel.values, dtype=float)
    scale: dict[str, Any] = {"cmap": palette.MAP, "vmin": panel.low, "vmax": panel.high}
    if values.size <= MOST_DRAWN_CELLS:
        axes.pcolormesh(np.ma.masked_invalid(values), edgecolors="face", linewidth=0.3, **scale)
        axes.invert_yaxis()
    else:
        rows, columns = values.shape
        axes.imshow(values, extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest", **scale)
    axes.set_xlabel(_short(panel.x.label))
    axes.set_ylabel(_short(panel.y.label))
    for axis, names in ((axes.xaxis, panel.x.names), (axes.yaxis, panel.y.names)):
        kept = range(0, len(names), -(-len(names) // MOST_TICKS))
        axis.set_ticks([at + 0.5 for at in kept], [_short(names[at], 12) for at in kept])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if values.size <= MOST_NUMBERS:
        _print_numbers(axes, values, panel.low, panel.high)


def _print_numbers(axes: Axes, values: "np.ndarray[Any, np.dtype[np.float64]]", low: float, high: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            share = (value - low) / (high - low) if high > low else 0.5
            dark = palette.luminance(palette.blend(palette.MAP_STOPS, share)) < 0.3
            text = words.rounded(float(value), (high - low) / 4)
            colour = "#ffffff" if dark else "#101418"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=colour)


def _prepare(axes: Axes, x: Axis, y: Axis, xs: Sequence[float]) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel(_short(x.label))
    axes.set_ylabel(_short(y.label))
    if x.log:
        axes.set_xscale("log")
    if y.log:
        axes.set_yscale("log")
    for axis, described in ((axes.xaxis, x), (axes.yaxis, y)):
        if described.log:
            axis.set_minor_formatter(NullFormatter())
        elif not described.names:
            axis.set_major_locator(MaxNLocator(nbins=5))
        if not described.names:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    _name_ticks(axes.xaxis, x)
    if not x.names and not x.log and 0 < len(set(xs)) <= MOST_TICKS and all(float(at).is_integer() for at in xs):
        axes.xaxis.set_ticks(sorted(set(xs)))


def _finish(axes: Axes, x: Axis, y: Axis) -> None:
    """Shared limits, and on logarithmic axes ticks that also serve a short range."""
    if x.limits:
        axes.set_xlim(x.limits)
    if y.limits:
        axes.set_ylim(y.limits)
    for axis, described, limits in ((axes.xaxis, x, axes.get_xlim()), (axes.yaxis, y, axes.get_ylim())):
        if described.log:
            decades = np.log10(limits[1] / limits[0])
            subs = next((found for longest, found in SUBTICKS.items() if decades < longest), (1.0,))
            axis.set_major_locator(LogLocator(subs=subs, numticks=12 if len(subs) > 1 else 6))


def _name_ticks(axis: Any, described: Axis) -> None:
    if described.names:
        kept = range(0, len(described.names), -(-len(described.names) // MOST_TICKS))
        room = max(6, TICK_LETTERS // len(kept))
        texts = ["\n".join(textwrap.wrap(_short(described.names[at], 24), room)) for at in kept]
        axis.set_ticks(list(kept), texts)


def _short(text: str, length: int = LABEL_LENGTH) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
