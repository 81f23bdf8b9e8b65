"""One cell, judged look by look.

docs: statistics sections 2 to 5; sizes: section 8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from refute.errors import UsageError
from refute.statistics.checks import (
    Floats,
    check_events,
    check_looks,
    check_looks_taken,
    check_quantum,
    planned_effects,
)
from refute.statistics.failures import summary, surviving, too_many_failed
from refute.statistics.looks import look_levels, look_weights
from refute.statistics.notes import cell_notes
from refute.statistics.regions import Region, Tails
from refute.statistics.shares import check_share_region
from refute.statistics.sizes import Estimate, beyond, hedges_g, seeds_needed, superiority
from refute.statistics.verdicts import CellVerdict, Look, Word


@dataclass(frozen=True)
class _Rules:
    """What is fixed before the blocks are seen."""

    region: Region
    looks: tuple[int, ...]
    quantum: float
    share: bool


def judge_cell(
    effects: ArrayLike,
    *,
    region: Region,
    looks: Sequence[int],
    quantum: float = 0.0,
    share: bool = False,
    bounds_range: tuple[float, float] = (-math.inf, math.inf),
    looks_taken: Sequence[int] | None = None,
) -> CellVerdict:
    """The verdict of one cell: at each look taken, where does the interval lie?

    Definition: look k has the level a_k = 0.05 (n_k - n_{k-1})/n_L; the first look that is not blocked and whose
    interval lies wholly on one side of the bound decides, and its verdict is frozen. Sequential p of a direction:
    min(1, min over looks taken and not blocked of p_k / w_k). docs: statistics sections 2 to 5.

    Args:
        effects: one number per planned block so far, in planned order; NaN where the block failed. For a share claim
            1 where the event happened, 0 where it did not.
        region: where the claim says the true mean effect lies, in the unit of the effect.
        looks: planned looks, in blocks; a fixed number of blocks is `(n,)`.
        quantum: smallest possible step of the effect, 0 when continuous.
        share: whether this is a claim about the share of blocks in which an event happens.
        bounds_range: smallest and largest possible effect; clips the printed `low` and `high`, never a decision.
        looks_taken: the looks that were really taken; by default all that are reached until one decides, and the last
            that is reached. A look that was not taken is lost.

    Raises:
        JudgementError: effects that are infinite, not a list, or not 0 or 1 for a share claim.
        DefinitionError: looks that do not increase, a negative quantum, a share bound outside [0, 1].
        UsageError: looks taken that were not planned or not reached; an empty range.

    >>> verdict = judge_cell([5, 5, 5, 5, 5], region=Region("at_least", 3), looks=(5, 10, 20, 40), quantum=1)
    >>> verdict.verdict, verdict.decided_at, round(verdict.low, 5), round(verdict.p_supported, 6)
    ('supported', 5, 4.03521, 0.003457)
    """
    array = planned_effects(effects)
    rules = _Rules(region, check_looks(looks), check_quantum(quantum), share)
    if share:
        check_share_region(region)
        check_events(array)
    if not bounds_range[0] < bounds_range[1]:
        raise UsageError(f"bounds_range must be (smallest, largest), {bounds_range} came")
    taken = _take(array, rules, looks_taken)
    return _verdict(array, rules, taken, bounds_range)


def _take(effects: Floats, rules: _Rules, wanted: Sequence[int] | None) -> tuple[Look, ...]:
    """Evaluate the looks that were taken."""
    levels = dict(zip(rules.looks, look_levels(rules.looks), strict=True))
    if wanted is not None:
        chosen = check_looks_taken(wanted, rules.looks, effects.size)
        return tuple(_look(effects[:n], rules, levels[n]) for n in chosen)
    reached = [n for n in rules.looks if n <= effects.size]
    taken: list[Look] = []
    for n in reached:
        taken.append(_look(effects[:n], rules, levels[n]))
        if taken[-1].side is not None:
            break
    if taken and taken[-1].planned < reached[-1]:
        taken.append(_look(effects[: reached[-1]], rules, levels[reached[-1]]))
    return tuple(taken)


def _look(effects: Floats, rules: _Rules, level: float) -> Look:
    valid = effects[~np.isnan(effects)]
    failed = effects.size - valid.size
    alone = summary(valid, rules.quantum, rules.share)
    judged = surviving(valid, failed, rules.region, level, rules.quantum, rules.share)
    blocked = too_many_failed(failed, effects.size)
    tails = Tails(1.0, 1.0) if blocked else judged.tails
    return Look(
        planned=effects.size,
        valid=valid.size,
        mean=alone.mean,
        sd=alone.sd,
        skewness=alone.skewness,
        low=judged.low,
        high=judged.high,
        level=level,
        p_supported=tails.supported,
        p_refuted=tails.refuted,
        blocked=blocked,
        side=None if blocked else rules.region.side(judged.low, judged.high),
        floored=alone.floored,
        reason=alone.reason,
    )


def _sequential_p(rules: _Rules, taken: Sequence[Look]) -> Tails:
    """docs: statistics section 3, "Sequential p-value"."""
    weights = dict(zip(rules.looks, look_weights(rules.looks), strict=True))
    open_looks = [look for look in taken if not look.blocked]
    return Tails(
        min([1.0, *(look.p_supported / weights[look.planned] for look in open_looks)]),
        min([1.0, *(look.p_refuted / weights[look.planned] for look in open_looks)]),
    )


def _verdict(effects: Floats, rules: _Rules, taken: tuple[Look, ...], bounds_range: tuple[float, float]) -> CellVerdict:
    # Before the first look the blocks so far are shown, without an interval.
    shown_blocks = effects[: taken[-1].planned] if taken else effects
    valid = shown_blocks[~np.isnan(shown_blocks)]
    decisive = next((look for look in taken if look.side is not None), None)
    shown = decisive or (taken[-1] if taken else None)
    word = _word(rules, taken, decisive)
    described = shown or summary(valid, rules.quantum, rules.share)
    p = _sequential_p(rules, taken)
    last = taken[-1] if taken else None
    return CellVerdict(
        verdict=word,
        decided_at=decisive.planned if decisive else None,
        looks=taken,
        schedule=rules.looks,
        planned=shown_blocks.size,
        valid=valid.size,
        failed=shown_blocks.size - valid.size,
        mean=described.mean,
        low=_clip(shown.low, bounds_range) if shown else math.nan,
        high=_clip(shown.high, bounds_range) if shown else math.nan,
        level=shown.level if shown else math.nan,
        sd=described.sd,
        skewness=described.skewness,
        p_supported=p.supported,
        p_refuted=p.refuted,
        hedges_g=_hedges(last, rules),
        superiority=None if rules.share or not valid.size else superiority(valid),
        beyond=None if rules.share or not valid.size else beyond(valid, rules.region),
        seeds_needed=_seeds(rules, last) if word == "inconclusive" else None,
        reason=_reason(effects, rules, last, word),
        notes=cell_notes(valid, rules.region, rules.looks, rules.share, taken, decisive),
    )


def _word(rules: _Rules, taken: Sequence[Look], decisive: Look | None) -> Word:
    if decisive is not None and decisive.side is not None:
        return decisive.side
    if not taken:
        return "untested"
    at_the_end = taken[-1].planned == rules.looks[-1]
    return "untested" if at_the_end and taken[-1].blocked else "inconclusive"


def _clip(limit: float, bounds_range: tuple[float, float]) -> float:
    return limit if math.isnan(limit) else min(max(limit, bounds_range[0]), bounds_range[1])


def _hedges(look: Look | None, rules: _Rules) -> Estimate | None:
    if look is None or rules.share or look.floored or look.reason is not None:
        return None
    return hedges_g(look.mean, look.sd, look.valid)


def _seeds(rules: _Rules, look: Look | None) -> int | None:
    if look is None or look.blocked or look.reason is not None:
        return None
    # Events that all agree have no spread; their spread on the bound does.
    sd = math.sqrt(rules.region.bound * (1 - rules.region.bound)) if rules.share else look.sd
    return seeds_needed(look.mean, sd, look.valid, rules.region, rules.looks, look.planned)


def _reason(effects: Floats, rules: _Rules, last: Look | None, word: Word) -> str:
    if word in ("supported", "refuted"):
        return ""
    if last is None:
        return f"{effects.size} of the {rules.looks[0]} blocks of the first look have been run"
    if last.blocked:
        failed = last.planned - last.valid
        return f"{last.valid} of {last.planned} blocks valid: with {failed} failed (more than 10 %) no look may decide"
    if last.reason is not None:
        return last.reason
    return f"the interval [{last.low:.3g}, {last.high:.3g}] does not lie clear of {rules.region.in_words()}"
