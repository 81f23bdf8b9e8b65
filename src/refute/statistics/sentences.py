"""A claim's verdict over cells, in one sentence."""

from collections.abc import Hashable, Sequence

from refute.statistics.pooling import Pooled

NAMED = 4
"""A sentence names at most this many cells."""


def names(keys: Sequence[Hashable]) -> str:
    """The cells in words; a key that is a tuple reads as its parts.

    >>> names([("mnist", "mlp"), ("digits", "mlp")])
    'mnist mlp, digits mlp'
    """
    words = [" ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in keys]
    more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
    return ", ".join([*words[:NAMED], *more])


def overall_sentence(
    word: str,
    *,
    cells: int,
    supported: Sequence[Hashable],
    refuted: Sequence[Hashable],
    untested: Sequence[Hashable],
    holds: Sequence[Hashable],
    fails: Sequence[Hashable],
    everywhere: bool,
    expected: bool,
    pooled: Pooled | None,
) -> str:
    """The verdict in words: counts of cells, "in every cell" or "on average", and "expected in a new cell".

    docs: statistics section 7.

    >>> overall_sentence("inconclusive", cells=5, supported="abc", refuted="", untested="", holds="a", fails="",
    ...                  everywhere=False, expected=False, pooled=None)
    '3 of 5 cells supported, none refuted; 2 undecided'
    """
    tested = cells - len(untested)
    rest = _rest(tested - len(supported) - len(refuted), len(untested))
    noun = "cell" if cells == 1 else "cells"
    if word == "untested":
        return "the only cell is untested" if cells == 1 else f"all {cells} cells are untested"
    if word == "limited":
        counts = _counts(cells, noun, supported, refuted)
        return f"holds in {names(holds)}, does not hold in {names(fails)} ({counts}{rest})"
    if everywhere:
        where = "in every tested cell" if untested else "in every cell" if cells > 1 else "in the only cell"
        return f"{word} {where} ({tested} of {cells}){', expected in a new cell' if expected else ''}{rest}"
    counts = _counts(cells, noun, supported, refuted) + rest
    if word in ("supported", "refuted") and pooled is not None:
        average = f"{word} on average (mean over cells {pooled.mean:.3g}, 95 % interval {_interval(pooled)})"
        return f"{average}{', expected in a new cell' if expected else ''}: {counts}"
    return counts


def _interval(pooled: Pooled) -> str:
    return f"[{pooled.low:.3g}, {pooled.high:.3g}]"


def _counts(cells: int, noun: str, supported: Sequence[Hashable], refuted: Sequence[Hashable]) -> str:
    if refuted and not supported:
        return f"none of {cells} {noun} supported, {len(refuted)} refuted"
    return f"{len(supported) or 'none'} of {cells} {noun} supported, {len(refuted) or 'none'} refuted"


def _rest(undecided: int, untested: int) -> str:
    parts = [f"{undecided} undecided"] * (undecided > 0) + [f"{untested} untested"] * (untested > 0)
    return "; " + ", ".join(parts) if parts else ""
