"""What a reader should know about the numbers behind a cell's verdict."""

from collections.abc import Sequence

import numpy as np

from refute.statistics.checks import Floats
from refute.statistics.regions import Region
from refute.statistics.shares import share_blocks_needed
from refute.statistics.verdicts import Look

NOTED_BLOCKS = 10
"""Skewness and groups are named from this many valid blocks on (docs: statistics section 3)."""

NOTED_SKEWNESS = 1.0
"""From this |g| on the error of the interval is above 5 % (docs: statistics section 3)."""

NARROW = 0.33
"""An equivalence bound below this many sds can hardly ever be confirmed with 40 blocks (docs: statistics section 4)."""

SKEWED = (
    "skewed: the error toward the short tail may reach 8 % (skew 2), 15 % (skew 6); "
    "for positive quantities judge the log ratio"
)
TWO_GROUPS = "two groups of blocks: the largest gap between effects exceeds half their range"


def two_groups(effects: Floats) -> bool:
    """Whether the largest gap between sorted effects exceeds half their range (docs: statistics section 3).

    Args:
        effects: of the valid blocks; fewer than 10 say nothing.

    >>> two_groups(np.array([0, 0.1, 0.2, 0.3, 0.4, 2, 2.1, 2.2, 2.3, 2.4]))
    True
    """
    if effects.size < NOTED_BLOCKS:
        return False
    ordered = np.sort(effects)
    return bool(np.diff(ordered).max() > (ordered[-1] - ordered[0]) / 2)


def cell_notes(
    valid: Floats,
    region: Region,
    looks: Sequence[int],
    share: bool,
    taken: Sequence[Look],
    decisive: Look | None,
) -> tuple[str, ...]:
    """All notes of one cell (docs: statistics sections 3 and 4).

    Args:
        valid: effects of the valid blocks at the last look taken.
        region, looks, share: of the claim.
        taken: the looks taken.
        decisive: the look that decided, if any.
    """
    found = _share_notes(region, looks) if share else _spread_notes(valid, region, taken)
    return (*found, *_turned(taken, decisive))


def _share_notes(region: Region, looks: Sequence[int]) -> list[str]:
    needed = share_blocks_needed(region, looks)
    if needed is None:
        return []
    blocks = f"it would need {needed} blocks" if needed else "no number of blocks would do"
    return [f"{looks[-1]} blocks can refute but never support a share bound of {region.bound:g}: {blocks}"]


def _spread_notes(valid: Floats, region: Region, taken: Sequence[Look]) -> list[str]:
    notes = []
    if taken and taken[-1].valid >= NOTED_BLOCKS and abs(taken[-1].skewness) > NOTED_SKEWNESS:
        notes.append(SKEWED)
    if two_groups(valid):
        notes.append(TWO_GROUPS)
    if region.kind == "within" and taken and region.bound < NARROW * taken[-1].sd:
        notes.append(
            f"the bound {region.bound:g} is below {NARROW} sd of the blocks ({taken[-1].sd:.3g}): "
            "40 blocks can hardly ever confirm it"
        )
    return notes


def _turned(taken: Sequence[Look], decisive: Look | None) -> list[str]:
    """A later interval wholly on the other side does not change the verdict, but is said."""
    if decisive is None:
        return []
    return [
        f"decided at {decisive.planned} blocks, but the interval at {look.planned} blocks "
        f"[{look.low:.3g}, {look.high:.3g}] lies wholly on the other side"
        for look in taken
        if look.planned > decisive.planned and look.side not in (None, decisive.side)
    ]
