"""Numbers, levels and verdicts in words: one way to print each, for every renderer."""

import math
from collections.abc import Collection, Mapping

from refute.core import Bound, Level, VerdictWord

SYMBOLS: Mapping[VerdictWord, str] = {
    "supported": "✓",
    "refuted": "✗",
    "limited": "◐",
    "inconclusive": "?",
    "untested": "–",
}
ASCII_SYMBOLS: Mapping[VerdictWord, str] = {
    "supported": "+",
    "refuted": "x",
    "limited": "%",
    "inconclusive": "?",
    "untested": "-",
}
MEANINGS: Mapping[VerdictWord, str] = {
    "supported": "the interval lies inside the claim's region",
    "refuted": "the interval lies outside the claim's region",
    "limited": "supported in some cells and refuted in others",
    "inconclusive": "the interval reaches across the bound: more seeds are needed",
    "untested": "too few valid seeds, or not run yet",
}
VERDICTS: tuple[VerdictWord, ...] = ("supported", "refuted", "limited", "inconclusive", "untested")
NOTHING = "–"
MOST_DECIMALS = 6
PLAIN_BELOW = 1e6
"""Larger numbers are printed with an exponent."""


def number(value: float | None) -> str:
    """A number with three significant digits; a dash when it is not defined.

    >>> number(0.12345), number(float("nan")), number(float("inf")), number(12345.6)
    ('0.123', '–', 'infinite', '12346')
    """
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if 1000 <= abs(value) < PLAIN_BELOW:
        return f"{value:.0f}"
    return f"{value:.3g}"


def rounded(value: float, width: float) -> str:
    """A number with the decimals that its uncertainty `width` deserves (two significant digits of the width).

    >>> rounded(0.028314, 0.0103), rounded(41.96, 12.0), rounded(0.5, float("nan"))
    ('0.028', '42', '0.5')
    """
    if not (math.isfinite(value) and math.isfinite(width)) or width <= 0 or abs(value) >= PLAIN_BELOW:
        return number(value)
    decimals = 1 - math.floor(math.log10(width))
    if decimals > MOST_DECIMALS:
        return number(value)
    text = f"{value:.{max(0, decimals)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(low: float, high: float) -> str:
    """An interval in brackets, both ends with the same decimals; a dash when there is none.

    >>> interval(0.0233807, 0.033736)
    '[0.023, 0.034]'
    """
    if math.isnan(low) or math.isnan(high):
        return NOTHING
    return f"[{rounded(low, high - low)}, {rounded(high, high - low)}]"


def percent(share: float) -> str:
    """A share as percent without needless digits.

    >>> percent(0.9), percent(0.9875)
    ('90 %', '98.75 %')
    """
    return NOTHING if math.isnan(share) else f"{round(100 * share, 2):g} %"


def level(value: Level) -> str:
    """A level of a factor as text.

    >>> level(0.05), level("mnist"), level(True)
    ('0.05', 'mnist', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def levels(values: Mapping[str, Level], *, named: Collection[str] = ()) -> str:
    """Levels of a cell: words speak for themselves, numbers (and factors in `named`) keep their factor's name.

    >>> levels({"dataset": "mnist", "width": 128})
    'mnist, width 128'
    """
    parts = [
        value if isinstance(value, str) and name not in named else f"{name.replace('_', ' ')} {level(value)}"
        for name, value in values.items()
    ]
    return ", ".join(parts) or "all trials"


def region(bound: Bound) -> str:
    """The claim's region as a person writes it.

    >>> region(Bound("within", 0.05, reason="noise")), region(Bound("at_least", 0.5, reason="half"))
    ('between -0.05 and 0.05', 'at least 0.5')
    """
    if bound.direction == "within":
        return f"between {-bound.value:g} and {bound.value:g}"
    return bound.in_words()


def name_in_words(name: str) -> str:
    """An identifier as words.

    >>> name_in_words("test_accuracy")
    'test accuracy'
    """
    return name.replace("_", " ").replace("-", " ")


def title(name: str) -> str:
    """A phenomenon's name as a title.

    >>> title("layer-criticality")
    'Layer criticality'
    """
    words = name_in_words(name)
    return words[:1].upper() + words[1:]


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(12.3), duration(200), duration(4000), duration(float("nan"))
    ('12 s', '3 min 20 s', '1 h 6 min', '–')
    """
    if not math.isfinite(seconds):
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listing(parts: tuple[str, ...] | list[str]) -> str:
    """Words joined as in a sentence.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
