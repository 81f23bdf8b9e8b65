"""A table and claims -> verdicts.

The numbers go straight to `refute.statistics.judge_cell` and `judge_cells`, the functions that `refute.judge` calls;
a phenomenon made up for the table is only for the report. Handing trials to `refute.judge` instead gives the same
verdicts (tests/tables/test_table_oracle.py holds both together), but takes ten seconds of processor time for 100,000
rows, 50 cells and 10 claims where whole columns take less than one, and it takes one look only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refute import statistics
from refute.core import (
    Arm,
    CellResult,
    Claim,
    Cohort,
    Contrast,
    Grid,
    Level,
    Phenomenon,
    PooledResult,
    Protocol,
    Quantity,
    RankCorrelation,
    Share,
    Source,
    Value,
    Verdict,
    looped,
)
from refute.errors import UsageError
from refute.tables import refusals
from refute.tables.blocks import CellBlocks, effects_of
from refute.tables.claims import parse_names
from refute.tables.frame import Frame
from refute.tables.naming import STATES, check_columns, rename_columns
from refute.tables.reading import as_table

DATA_SETS = ("dataset", "data", "data_set", "task")
"""Cells that share a level of such a column are not independent draws (docs/statistics.md, section 6)."""


@dataclass(frozen=True, kw_only=True)
class JudgedTable:
    """What a table says about claims."""

    name: str
    rows: int
    block: str
    looks: tuple[int, ...]
    """Empty: the number of blocks of each cell was fixed beforehand."""
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...]
    phenomenon: Phenomenon
    """Made up for the report: the claims with the definitions of their columns. It has no trial to run."""

    @property
    def about(self) -> str:
        """What was judged, in one line."""
        looks = f"planned looks {', '.join(map(str, self.looks))}" if self.looks else "no planned looks"
        return f"{self.rows} rows; blocks by column '{self.block}'; {looks}."


def judge_table(
    data: Any,
    claims: Claim | Sequence[Claim],
    *,
    block: str | None = None,
    looks: Sequence[int] = (),
    looks_taken: Sequence[int] | None = None,
    quantum: float = 0.0,
    unit: str = "",
    repeats: str | Sequence[str] = (),
    missing_failed: bool = False,
    distinct: bool = False,
    group: str | None = None,
    rename: Mapping[str, str] | None = None,
    name: str = "table",
) -> JudgedTable:
    """Judge claims on a table with one row per trial.

    Args:
        data: a pandas, polars or arrow table, or a mapping of columns, see `as_table`. An empty measured cell is a
            failed run: its block counts as failed and is never dropped.
        claims: one or several, see `make_claim`; any `refute.core.Claim` that picks no level.
        block: the column that numbers the independent runs, usually the seed. Blocks are in its order.
        looks: the numbers of blocks at which the claim was planned to be judged; without them the number of blocks of
            each cell is taken as fixed beforehand. Looks that a cell's blocks reach count as taken.
        looks_taken: those of them that were really taken, when not all were; a look that was not taken is lost.
        quantum: smallest possible step of the quantity, for example 1/797 for an accuracy over 797 examples.
        unit: unit of the quantity; states that the whole column is in it.
        repeats: columns that number repeats of one measurement inside a block; they are averaged.
        missing_failed: a block that lacks an arm or a level counts as failed, instead of being refused.
        distinct: drop rows that repeat another one in every column, instead of refusing them.
        group: the column of data sets: cells that share one are averaged before cells are pooled. By default the one of
            `within` that is called dataset, data, data_set or task.
        rename: name in the table -> name in the claim, applied first.
        name: of the table, for the report.

    Raises:
        UsageError: names or levels that the table lacks, options that do not belong together.
        JudgementError: a table that would make verdicts wrong: no pairing, pseudo-replication, one block, mixed units,
            duplicated trials. The message says why and names the closest fix.
    """
    frame = Frame(rename_columns(as_table(data), rename or {}))
    frame = frame.without_copies() if distinct else frame
    wanted = (claims,) if isinstance(claims, Claim) else tuple(claims)
    if not wanted:
        raise UsageError("expected at least one claim, none came")
    column, repeated = refusals.check_block(frame, block), parse_names(repeats)
    named = [name for claim in wanted for name in (*claim.quantities(), *claim.within, *claim.along(), *claim.among)]
    check_columns((column, *named, *repeated, *((group,) if group else ())), frame.columns)
    resolved = [_resolved(frame, claim, column) for claim in wanted]
    warnings: list[str] = []
    verdicts = []
    for claim in resolved:
        found = effects_of(
            frame, claim, block=column, repeats=repeated, missing_failed=missing_failed, one_unit=bool(unit)
        )
        warnings += [*found.warnings, *refusals.confounded(frame, claim, column), *_states(frame, claim)]
        grouped = _group(claim, group)
        verdicts.append(_verdict(claim, found.cells, tuple(looks), looks_taken, quantum, grouped))
    if not looks:
        warnings.append(
            "no looks were named: the number of blocks is taken as fixed before the first run; if the table grew until "
            "it was judged, name the planned looks (--looks 5,10,20,40)"
        )
    return JudgedTable(
        name=name,
        rows=frame.rows,
        block=column,
        looks=tuple(looks),
        verdicts=tuple(verdicts),
        warnings=tuple(dict.fromkeys(warnings)),
        phenomenon=_phenomenon(name, frame, resolved, unit, quantum),
    )


# --- the claim in the table's own levels --------------------------------------------------------------------------


def _resolved(frame: Frame, claim: Claim, block: str) -> Claim:
    """The claim with the levels that the table has for those that it names."""
    doubled = [name for name in claim.within if name == block or name in claim.along()]
    if doubled:
        use = "the block" if doubled[0] == block else "varied inside the cell"
        raise UsageError(f"'{doubled[0]}' is {use} and can't be a cell as well; leave it out of --within")
    among = {name: tuple(frame.level(name, one) for one in levels) for name, levels in claim.among.items()}
    effect = claim.effect
    if isinstance(effect, Contrast):
        effect = replace(effect, arms=tuple((weight, _resolved_arm(frame, arm)) for weight, arm in effect.arms))
    return replace(claim, among=among, effect=effect)


def _resolved_arm(frame: Frame, arm: Arm) -> Arm:
    return replace(arm, levels={name: frame.level(name, level) for name, level in arm.levels.items()})


def _states(frame: Frame, claim: Claim) -> list[str]:
    """Runs that an export says did not finish, and that count all the same."""
    for column, finished in ((name, STATES[name.casefold()]) for name in frame.columns if name.casefold() in STATES):
        coded = frame.levels(column)
        if finished not in coded.levels:
            continue
        measured = [frame.numbers(name) for name in claim.quantities() if name not in claim.along()]
        filled = np.logical_and.reduce([np.isfinite(values) for values in measured])
        wrong = filled & (coded.codes != coded.levels.index(finished))
        if wrong.any():
            return [
                f"{int(wrong.sum())} rows have a {column} other than {finished} and yet a value; if those runs did not "
                "end as planned, empty their measured cells: then they count as failed"
            ]
    return []


def _group(claim: Claim, group: str | None) -> str | None:
    if group is not None and group not in claim.within:
        raise UsageError(f"--group {group}: cells are grouped by one of --within, {', '.join(claim.within) or 'none'}")
    found = group or next((name for name in claim.within if name.casefold() in DATA_SETS), None)
    return None if (found,) == claim.within else found


# --- verdicts -----------------------------------------------------------------------------------------------------


def _verdict(
    claim: Claim,
    cells: Sequence[CellBlocks],
    looks: tuple[int, ...],
    looks_taken: Sequence[int] | None,
    quantum: float,
    group: str | None,
) -> Verdict:
    region = statistics.Region(claim.holds.direction, claim.holds.value)
    share = isinstance(claim.effect, Share)
    judged: dict[tuple[Level, ...], statistics.CellVerdict] = {}
    for cell in cells:
        n = cell.effects.size
        judged[cell.key] = statistics.judge_cell(
            cell.effects,
            region=region,
            looks=looks or (n,),
            quantum=_quantum(claim, quantum, cell.slots),
            share=share,
            looks_taken=None if looks_taken is None else [look for look in looks_taken if look <= n],
        )
    groups = None if group is None else {key: key[claim.within.index(group)] for key in judged}
    overall = statistics.judge_cells(judged, region=region, groups=groups, share=share)
    going_on = statistics.train_on(judged) if looks else set()
    results = tuple(_cell_result(claim, cell, judged[cell.key], going_on=cell.key in going_on) for cell in cells)
    advice = _advice(claim, judged, going_on, overall.contested)
    return Verdict(
        claim=claim,
        verdict=overall.verdict,
        sentence=". ".join((overall.sentence, *overall.notes, *advice)),
        cells=results,
        pooled=_pooled(overall.pooled, region),
    )


def _quantum(claim: Claim, quantum: float, levels: int) -> float:
    """Smallest possible step of the effect."""
    match claim.effect:
        case Value():
            return quantum
        case Contrast(_, arms, log):
            return 0.0 if log else quantum * min(abs(weight) for weight, _ in arms)
        case RankCorrelation(method=method):
            return statistics.spearman_quantum(levels) if method == "spearman" else statistics.kendall_quantum(levels)
        case _:
            return 0.0


def _advice(
    claim: Claim,
    judged: Mapping[tuple[Level, ...], statistics.CellVerdict],
    going_on: set[tuple[Level, ...]],
    contested: bool,
) -> tuple[str, ...]:
    """Which cells the stopping rule sends on to their next look (docs/statistics.md, section 7)."""
    onward: dict[int, list[str]] = {}
    for key in judged:
        if key in going_on:
            cell = judged[key]
            reached = cell.last.planned if cell.last else 0
            target = next(look for look in cell.schedule if look > reached)
            onward.setdefault(target, []).append(refusals.cell_in_words(claim, key).removeprefix("cell "))
    why = (
        "supported in some cells and refuted in others, so cells go on until that is beyond chance; "
        if contested
        else ""
    )
    parts = [
        f"{len(names)} cell{'s' if len(names) > 1 else ''} to {target} blocks"
        + (f" ({'; '.join(names)})" if len(names) <= refusals.NAMED else "")
        for target, names in sorted(onward.items())
    ]
    return (f"To go on: {why}{', '.join(parts)}",) if parts else ()


def _cell_result(claim: Claim, cell: CellBlocks, verdict: statistics.CellVerdict, *, going_on: bool) -> CellResult:
    n = cell.effects.size
    numbered = all(isinstance(block, int) and not isinstance(block, bool) for block in cell.blocks)
    return CellResult(
        levels=dict(zip(claim.within, cell.key, strict=True)),
        verdict=verdict.verdict,
        effects=tuple(cell.effects.tolist()),
        blocks=tuple(int(block) for block in cell.blocks) if numbered else tuple(range(n)),
        planned=n,
        looks=verdict.schedule,
        decided_at=verdict.decided_at,
        open=going_on,
        effect=verdict.mean,
        low=verdict.low,
        high=verdict.high,
        confidence=0.9 if math.isnan(verdict.level) else 1 - 2 * verdict.level,
        sd=verdict.sd,
        excluded=int(np.isnan(cell.effects).sum()),
        diverged=0,
        p_supported=verdict.p_supported,
        p_refuted=verdict.p_refuted,
        hedges_g=_triple(verdict.hedges_g),
        superiority=_triple(verdict.superiority),
        seeds_needed=verdict.seeds_needed,
        reason=verdict.reason,
        notes=(*_look_notes(verdict, n), *cell.notes, *verdict.notes),
    )


def _look_notes(verdict: statistics.CellVerdict, blocks: int) -> tuple[str, ...]:
    """At which look a cell was judged, and which of its blocks no look has seen."""
    if len(verdict.schedule) == 1 and verdict.schedule[0] == blocks:
        return ()
    notes = []
    if verdict.decided_at is not None:
        notes.append(f"decided at {verdict.decided_at} blocks (looks {', '.join(map(str, verdict.schedule))})")
    seen = verdict.last.planned if verdict.last else 0
    if 0 < seen < blocks:
        after = next((look for look in verdict.schedule if look > blocks), None)
        rest = f"they wait for the look at {after}" if after else "no look is planned for them"
        notes.append(f"{blocks - seen} of {blocks} blocks were not judged: {rest}")
    return tuple(notes)


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


# --- for the report -----------------------------------------------------------------------------------------------


def _phenomenon(name: str, frame: Frame, claims: Sequence[Claim], unit: str, quantum: float) -> Phenomenon:
    """The claims as a catalogue entry would hold them, so that the reports can print them."""
    # Filters may speak of conditions, which a catalogue entry keeps apart from quantities; reports do without them.
    claims = [replace(claim, where=(), keep=()) for claim in claims]
    conditions = dict.fromkeys(n for claim in claims for n in (*claim.within, *claim.along(), *claim.among))
    measured = dict.fromkeys(n for claim in claims for n in claim.quantities() if n not in conditions)
    levels = {factor: frame.levels(factor).levels for factor in conditions}
    return Phenomenon(
        name=name,
        statement="Claims about a table of results.",
        source=Source(authors="", title=name, year=0),
        factors={factor: looped(f"column '{factor}' of the table") for factor in conditions},
        quantities={
            quantity: Quantity(definition=f"column '{quantity}' of the table", unit=unit, quantum=quantum)
            for quantity in measured
        },
        protocols={"table": Protocol(grids=(Grid(levels=levels, seeds=1),))},
        trial=_no_trial,
        claims=_distinct_ids(claims),
        cell=(),
    )


def _distinct_ids(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    ids = [claim.id for claim in claims]
    if len(set(ids)) == len(ids):
        return tuple(claims)
    return tuple(replace(claim, id=f"{claim.id} {number}") for number, claim in enumerate(claims, start=1))


def _no_trial(cohort: Cohort) -> Mapping[str, Any]:  # noqa: ARG001
    raise UsageError("a table of results has no trial that could be run")
