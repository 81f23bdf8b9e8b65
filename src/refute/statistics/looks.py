"""Looks: when a cell may be judged, and how much of the level each look may spend.

docs: statistics section 3.
"""

from collections.abc import Sequence

from refute.statistics.checks import check_looks

LOOKS = (5, 10, 20, 40)
"""Default looks, in planned blocks (docs: statistics section 3)."""

ALPHA = 0.05
"""Level of a verdict over all looks, per direction (docs: statistics section 3)."""


def look_weights(looks: Sequence[int]) -> tuple[float, ...]:
    """Every look's share of the new blocks.

    Definition: w_k = (n_k - n_{k-1}) / n_L. docs: statistics section 3.

    Args:
        looks: strictly increasing numbers of planned blocks.

    Raises:
        DefinitionError: looks that are empty, not positive or not increasing.

    >>> look_weights((5, 10, 20, 40))
    (0.125, 0.125, 0.25, 0.5)
    """
    planned = check_looks(looks)
    return tuple((n - before) / planned[-1] for before, n in zip((0, *planned), planned, strict=False))


def look_levels(looks: Sequence[int]) -> tuple[float, ...]:
    """The one-sided level that every look may spend; they add to 0.05, so both errors hold by the union bound.

    Definition: a_k = 0.05 w_k. docs: statistics section 3.

    Args:
        looks: strictly increasing numbers of planned blocks.

    Raises:
        DefinitionError: looks that are empty, not positive or not increasing.

    >>> look_levels((5, 10, 20, 40))
    (0.00625, 0.00625, 0.0125, 0.025)
    >>> look_levels((20,))
    (0.05,)
    """
    return tuple(ALPHA * weight for weight in look_weights(looks))
