"""The judge: claims + rows -> verdicts.

From rows to one number per block, by what the claim says; from the numbers to verdicts, by `refute.statistics`
(the law: docs/statistics.md). A sequential run is judged at its planned looks, and `due` says what the next look of
the cells that are still open needs; a run with a fixed number of seeds is judged at one look.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from refute import statistics
from refute.core import (
    Arm,
    CellResult,
    Claim,
    Contrast,
    Effect,
    Level,
    Phenomenon,
    Pick,
    PooledResult,
    RankCorrelation,
    Result,
    Results,
    Share,
    Slope,
    Trial,
    Value,
    Verdict,
)
from refute.errors import JudgementError

CellKey = tuple[Level, ...]


@dataclass(frozen=True)
class Row:
    """One planned trial of a cell with its result."""

    trial: Trial
    result: Result

    def number(self, name: str) -> float:
        """A quantity, or the level of a factor."""
        if name in self.result.values:
            return self.result.values[name]
        return float(self.trial.levels[name])


@dataclass(frozen=True)
class Block:
    """All trials of one claim in one cell and block. `rows` lacks what has not been run yet."""

    number: int
    planned: tuple[Trial, ...]
    rows: tuple[Row, ...]

    @property
    def complete(self) -> bool:
        return len(self.rows) == len(self.planned)


Looks = Sequence[int] | None
"""Numbers of blocks at which a verdict may be given; None for a fixed number of blocks, judged once."""


def judge(
    phenomenon: Phenomenon, trials: Sequence[Trial], results: Results, looks: Looks = None
) -> tuple[Verdict, ...]:
    """The verdict of every claim, from the planned trials and the results of those that have been run.

    Args:
        phenomenon: whose claims are judged.
        trials: the planned ones, all blocks included.
        results: of those that have been run.
        looks: planned looks of a sequential run, as the protocol gives them. A cell has those below its planned number
            of blocks, and that number; between two looks nothing is decided. None: what has been run is judged once.

    Raises:
        JudgementError: a claim finds several trials where it needs one (the claim is then ill-defined).
    """
    return tuple(judge_claim(phenomenon, claim, trials, results, looks) for claim in phenomenon.claims)


def due(phenomenon: Phenomenon, trials: Sequence[Trial], results: Results, looks: Looks = None) -> list[Trial]:
    """The planned trials that have to be run by now, in the order of the plan; those already run included.

    Definition: the blocks of the first look, and for every cell that goes on (docs/statistics.md, section 7,
    "Stopping") all blocks up to its next look. Without looks: all.

    Args:
        phenomenon, trials, results, looks: as for `judge`.
    """
    if looks is None:
        return list(trials)
    first_block = min(trial.block for trial in trials)
    wanted = {trial.key for trial in trials if trial.block - first_block < looks[0]}
    for claim in phenomenon.claims:
        cells = _cells(claim, trials, results)
        judged = {key: _judged(phenomenon, claim, blocks, looks) for key, blocks in cells.items()}
        for key in _going_on(cells, judged, looks):
            last = judged[key][2].last
            taken = last.planned if last and len(judged[key][2].schedule) > 1 else 0
            ahead = next(look for look in schedule(looks, len(cells[key])) if look > taken)
            wanted |= {trial.key for block in cells[key][:ahead] for trial in block.planned}
    return [trial for trial in trials if trial.key in wanted]


def schedule(looks: Looks, planned: int) -> tuple[int, ...]:
    """The looks of a cell with `planned` blocks.

    >>> schedule((5, 10, 20, 40), 20), schedule((5, 10), 3), schedule(None, 7)
    ((5, 10, 20), (3,), (7,))
    """
    return (*(look for look in looks or () if look < planned), planned)


def judge_claim(
    phenomenon: Phenomenon, claim: Claim, trials: Sequence[Trial], results: Results, looks: Looks = None
) -> Verdict:
    """The verdict of one claim."""
    region = _region(claim)
    share = isinstance(claim.effect, Share)
    found = _cells(claim, trials, results)
    judged = {key: _judged(phenomenon, claim, blocks, looks) for key, blocks in found.items()}
    verdicts = {key: verdict for key, (used, _, verdict) in judged.items() if used}
    going_on = _going_on(found, judged, looks)
    cells = tuple(
        _cell_result(claim, key, blocks, *judged[key], looks=looks, going_on=key in going_on)
        for key, blocks in found.items()
    )
    if not verdicts:
        sentence = "nothing has been run yet" if cells else "no planned cell belongs to this claim"
        return Verdict(claim=claim, verdict="untested", sentence=sentence, cells=cells)
    overall = statistics.judge_cells(verdicts, region=region, groups=_groups(claim, verdicts), share=share)
    return Verdict(
        claim=claim,
        verdict=overall.verdict,
        sentence=" ".join((overall.sentence, *overall.notes)),
        cells=cells,
        pooled=_pooled(overall.pooled, region),
    )


def _judged(
    phenomenon: Phenomenon, claim: Claim, blocks: Sequence[Block], looks: Looks
) -> tuple[list[Block], list[float], statistics.CellVerdict]:
    """The blocks that count, their effects, and the verdict of their cell."""
    planned = schedule(looks, len(blocks))
    once = len(planned) == 1
    used = [block for block in blocks if block.complete] if once else _leading(blocks)
    effects = _effects(claim, used)
    verdict = statistics.judge_cell(
        effects,
        region=_region(claim),
        looks=(max(1, len(used)),) if once else planned,
        quantum=_quantum(phenomenon, claim, blocks),
        share=isinstance(claim.effect, Share),
    )
    # Too many failed blocks for any look to come: the verdict of the last look is known now, and not paid for.
    return used, effects, replace(verdict, verdict="untested") if verdict.hopeless else verdict


def _going_on(
    found: Mapping[CellKey, Sequence[Block]],
    judged: Mapping[CellKey, tuple[list[Block], list[float], statistics.CellVerdict]],
    looks: Looks,
) -> set[CellKey]:
    """The cells of which more blocks are to be run."""
    once = {key: len(schedule(looks, len(blocks))) == 1 for key, blocks in found.items()}
    lacking = {key for key, blocks in found.items() if once[key] and len(judged[key][0]) < len(blocks)}
    looked = statistics.train_on({key: verdict for key, (_, _, verdict) in judged.items()})
    return lacking | {key for key in looked if not once[key] and not judged[key][2].hopeless}


def _leading(blocks: Sequence[Block]) -> list[Block]:
    """The blocks before the first one that has not been run: looks count blocks in their planned order."""
    return list(itertools.takewhile(lambda block: block.complete, blocks))


def _region(claim: Claim) -> statistics.Region:
    return statistics.Region(claim.holds.direction, claim.holds.value)


# --- from trials to blocks ----------------------------------------------------------------------------------------


def _cells(claim: Claim, trials: Sequence[Trial], results: Results) -> dict[CellKey, list[Block]]:
    """Cell -> its blocks. A cell whose plan lacks an arm of the claim's contrast does not belong to the claim."""
    grouped: dict[CellKey, dict[int, list[Trial]]] = {}
    for trial in trials:
        if all(trial.levels[name] in levels for name, levels in claim.among.items()) and _in_an_arm(claim, trial):
            key = tuple(trial.levels[name] for name in claim.within)
            grouped.setdefault(key, {}).setdefault(trial.block, []).append(trial)
    cells = {}
    for key, by_block in grouped.items():
        planned = {number: tuple(members) for number, members in sorted(by_block.items())}
        if all(_has_all_arms(claim, members) for members in planned.values()):
            _check_unique(claim, key, next(iter(planned.values())))
            cells[key] = [
                Block(number, members, tuple(Row(t, results[t.key]) for t in members if t.key in results))
                for number, members in planned.items()
            ]
    return cells


def _in_an_arm(claim: Claim, trial: Trial) -> bool:
    if not isinstance(claim.effect, Contrast):
        return True
    return any(_matches(arm, trial) for _, arm in claim.effect.arms)


def _matches(arm: Arm, trial: Trial) -> bool:
    return all(trial.levels[name] == level for name, level in arm.levels.items())


def _has_all_arms(claim: Claim, members: Sequence[Trial]) -> bool:
    match claim.effect:
        case Contrast(_, arms):
            return all(any(_matches(arm, trial) for trial in members) for _, arm in arms)
        case RankCorrelation(minimum=minimum) | Slope(minimum=minimum):
            return len(members) >= minimum
        case _:
            return True


def _check_unique(claim: Claim, key: CellKey, members: Sequence[Trial]) -> None:
    """One trial per block (and per arm, or per level along a factor), else the claim does not say which one counts."""
    match claim.effect:
        case Contrast(_, arms):
            groups = [([t for t in members if _matches(arm, t)], arm.pick.over if arm.pick else ()) for _, arm in arms]
        case RankCorrelation(along=along) | Slope(along=along):
            groups = [(list(members), along)]
        case _:
            groups = [(list(members), ())]
    for group, free in groups:
        seen = {tuple(trial.levels[name] for name in free) for trial in group}
        if len(seen) < len(group):
            varying = [n for n in group[0].levels if len({t.levels[n] for t in group}) > 1 and n not in free]
            raise JudgementError(
                f"claim {claim.id}: cell {_words(claim, key)} has {len(group)} trials per seed where "
                f"{len(seen)} are expected; they differ in {', '.join(varying) or 'their settings'}: "
                "name it in within, among, or along"
            )


# --- from a block to one number -----------------------------------------------------------------------------------


def _effects(claim: Claim, blocks: Sequence[Block]) -> list[float]:
    """One number per block; NaN where a trial diverged, failed its filter, or the number is not defined."""
    chosen = _common_picks(claim, blocks)
    return [_effect(claim, block, chosen) for block in blocks]


def _effect(claim: Claim, block: Block, chosen: Mapping[int, CellKey]) -> float:
    used = _used(claim.effect, [row for row in block.rows if _kept(claim, row)], chosen)
    if not used or not all(_valid(claim, row) for row in used):
        return math.nan
    number = _number(claim.effect, used)
    return number if math.isfinite(number) else math.nan


def _used(effect: Effect, rows: Sequence[Row], chosen: Mapping[int, CellKey]) -> Sequence[Row]:
    """The rows that the effect is made of, in the order of its arms; empty when it cannot be made."""
    match effect:
        case Contrast(_, arms):
            picked = [_pick(arm, rows, chosen.get(position)) for position, (_, arm) in enumerate(arms)]
            found = [row for row in picked if row is not None]
            return found if len(found) == len(arms) else []
        case RankCorrelation(minimum=minimum) | Slope(minimum=minimum):
            return rows if len(rows) >= minimum else []
        case _:
            return rows


def _number(effect: Effect, rows: Sequence[Row]) -> float:
    match effect:
        case Value(quantity):
            return rows[0].number(quantity)
        case Share(event):
            value = rows[0].number(event.quantity)
            return math.nan if math.isnan(value) else float(event.holds(value))
        case Contrast(quantity, arms, log):
            values = _logarithms([row.number(quantity) for row in rows]) if log else [r.number(quantity) for r in rows]
            return math.fsum(weight * value for (weight, _), value in zip(arms, values, strict=True))
        case RankCorrelation(x, y, _, method):
            xs, ys = [row.number(x) for row in rows], [row.number(y) for row in rows]
            if any(math.isnan(value) for value in (*xs, *ys)):
                return math.nan
            return statistics.spearman(xs, ys) if method == "spearman" else statistics.kendall(xs, ys)
        case Slope(x, y, _, log):
            xs, ys = [row.number(x) for row in rows], [row.number(y) for row in rows]
            xs, ys = (_logarithms(xs), _logarithms(ys)) if log else (xs, ys)
            if any(math.isnan(value) for value in (*xs, *ys)):
                return math.nan
            return statistics.slope(xs, ys)


def _logarithms(values: Sequence[float]) -> list[float]:
    """Logarithms; NaN where a value is not positive."""
    return [math.log(value) if value > 0 else math.nan for value in values]


def _valid(claim: Claim, row: Row) -> bool:
    return not row.result.diverged and all(c.holds(row.number(c.quantity)) for c in claim.where)


def _kept(claim: Claim, row: Row) -> bool:
    if not claim.keep:
        return True
    return not row.result.diverged and all(c.holds(row.number(c.quantity)) for c in claim.keep)


def _pick(arm: Arm, rows: Sequence[Row], wanted: CellKey | None) -> Row | None:
    """The row of a block that an arm takes; None when none is left. `wanted`: levels picked by the mean."""
    candidates = [row for row in rows if _matches(arm, row.trial)]
    if arm.pick is None:
        return candidates[0] if candidates else None
    if arm.pick.scope == "mean":
        return next((row for row in candidates if _picked_levels(arm.pick, row) == wanted), None)
    defined = [row for row in candidates if not math.isnan(row.number(arm.pick.by)) and not row.result.diverged]
    if not defined:
        return None
    sign = 1 if arm.pick.best == "highest" else -1
    by = arm.pick.by
    return max(defined, key=lambda row: sign * row.number(by))


def _picked_levels(pick: Pick, row: Row) -> CellKey:
    return tuple(row.trial.levels[name] for name in pick.over)


def _common_picks(claim: Claim, blocks: Sequence[Block]) -> dict[int, CellKey]:
    """For picks by the mean over blocks: arm number -> the levels that it takes in every block of the cell."""
    if not isinstance(claim.effect, Contrast):
        return {}
    chosen: dict[int, CellKey] = {}
    for position, (_, arm) in enumerate(claim.effect.arms):
        if arm.pick is None or arm.pick.scope != "mean":
            continue
        scores: dict[CellKey, list[float]] = {}
        for row in (row for block in blocks for row in block.rows if _matches(arm, row.trial)):
            value = row.number(arm.pick.by) if _kept(claim, row) and not row.result.diverged else math.nan
            scores.setdefault(_picked_levels(arm.pick, row), []).append(value)
        means = {key: math.fsum(values) / len(values) for key, values in scores.items()}
        defined = {key: mean for key, mean in means.items() if not math.isnan(mean)}
        if defined:
            best = max(defined.values()) if arm.pick.best == "highest" else min(defined.values())
            chosen[position] = next(key for key, mean in defined.items() if mean == best)
    return chosen


def _quantum(phenomenon: Phenomenon, claim: Claim, blocks: Sequence[Block]) -> float:
    """Smallest possible step of the effect."""
    match claim.effect:
        case Value(quantity):
            return phenomenon.quantities[quantity].quantum
        case Contrast(quantity, arms, log):
            step = phenomenon.quantities[quantity].quantum
            return 0.0 if log else step * min(abs(weight) for weight, _ in arms)
        case RankCorrelation(_, _, along, method):
            levels = {tuple(t.levels[n] for n in along) for block in blocks for t in block.planned}
            quantum = statistics.spearman_quantum if method == "spearman" else statistics.kendall_quantum
            return quantum(len(levels))
        case _:
            return 0.0


# --- results ------------------------------------------------------------------------------------------------------


def _words(claim: Claim, key: CellKey) -> str:
    return ", ".join(f"{name}={level}" for name, level in zip(claim.within, key, strict=True)) or "(all)"


def _levels(claim: Claim, key: CellKey) -> dict[str, Level]:
    return dict(zip(claim.within, key, strict=True))


def _groups(claim: Claim, cells: Mapping[CellKey, object]) -> dict[CellKey, Level] | None:
    """Cells that share a data set are not independent draws (docs/statistics.md, section 6)."""
    if "dataset" not in claim.within or claim.within == ("dataset",):
        return None
    position = claim.within.index("dataset")
    return {key: key[position] for key in cells}


def _cell_result(
    claim: Claim,
    key: CellKey,
    blocks: Sequence[Block],
    used: Sequence[Block],
    effects: Sequence[float],
    verdict: statistics.CellVerdict,
    *,
    looks: Looks,
    going_on: bool,
) -> CellResult:
    notes = [*verdict.notes, *_failure_notes(claim, used)]
    if 0 < len(used) < len(blocks) and verdict.schedule == (len(used),):
        notes.insert(0, f"{len(used)} of {len(blocks)} planned seeds have been run")
    return CellResult(
        levels=_levels(claim, key),
        verdict=verdict.verdict,
        effects=tuple(effects),
        blocks=tuple(block.number for block in used),
        planned=len(blocks),
        looks=schedule(looks, len(blocks)),
        decided_at=verdict.decided_at,
        open=going_on,
        effect=verdict.mean,
        low=verdict.low,
        high=verdict.high,
        confidence=0.9 if math.isnan(verdict.level) else 1 - 2 * verdict.level,
        sd=verdict.sd,
        excluded=sum(math.isnan(effect) for effect in effects),
        diverged=sum(any(row.result.diverged for row in block.rows) for block in used),
        p_supported=verdict.p_supported,
        p_refuted=verdict.p_refuted,
        hedges_g=_triple(verdict.hedges_g),
        superiority=_triple(verdict.superiority),
        seeds_needed=verdict.seeds_needed,
        reason=verdict.reason if used else f"none of {len(blocks)} seeds has been run",
        notes=tuple(notes),
    )


def _failure_notes(claim: Claim, blocks: Sequence[Block]) -> tuple[str, ...]:
    """Whether one of two arms fails more often than the other (docs/statistics.md, section 5, rule 3)."""
    if not isinstance(claim.effect, Contrast) or len(claim.effect.arms) != 2 or not blocks:
        return ()
    chosen = _common_picks(claim, blocks)
    arms = [arm for _, arm in claim.effect.arms]
    failed = [
        [not _arm_valid(claim, arm, block, chosen.get(position)) for block in blocks]
        for position, arm in enumerate(arms)
    ]
    p = statistics.mcnemar(*failed)
    if p >= statistics.ALPHA:
        return ()
    counts = " and ".join(f"{sum(one)} with {arm.in_words()}" for one, arm in zip(failed, arms, strict=True))
    return (f"the arms differ in failures: {counts} of {len(blocks)} (McNemar p = {p:.2g})",)


def _arm_valid(claim: Claim, arm: Arm, block: Block, wanted: CellKey | None) -> bool:
    row = _pick(arm, [row for row in block.rows if _kept(claim, row)], wanted)
    return row is not None and _valid(claim, row)


def _triple(estimate: statistics.Estimate | None) -> tuple[float, float, float] | None:
    return None if estimate is None else (estimate.value, estimate.low, estimate.high)


def _pooled(pooled: statistics.Pooled | None, region: statistics.Region) -> PooledResult | None:
    if pooled is None:
        return None
    prediction = None
    if pooled.prediction_low is not None and pooled.prediction_high is not None:
        prediction = (pooled.prediction_low, pooled.prediction_high)
    return PooledResult(
        mean=pooled.mean,
        low=pooled.low,
        high=pooled.high,
        tau=math.sqrt(pooled.tau2),
        i_squared=pooled.i2,
        prediction=prediction,
        share_beyond=pooled.share(region),
    )
