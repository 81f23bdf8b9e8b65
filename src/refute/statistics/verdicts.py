"""What is said of one cell: a record per look, and the verdict.

docs: statistics sections 3, 5 and 8.
"""

from dataclasses import dataclass
from typing import Literal

from refute.statistics.failures import too_many_failed
from refute.statistics.regions import Side
from refute.statistics.sizes import Estimate

Word = Literal["supported", "refuted", "inconclusive", "untested"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the first `planned` blocks of a cell say, at this look's level."""

    planned: int
    valid: int
    mean: float
    """Of the valid blocks; NaN when there is none. Share of events for a share claim."""
    sd: float
    """Of the valid blocks (n-1), floored at half a quantum; NaN below two blocks."""
    skewness: float
    low: float
    """Of the interval that survives the failed blocks going badly; NaN when there is none."""
    high: float
    level: float
    """One-sided; the interval has confidence 1 - 2 level."""
    p_supported: float
    """Of this look alone; 1 when blocked or without an interval."""
    p_refuted: float
    blocked: bool
    """More than 10 % of the planned blocks failed: no decision at this look."""
    side: Side | None
    """On which side of the bound the interval lies; None when it does not, or when blocked."""
    floored: bool
    reason: str | None
    """Why there is no interval."""


@dataclass(frozen=True, kw_only=True)
class CellVerdict:
    """The verdict of one cell, with everything a reader needs beside it.

    `mean`, `sd`, `skewness`, `low`, `high`, `level` belong to the look that decided, or to the last one taken;
    `planned`, `valid`, `failed` and the sizes (`hedges_g`, `superiority`, `beyond`) to the last look taken. Before
    the first look all of them are over the blocks so far, without an interval.
    """

    verdict: Word
    decided_at: int | None
    looks: tuple[Look, ...]
    """The looks taken, in order."""
    schedule: tuple[int, ...]
    """The looks planned."""
    planned: int
    valid: int
    failed: int
    mean: float
    low: float
    high: float
    level: float
    sd: float
    skewness: float
    p_supported: float
    """Sequential: valid at every level, whatever the looks."""
    p_refuted: float
    hedges_g: Estimate | None
    """None when not defined: sd floored or 0, fewer than 3 valid blocks, share claim."""
    superiority: Estimate | None
    """Share of valid blocks with an effect above 0, half for ties; None for a share claim or without blocks."""
    beyond: float | None
    """Share of valid blocks whose own effect lies in the region; None for a share claim or without blocks."""
    seeds_needed: int | None
    """Rough guess, when inconclusive."""
    reason: str
    """One sentence when inconclusive or untested, else empty."""
    notes: tuple[str, ...]

    @property
    def tested(self) -> bool:
        return self.verdict != "untested"

    @property
    def last(self) -> Look | None:
        """The last look taken."""
        return self.looks[-1] if self.looks else None

    @property
    def may_train_on(self) -> bool:
        """Whether the schedule has a look after the last one taken."""
        return not self.looks or self.looks[-1].planned < self.schedule[-1]

    @property
    def hopeless(self) -> bool:
        """Whether nothing is decided and so many blocks failed that no later look may decide, come what may."""
        return self.decided_at is None and too_many_failed(self.failed, self.schedule[-1])
