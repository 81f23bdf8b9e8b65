"""Verdicts -> sections of the document: every number of a claim, clipped to its range and put into words."""

import math
from collections import Counter
from collections.abc import Collection

from refute import core
from refute.core import CellResult, Claim, Contrast, Phenomenon, RankCorrelation, Share, Slope, Value, Verdict
from refute.report import words
from refute.report.blocks import Cell, ClaimSection, Pooled
from refute.report.limits import limits_map


def claim_section(phenomenon: Phenomenon, verdict: Verdict, standing: str = "") -> ClaimSection:
    """One claim of the document; `standing` says whether it was registered before the first trial."""
    claim = verdict.claim
    low, high = effect_range(phenomenon, claim)
    named = {name for cell in verdict.cells for name, level in cell.levels.items() if not isinstance(level, str)}
    cells = tuple(_cell(claim, cell, low, high, named) for cell in verdict.cells)
    pooled = _pooled(verdict.pooled, claim, low, high) if verdict.pooled else None
    confidences = {cell.confidence for cell in cells} - {words.NOTHING}
    return ClaimSection(
        id=claim.id,
        statement=claim.statement,
        in_words=claim.in_words(),
        verdict=verdict.verdict,
        sentence=verdict.sentence,
        bound=claim.holds,
        region=words.region(claim.holds),
        paper=claim.paper,
        headline=claim is phenomenon.headline() or claim.headline,
        control=claim.control,
        effect_label=effect_label(phenomenon, claim),
        summary=_summary(cells, pooled),
        counts=_counts(verdict),
        confidence=confidences.pop() if len(confidences) == 1 else "",
        cells=cells,
        pooled=pooled,
        limits=limits_map(verdict.cells),
        standing=standing,
        settled=_settled(verdict),
    )


def effect_range(phenomenon: Phenomenon, claim: Claim) -> tuple[float, float]:
    """Smallest and largest possible effect; intervals are clipped to it when printed, never before."""
    match claim.effect:
        case Share():
            return 0.0, 1.0
        case RankCorrelation():
            return -1.0, 1.0
        case Value(quantity):
            return phenomenon.quantities[quantity].low, phenomenon.quantities[quantity].high
        case Contrast(quantity, arms, log) if not log:
            known = phenomenon.quantities[quantity]
            ends = [(weight * known.low, weight * known.high) for weight, _ in arms if weight]
            if all(math.isfinite(end) for pair in ends for end in pair):
                return sum(min(pair) for pair in ends), sum(max(pair) for pair in ends)
    return -math.inf, math.inf


def effect_label(phenomenon: Phenomenon, claim: Claim) -> str:
    """What the effect is, short enough for an axis."""
    match claim.effect:
        case Share():
            return "share of seeds with the event"
        case RankCorrelation(x, y, _, method):
            name = "Spearman rho" if method == "spearman" else "Kendall tau_b"
            return f"{name}: {words.name_in_words(x)}, {words.name_in_words(y)}"
        case Slope(x, y, _, log):
            form = "slope of log {} on log {}" if log else "slope of {} on {}"
            return form.format(words.name_in_words(y), words.name_in_words(x))
        case Contrast(quantity, _, log):
            form = "log ratio of {}" if log else "difference in {}"
            unit = phenomenon.quantities[quantity].unit
            return form.format(words.name_in_words(quantity)) + (f", {unit}" if unit and not log else "")
        case Value(quantity):
            unit = phenomenon.quantities[quantity].unit
            return words.name_in_words(quantity) + (f", {unit}" if unit else "")


def _cell(claim: Claim, cell: CellResult, lowest: float, highest: float, named: Collection[str]) -> Cell:
    low, high = _clip(cell.low, lowest, highest), _clip(cell.high, lowest, highest)
    valid = sum(not math.isnan(effect) for effect in cell.effects)
    return Cell(
        label=words.levels(cell.levels, named=named),
        levels={name: words.level(value) for name, value in cell.levels.items()},
        verdict=cell.verdict,
        effect=cell.effect,
        low=low,
        high=high,
        estimate=words.rounded(cell.effect, high - low),
        interval=words.interval(low, high),
        confidence=words.NOTHING if math.isnan(cell.low) else words.percent(cell.confidence),
        planned=cell.planned,
        valid=valid,
        excluded=cell.excluded,
        diverged=cell.diverged,
        seeds=_seeds(len(cell.blocks), valid, cell.diverged),
        hedges_g=_with_interval(cell.hedges_g),
        superiority=_with_interval(cell.superiority),
        beyond=_beyond(claim, cell),
        seeds_needed=_seeds_needed(cell),
        reason=cell.reason,
        notes=cell.notes,
        looks=_looks(cell),
    )


def _looks(cell: CellResult) -> str:
    """Where a cell stands in its looks."""
    if len(cell.looks) < 2:
        return ""
    if cell.decided_at is not None:
        return f"decided at {cell.decided_at}"
    ahead = next((look for look in cell.looks if look > len(cell.blocks)), None)
    return f"next look at {ahead}" if cell.open and ahead else "last look taken" if not cell.open else "look due"


def _settled(verdict: Verdict) -> str:
    """Whether cells of the claim go on, for the live table."""
    if not verdict.cells or all(len(cell.looks) < 2 for cell in verdict.cells):
        return ""
    going_on = sum(cell.open for cell in verdict.cells)
    if not going_on:
        decided = [cell.decided_at for cell in verdict.cells if cell.decided_at is not None]
        return f"settled at {max(decided)}" if len(decided) == len(verdict.cells) else "settled"
    return f"{going_on} cell{'s' if going_on > 1 else ''} open"


def _clip(value: float, low: float, high: float) -> float:
    return value if math.isnan(value) else min(max(value, low), high)


def _seeds(planned: int, valid: int, diverged: int) -> str:
    if not planned:
        return "no seed yet"
    text = f"{valid} of {planned} valid" if valid < planned else f"{planned} seed{'s' if planned > 1 else ''}"
    return f"{text}, {diverged} diverged" if diverged else text


def _with_interval(size: tuple[float, float, float] | None) -> str:
    if size is None:
        return words.NOTHING
    value, low, high = size
    return f"{words.rounded(value, high - low)} {words.interval(low, high)}"


def _beyond(claim: Claim, cell: CellResult) -> str:
    """Share of valid seeds in the claim's region; a share claim already is one."""
    if isinstance(claim.effect, Share):
        return words.NOTHING
    found = [effect for effect in cell.effects if not math.isnan(effect)]
    return f"{sum(_inside(claim.holds, effect) for effect in found)} of {len(found)}" if found else words.NOTHING


def _inside(bound: core.Bound, effect: float) -> bool:
    match bound.direction:
        case "at_least":
            return effect >= bound.value
        case "at_most":
            return effect <= bound.value
        case _:
            return abs(effect) <= bound.value


def _seeds_needed(cell: CellResult) -> str:
    if cell.verdict != "inconclusive" or cell.seeds_needed is None:
        return words.NOTHING
    return f"about {cell.seeds_needed}"


def _pooled(pooled: core.PooledResult, claim: Claim, lowest: float, highest: float) -> Pooled:
    low, high = _clip(pooled.low, lowest, highest), _clip(pooled.high, lowest, highest)
    prediction, prediction_interval = None, ""
    parts = [f"Mean over cells {words.rounded(pooled.mean, high - low)}, 95 % interval {words.interval(low, high)}"]
    if pooled.prediction is not None:
        prediction = (
            _clip(pooled.prediction[0], lowest, highest),
            _clip(pooled.prediction[1], lowest, highest),
        )
        prediction_interval = words.interval(*prediction)
        parts.append(f"a new cell is expected (about 90 %) in {prediction_interval}")
    parts.append(f"between-cell sd {words.number(pooled.tau)}, I² {words.percent(round(pooled.i_squared, 2))}")
    if pooled.share_beyond is not None:
        share = words.percent(round(pooled.share_beyond, 2))
        parts.append(f"estimated share of cells whose true effect is {words.region(claim.holds)}: {share}")
    return Pooled(
        mean=pooled.mean,
        low=low,
        high=high,
        estimate=words.rounded(pooled.mean, high - low),
        interval=words.interval(low, high),
        prediction=prediction,
        prediction_interval=prediction_interval,
        sentence="; ".join(parts) + ".",
    )


def _summary(cells: tuple[Cell, ...], pooled: Pooled | None) -> str:
    """Pooled mean, or the only tested cell, or the span of the tested cells' effects."""
    if pooled is not None:
        return f"{pooled.estimate} {pooled.interval}"
    tested = [cell for cell in cells if cell.verdict != "untested" and math.isfinite(cell.effect)]
    if not tested:
        return words.NOTHING
    low, high = min(tested, key=lambda cell: cell.effect), max(tested, key=lambda cell: cell.effect)
    if len(tested) > 1:
        return low.estimate if low.estimate == high.estimate else f"{low.estimate} to {high.estimate}"
    return low.estimate if low.interval == words.NOTHING else f"{low.estimate} {low.interval}"


def _counts(verdict: Verdict) -> str:
    counted = Counter(cell.verdict for cell in verdict.cells)
    total = len(verdict.cells)
    if not total:
        return "no cell"
    if len(counted) == 1:
        word = next(iter(counted))
        return f"{word} in the only cell" if total == 1 else f"{word} in all {total} cells"
    parts = [f"{counted[word]} {word}" for word in words.VERDICTS if counted[word]]
    return f"{total} cells: {words.listing(parts)}"
