"""Over cells: where a claim holds, where not, and what to say of all of them.

docs: statistics section 7.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from refute.errors import JudgementError
from refute.statistics.looks import ALPHA
from refute.statistics.multiplicity import benjamini_hochberg, holm
from refute.statistics.pooling import LEAST_POOLED, Pooled, pool, two_stage_pool
from refute.statistics.regions import Region, Side, Tails
from refute.statistics.sentences import names, overall_sentence
from refute.statistics.verdicts import CellVerdict

OverallWord = Literal["supported", "refuted", "limited", "inconclusive", "untested"]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class OverallVerdict:
    """The verdict of a claim over its cells. Mappings and tuples of keys are in the order of the cells."""

    verdict: OverallWord
    sentence: str
    supported: tuple[Hashable, ...]
    """Cells supported at their own level."""
    refuted: tuple[Hashable, ...]
    undecided: tuple[Hashable, ...]
    untested: tuple[Hashable, ...]
    holds: tuple[Hashable, ...]
    """Where it holds beyond chance over all cells: Holm-supported."""
    fails: tuple[Hashable, ...]
    """Where it does not: Holm-refuted."""
    holm_supported: Mapping[Hashable, float]
    """Holm-adjusted sequential p-values; untested cells stay in with p = 1."""
    holm_refuted: Mapping[Hashable, float]
    bh_supported: Mapping[Hashable, float]
    """Benjamini-Hochberg-adjusted, for the map of many cells; never used for the verdict."""
    bh_refuted: Mapping[Hashable, float]
    pooled: Pooled | None
    """None for shares and below 3 cells (or 3 data sets when the cells are grouped)."""
    unpooled: tuple[Hashable, ...]
    """Tested cells that have no interval and so stay out of the pool."""
    everywhere: bool
    """Whether every tested cell has the overall verdict itself ("in every cell", otherwise "on average")."""
    expected_in_new_cell: bool
    """The prediction interval lies on the verdict's side too."""
    contested: bool
    """Some cell supported and some refuted, each at its own level."""
    p_supported: float
    """For a catalogue of claims: pooled one-sided p (3 or more pooled), else the largest p of a tested cell."""
    p_refuted: float
    notes: tuple[str, ...]


def judge_cells(
    cells: Mapping[Key, CellVerdict],
    *,
    region: Region,
    groups: Mapping[Key, Hashable] | None = None,
    share: bool = False,
) -> OverallVerdict:
    """The verdict over cells: limited, supported, refuted, untested or inconclusive, checked in this order.

    Definition: limited: a cell Holm-supported and a cell Holm-refuted. Supported: no cell refuted, and every tested
    cell supported or the pooled 95 % interval in the region (K >= 3). Refuted: the mirror. docs: statistics section 7.

    Args:
        cells: verdict per cell.
        region: of the claim.
        groups: data set of each cell; cells that share one are averaged before pooling (section 6b).
        share: whether this is a share claim; shares are not pooled.

    Raises:
        JudgementError: no cells, or a cell without a group.

    >>> from refute.statistics.cells import judge_cell
    >>> region = Region("at_least", 0.0)
    >>> effects = {"mlp": [1.0, 1.2, 0.9, 1.1, 1.0], "conv": [0.1, -0.2, 0.3, 0.0, 0.2]}
    >>> overall = judge_cells({k: judge_cell(v, region=region, looks=(5,)) for k, v in effects.items()}, region=region)
    >>> overall.verdict, overall.sentence
    ('inconclusive', '1 of 2 cells supported, none refuted; 1 undecided')
    """
    if not cells:
        raise JudgementError("cells must hold at least one verdict, none came")
    ordered = dict[Hashable, CellVerdict](cells.items())
    supported_p, refuted_p = _adjusted(ordered)
    tested = [key for key, cell in ordered.items() if cell.tested]
    supported, refuted = _with(ordered, "supported"), _with(ordered, "refuted")
    holds = tuple(key for key in tested if supported_p[key] < ALPHA)
    fails = tuple(key for key in tested if refuted_p[key] < ALPHA)
    usable = [key for key in tested if (last := ordered[key].last) is not None and last.reason is None]
    pooled = None if share else _pooled(ordered, usable, _groups(ordered, groups))
    word = _word(region, len(tested), supported, refuted, holds, fails, pooled)
    side: Side | None = word if word in ("supported", "refuted") else None
    everywhere = len(tested) > 0 and len({"supported": supported, "refuted": refuted}.get(word, ())) == len(tested)
    expected = side is not None and pooled is not None and _predicted(pooled, region) == side
    untested = _with(ordered, "untested")
    unpooled = () if share else tuple(key for key in tested if key not in usable)
    p = _claim_p(region, pooled, [ordered[key] for key in tested])
    raw = {side: [_raw(cell, side) for cell in ordered.values()] for side in ("supported", "refuted")}
    return OverallVerdict(
        verdict=word,
        sentence=overall_sentence(
            word,
            cells=len(ordered),
            supported=supported,
            refuted=refuted,
            untested=untested,
            holds=holds,
            fails=fails,
            everywhere=everywhere,
            expected=expected,
            pooled=pooled,
        ),
        supported=supported,
        refuted=refuted,
        undecided=_with(ordered, "inconclusive"),
        untested=untested,
        holds=holds,
        fails=fails,
        holm_supported=supported_p,
        holm_refuted=refuted_p,
        bh_supported=dict(zip(ordered, benjamini_hochberg(raw["supported"]).tolist(), strict=True)),
        bh_refuted=dict(zip(ordered, benjamini_hochberg(raw["refuted"]).tolist(), strict=True)),
        pooled=pooled,
        unpooled=unpooled,
        everywhere=everywhere,
        expected_in_new_cell=expected,
        contested=bool(supported and refuted),
        p_supported=p.supported,
        p_refuted=p.refuted,
        notes=(f"without an interval, so not in the mean over cells: {names(unpooled)}",) if unpooled else (),
    )


def train_on(cells: Mapping[Key, CellVerdict]) -> set[Key]:
    """The cells that go on to the next look.

    Definition: a cell is trained on if it is undecided, or if the claim is contested (some cell supported and some
    refuted at their own level) and the cell is neither Holm-supported nor Holm-refuted; never past its last look.
    docs: statistics section 7, "Stopping".

    Args:
        cells: verdict per cell after the look just taken.

    >>> from refute.statistics.cells import judge_cell
    >>> cell = judge_cell([0.1, -0.2, 0.3, 0.0, 0.2], region=Region("at_least", 0.0), looks=(5, 10))
    >>> train_on({"mlp": cell})
    {'mlp'}
    """
    if not cells:
        return set()
    ordered = dict[Hashable, CellVerdict](cells.items())
    supported_p, refuted_p = _adjusted(ordered)
    contested = bool(_with(ordered, "supported") and _with(ordered, "refuted"))
    return {
        key
        for key, cell in cells.items()
        if cell.may_train_on
        and (cell.decided_at is None or (contested and supported_p[key] >= ALPHA and refuted_p[key] >= ALPHA))
    }


def _with(cells: Mapping[Hashable, CellVerdict], word: str) -> tuple[Hashable, ...]:
    return tuple(key for key, cell in cells.items() if cell.verdict == word)


def _raw(cell: CellVerdict, side: str) -> float:
    """Untested cells stay in with p = 1."""
    if not cell.tested:
        return 1.0
    return cell.p_supported if side == "supported" else cell.p_refuted


def _adjusted(cells: Mapping[Hashable, CellVerdict]) -> tuple[dict[Hashable, float], dict[Hashable, float]]:
    supported = holm([_raw(cell, "supported") for cell in cells.values()]).tolist()
    refuted = holm([_raw(cell, "refuted") for cell in cells.values()]).tolist()
    return dict(zip(cells, supported, strict=True)), dict(zip(cells, refuted, strict=True))


def _groups(
    cells: Mapping[Hashable, CellVerdict], groups: Mapping[Key, Hashable] | None
) -> dict[Hashable, Hashable] | None:
    if groups is None:
        return None
    missing = [key for key in cells if key not in groups]
    if missing:
        raise JudgementError(f"groups must name the data set of every cell, {names(missing)} is missing")
    return dict[Hashable, Hashable](groups.items())


def _pooled(
    cells: Mapping[Hashable, CellVerdict], usable: Sequence[Hashable], groups: Mapping[Hashable, Hashable] | None
) -> Pooled | None:
    """Mean and variance of each cell's last look, pooled; None when too few (docs: statistics section 6)."""
    lasts = [last for key in usable if (last := cells[key].last) is not None]
    means, variances = [last.mean for last in lasts], [last.sd**2 / last.valid for last in lasts]
    if groups is None:
        return pool(means, variances) if len(means) >= LEAST_POOLED else None
    of_cells = [groups[key] for key in usable]
    return two_stage_pool(means, variances, of_cells) if len(set(of_cells)) >= LEAST_POOLED else None


def _word(
    region: Region,
    tested: int,
    supported: Sequence[Hashable],
    refuted: Sequence[Hashable],
    holds: Sequence[Hashable],
    fails: Sequence[Hashable],
    pooled: Pooled | None,
) -> OverallWord:
    average = region.side(pooled.low, pooled.high) if pooled is not None else None
    if holds and fails:
        return "limited"
    if tested and not refuted and (len(supported) == tested or average == "supported"):
        return "supported"
    if tested and not supported and (len(refuted) == tested or average == "refuted"):
        return "refuted"
    return "inconclusive" if tested else "untested"


def _predicted(pooled: Pooled, region: Region) -> Side | None:
    if pooled.prediction_low is None or pooled.prediction_high is None:
        return None
    return region.side(pooled.prediction_low, pooled.prediction_high)


def _claim_p(region: Region, pooled: Pooled | None, tested: Sequence[CellVerdict]) -> Tails:
    if pooled is not None:
        return pooled.tails(region)
    if not tested:
        return Tails(1.0, 1.0)
    return Tails(max(cell.p_supported for cell in tested), max(cell.p_refuted for cell in tested))
