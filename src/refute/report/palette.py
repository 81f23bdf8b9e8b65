"""Colours that can be told apart with any colour vision and read on white as well as on near black.

Every colour has a relative luminance between 0.13 and 0.30, hence a contrast of at least 3 to both backgrounds
(WCAG 2.2, criterion 1.4.11); the test of this module computes it. A marker always says the same as the colour.
"""

from collections.abc import Sequence
from typing import NamedTuple

CATEGORIES = ("#2a78d6", "#d9650a", "#0d8a63", "#b455a8", "#8a7a0b", "#6a6fe0", "#c9474f", "#5c7f92")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "h": "⬢"}
STYLES = ("solid", "dotted", "dashdot", "loosely dashed")
DASHED = "dashed"
STYLE_SIGNS = {"solid": "──", "dashed": "– –", "dotted": "···", "dashdot": "–·–", "loosely dashed": "–  –"}
RAMP = ("#3a6fd8", "#8a5fc4", "#bf4f97", "#d2574f", "#cf7412")
"""Ordered colours, cold to warm, for levels that are numbers."""
MAP = "viridis"
MAP_STOPS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""viridis at 0, 1/4, 1/2, 3/4, 1, for the legend."""


class Look(NamedTuple):
    """Colour and marker of one level."""

    colour: str
    marker: str


def categories(count: int) -> list[Look]:
    """Looks of `count` levels without an order."""
    return [Look(CATEGORIES[i % len(CATEGORIES)], MARKERS[i % len(MARKERS)]) for i in range(count)]


def ordered(count: int) -> list[Look]:
    """Looks of `count` levels in their order."""
    return [Look(blend(RAMP, i / max(1, count - 1)), MARKERS[i % len(MARKERS)]) for i in range(count)]


def blend(ramp: Sequence[str], share: float) -> str:
    """The colour at `share` (0 to 1) of a ramp, linear between its colours.

    >>> blend(("#000000", "#ffffff"), 0.5)
    '#808080'
    """
    position = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    left = min(int(position), len(ramp) - 2)
    mix = position - left
    pairs = zip(_channels(ramp[left]), _channels(ramp[left + 1]), strict=True)
    return "#" + "".join(f"{round(a + mix * (b - a)):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour, 0 to 1."""
    linear = [
        (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (v / 255 for v in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
