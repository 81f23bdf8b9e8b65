"""The vocabulary: every word of the catalogue as a frozen value. Standard library only.

Reading order: levels and factors, quantities, effects and bounds (the claim language), protocols, figures,
`Phenomenon`, then what a run produces (`Trial`, `Cohort`, `Result`) and what the judge says (`CellResult`, `Verdict`).
A definition that contradicts itself raises `DefinitionError` when the value is made, and says where.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from refute.errors import DefinitionError, UnknownNameError, did_you_mean

Level = str | int | float | bool
"""One setting of a factor, for example "mnist" or 0.05."""

Direction = Literal["at_least", "at_most", "within"]
VerdictWord = Literal["supported", "refuted", "limited", "inconclusive", "untested"]


# --- factors and quantities ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Factor:
    """A varied condition. *looped* changes shapes or code; *stacked* is a number per replica of one cohort."""

    kind: Literal["looped", "stacked"]
    definition: str
    default: Level | None = None
    """Level of every grid that does not vary the factor; a level equal to it is left out of the trial's key."""


def looped(definition: str, *, default: Level | None = None) -> Factor:
    """A factor whose levels need different shapes or code: data set, architecture, width."""
    return Factor("looped", definition, default)


def stacked(definition: str, *, default: float | None = None) -> Factor:
    """A factor that is a number per replica: learning rate, label noise, output scale."""
    return Factor("stacked", definition, default)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A measured number, or a curve when `axes` names one or two axes."""

    definition: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    axes: tuple[str, ...] = ()
    quantum: float = 0.0
    """Smallest possible step of the number; 0 for a continuous one."""

    def __post_init__(self) -> None:
        if not self.definition:
            raise DefinitionError("a quantity needs a definition in words, an empty one came")
        if not self.low < self.high:
            raise DefinitionError(f"quantity '{self.definition}': low {self.low} must lie below high {self.high}")
        if len(self.axes) > 2:
            raise DefinitionError(f"quantity '{self.definition}': at most two axes, {len(self.axes)} came")


# --- the claim language -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """A quantity lies at or above `at_least` and at or below `at_most`, in one trial."""

    quantity: str
    at_least: float = -math.inf
    at_most: float = math.inf

    def __post_init__(self) -> None:
        if math.isinf(self.at_least) and math.isinf(self.at_most):
            raise DefinitionError(f"the condition on '{self.quantity}' has neither at_least nor at_most")

    def holds(self, value: float) -> bool:
        """Whether a value meets the condition; an undefined value does not."""
        return self.at_least <= value <= self.at_most

    def in_words(self) -> str:
        parts = [f">= {self.at_least:g}"] if math.isfinite(self.at_least) else []
        parts += [f"<= {self.at_most:g}"] if math.isfinite(self.at_most) else []
        return f"{self.quantity} {' and '.join(parts)}"


@dataclass(frozen=True)
class Pick:
    """Which level of the factors `over` an arm takes: the one with the highest or lowest `by`.

    `scope` "block" lets each block pick for itself; "mean" picks once per cell by the mean over blocks.
    """

    by: str
    best: Literal["highest", "lowest"]
    over: tuple[str, ...]
    scope: Literal["block", "mean"] = "block"

    def in_words(self) -> str:
        where = "on average over seeds" if self.scope == "mean" else "within the seed"
        return f"the {' and '.join(self.over)} of {self.best} {self.by} ({where})"


@dataclass(frozen=True)
class Arm:
    """One side of a contrast: fixed levels, and a pick for the factors left open."""

    levels: Mapping[str, Level] = field(default_factory=dict)
    pick: Pick | None = None

    def in_words(self) -> str:
        parts = [f"{name} = {level}" for name, level in self.levels.items()]
        parts += [self.pick.in_words()] if self.pick else []
        return ", ".join(parts) or "the trial"


@dataclass(frozen=True)
class Value:
    """The effect of a block is the quantity itself."""

    quantity: str

    def in_words(self) -> str:
        return self.quantity


@dataclass(frozen=True)
class Contrast:
    """The effect of a block is sum_i weight_i * quantity(arm_i), of logarithms when `log`."""

    quantity: str
    arms: tuple[tuple[float, Arm], ...]
    log: bool = False

    def in_words(self) -> str:
        name = f"log {self.quantity}" if self.log else self.quantity
        return " ".join(f"{weight:+g} x {name}[{arm.in_words()}]" for weight, arm in self.arms)


@dataclass(frozen=True)
class Share:
    """A block is 1 when the event happens in its trial, else 0; the effect is the share of blocks with the event."""

    event: Condition

    def in_words(self) -> str:
        return f"share of seeds with {self.event.in_words()}"


@dataclass(frozen=True)
class RankCorrelation:
    """The effect of a block is the rank correlation of x and y over the levels of the factors `along`.

    `x` may be one of these factors. Blocks with fewer than `minimum` levels (after the claim's `keep`) fail.
    """

    x: str
    y: str
    along: tuple[str, ...]
    method: Literal["spearman", "kendall"] = "spearman"
    minimum: int = 4

    def in_words(self) -> str:
        name = "Spearman rho" if self.method == "spearman" else "Kendall tau_b"
        return f"{name} of {self.x} and {self.y} along {' and '.join(self.along)}"


@dataclass(frozen=True)
class Slope:
    """The effect of a block is the least-squares slope of y on x over the levels of `along` (logarithms when `log`)."""

    x: str
    y: str
    along: tuple[str, ...]
    log: bool = False
    minimum: int = 3

    def in_words(self) -> str:
        x, y = (f"log {self.x}", f"log {self.y}") if self.log else (self.x, self.y)
        return f"slope of {y} on {x} along {' and '.join(self.along)}"


Effect = Value | Contrast | Share | RankCorrelation | Slope


def difference(quantity: str, across: str, minus: Level, plus: Level, *, pick: Pick | None = None) -> Contrast:
    """quantity at level `plus` minus quantity at level `minus` of the factor `across`, paired by block."""
    return Contrast(quantity, ((1.0, Arm({across: plus}, pick)), (-1.0, Arm({across: minus}, pick))))


def log_ratio(quantity: str, across: str, denominator: Level, numerator: Level) -> Contrast:
    """log(quantity at `numerator` / quantity at `denominator`) of the factor `across`, paired by block."""
    return Contrast(quantity, ((1.0, Arm({across: numerator})), (-1.0, Arm({across: denominator}))), log=True)


@dataclass(frozen=True)
class Bound:
    """Where the claim's region begins, in the effect's unit, and why just there. `within` means [-value, value]."""

    direction: Direction
    value: float
    reason: str

    def __post_init__(self) -> None:
        if not self.reason:
            raise DefinitionError(f"a bound of {self.value} needs its reason in words, an empty one came")
        if not math.isfinite(self.value):
            raise DefinitionError(f"a bound must be a finite number, {self.value} came")
        if self.direction == "within" and self.value <= 0:
            raise DefinitionError(f"a bound 'within' must be positive, {self.value} came")

    def in_words(self) -> str:
        if self.direction == "within":
            return f"within +-{self.value:g}"
        return f"{self.direction.replace('_', ' ')} {self.value:g}"


def at_least(value: float, *, reason: str) -> Bound:
    """The claim holds when the true mean effect is `value` or more."""
    return Bound("at_least", value, reason)


def at_most(value: float, *, reason: str) -> Bound:
    """The claim holds when the true mean effect is `value` or less."""
    return Bound("at_most", value, reason)


def within(value: float, *, reason: str) -> Bound:
    """The claim holds when the true mean effect lies in [-value, value]."""
    return Bound("within", value, reason)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """effect (per block, within cells, among levels, where valid) holds in a bound."""

    id: str
    statement: str
    effect: Effect
    holds: Bound
    within: tuple[str, ...]
    """Factors whose level combinations are the cells."""
    among: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    """Only trials with these levels enter; a factor left out enters with all its levels."""
    where: tuple[Condition, ...] = ()
    """Validity filter: every trial of the block must meet it, else the block has failed."""
    keep: tuple[Condition, ...] = ()
    """Only trials that meet it enter (picks and effects along a factor); those that do not are left out."""
    paper: str = ""
    """The published figure, with its tag: verified or recalled."""
    headline: bool = False
    control: bool = False
    """A negative control or a limit: the place where the phenomenon must not show."""

    def __post_init__(self) -> None:
        if not self.id or not self.statement:
            raise DefinitionError(f"claim '{self.id}': id and statement must not be empty")
        if isinstance(self.effect, Share) and not (self.holds.direction != "within" and 0 < self.holds.value < 1):
            raise DefinitionError(
                f"claim {self.id}: the bound of a share must be at_least or at_most a number between 0 and 1, "
                f"'{self.holds.in_words()}' came"
            )

    def quantities(self) -> tuple[str, ...]:
        """Names of the quantities that the claim needs, factors among `x` included."""
        names = [condition.quantity for condition in (*self.where, *self.keep)]
        match self.effect:
            case Value(quantity):
                names.append(quantity)
            case Contrast(quantity, arms):
                names += [quantity, *(arm.pick.by for _, arm in arms if arm.pick)]
            case Share(event):
                names.append(event.quantity)
            case RankCorrelation(x, y) | Slope(x, y):
                names += [x, y]
        return tuple(dict.fromkeys(names))

    def along(self) -> tuple[str, ...]:
        """Factors that the effect itself uses up (arms, picks, levels along a factor)."""
        match self.effect:
            case Contrast(_, arms):
                names = [name for _, arm in arms for name in (*arm.levels, *(arm.pick.over if arm.pick else ()))]
            case RankCorrelation() | Slope():
                names = list(self.effect.along)
            case _:
                names = []
        return tuple(dict.fromkeys(names))

    def in_words(self) -> str:
        """The claim as one precise sentence, made from the data that the judge uses."""
        parts = [f"{self.effect.in_words()}, per seed within each {' x '.join(self.within) or 'run'}"]
        if self.among:
            parts.append("among " + "; ".join(f"{n} = {', '.join(map(str, ls))}" for n, ls in self.among.items()))
        if self.keep:
            parts.append("over trials with " + " and ".join(c.in_words() for c in self.keep))
        if self.where:
            parts.append("where " + " and ".join(c.in_words() for c in self.where))
        return f"{', '.join(parts)}: {self.holds.in_words()} ({self.holds.reason})"


# --- protocols and figures ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All combinations of the named levels, each with `seeds` blocks (numbered from 0)."""

    levels: Mapping[str, tuple[Level, ...]]
    seeds: int
    settings: Mapping[str, Level] = field(default_factory=dict)
    """Overrides of the protocol's settings inside this grid."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise DefinitionError(f"a grid needs at least one seed, {self.seeds} came")
        for name, levels in self.levels.items():
            if not levels:
                raise DefinitionError(f"grid: factor '{name}' has no level")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is trained at one scale: grids of factor levels, and settings that hold for all of them."""

    grids: tuple[Grid, ...]
    settings: Mapping[str, Level] = field(default_factory=dict)
    looks: tuple[int, ...] = (5, 10, 20, 40)
    """Planned numbers of seeds at which a sequential run may decide; a fixed-n run has one look."""
    cohort: int = 32
    """Most replicas trained together."""
    note: str = ""

    def __post_init__(self) -> None:
        if not self.grids:
            raise DefinitionError("a protocol needs at least one grid")
        if self.cohort < 1:
            raise DefinitionError(f"a cohort holds at least one replica, {self.cohort} came")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Mean over seeds with a band, y against x; `x` is a factor or the axis of a curve."""

    title: str
    x: str
    y: tuple[str, ...]
    colour: str | None = None
    """A factor, or the other axis of a curve with two axes."""
    panels: tuple[str, ...] = ()
    among: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    dashed: tuple[str, ...] = ()
    """Those of `y` drawn dashed: a theory, a reference."""
    log_x: bool = False
    log_y: bool = False
    reference: float | None = None
    """A horizontal line, for example chance accuracy."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """One mark per trial (or per entry of two curves with the same axis), y against x."""

    title: str
    x: str
    y: str
    colour: str | None = None
    panels: tuple[str, ...] = ()
    among: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    hollow: Condition | None = None
    """Trials that meet it are drawn hollow: runs that did not fit, for example."""
    log_x: bool = False
    log_y: bool = False
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Mean over seeds of a curve with two axes; the first axis gives rows, the second columns."""

    title: str
    quantity: str
    panels: tuple[str, ...] = ()
    among: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    column_labels: Mapping[float, str] = field(default_factory=dict)
    caption: str = ""


Figure = Lines | Scatter | HeatMap


# --- the phenomenon -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a phenomenon was stated."""

    authors: str
    title: str
    year: int
    venue: str = ""
    openreview: str = ""
    arxiv: str = ""
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Phenomenon:
    """One catalogue entry: a precisely quantified, falsifiable statement and how it is put to the test."""

    name: str
    statement: str
    source: Source
    factors: Mapping[str, Factor]
    quantities: Mapping[str, Quantity]
    protocols: Mapping[str, Protocol]
    trial: "Callable[[Cohort], Mapping[str, Any]]"
    claims: tuple[Claim, ...]
    cell: tuple[str, ...] = ("dataset", "architecture")
    """Factors whose levels own separate random streams; the levels of all others share a block's seed (paired)."""
    figures: tuple[Figure, ...] = ()
    deviations: tuple[str, ...] = ()
    """Where the protocol departs from the paper or the specification, and why."""
    findings: str = ""
    """What was found at scale small, written from the numbers."""
    version: int = 1

    def __post_init__(self) -> None:
        _check_names(self)
        _check_protocols(self)
        for claim in self.claims:
            _check_claim(self, claim)
        for figure in self.figures:
            _check_figure(self, figure)

    def protocol(self, scale: str) -> Protocol:
        """The protocol of a scale; raises UnknownNameError with what there is."""
        if scale not in self.protocols:
            raise UnknownNameError(f"{self.name} has no scale '{scale}'; {did_you_mean(scale, tuple(self.protocols))}")
        return self.protocols[scale]

    def headline(self) -> Claim:
        """The claim named before the run as the one the phenomenon stands for."""
        return next((claim for claim in self.claims if claim.headline), self.claims[0])

    def defaults(self) -> dict[str, Level]:
        return {name: factor.default for name, factor in self.factors.items() if factor.default is not None}


def _check_names(phenomenon: Phenomenon) -> None:
    where = f"phenomenon '{phenomenon.name}'"
    if not phenomenon.statement or not phenomenon.claims or not phenomenon.protocols:
        raise DefinitionError(f"{where}: statement, claims and protocols must not be empty")
    for name in phenomenon.factors:
        if name in phenomenon.quantities:
            raise DefinitionError(f"{where}: '{name}' is both a factor and a quantity")
    for name in phenomenon.cell:
        _known(name, phenomenon.factors, f"{where}, cell")
    ids = [claim.id for claim in phenomenon.claims]
    if len(set(ids)) < len(ids):
        raise DefinitionError(f"{where}: claim ids must differ, {', '.join(ids)} came")


def _check_protocols(phenomenon: Phenomenon) -> None:
    for scale, protocol in phenomenon.protocols.items():
        for grid in protocol.grids:
            where = f"phenomenon '{phenomenon.name}', protocol '{scale}'"
            for name in grid.levels:
                _known(name, phenomenon.factors, where)
            for name, factor in phenomenon.factors.items():
                if factor.default is None and name not in grid.levels:
                    raise DefinitionError(f"{where}: factor '{name}' has neither a level in the grid nor a default")


def _check_claim(phenomenon: Phenomenon, claim: Claim) -> None:
    where = f"phenomenon '{phenomenon.name}', claim {claim.id}"
    for name in claim.quantities():
        if name in claim.along() and name in phenomenon.factors:
            continue
        _known(name, phenomenon.quantities, where)
        if phenomenon.quantities[name].axes:
            raise DefinitionError(f"{where}: '{name}' is a curve; a claim needs a number per trial")
    for name in (*claim.within, *claim.along(), *claim.among):
        _known(name, phenomenon.factors, where)
    doubled = set(claim.within) & set(claim.along())
    if doubled:
        raise DefinitionError(f"{where}: {', '.join(sorted(doubled))} can't be a cell and vary inside it")
    for scale, protocol in phenomenon.protocols.items():
        used: dict[str, set[Level | None]] = {
            name: {level for grid in protocol.grids for level in grid.levels.get(name, (factor.default,))}
            for name, factor in phenomenon.factors.items()
        }
        for name, levels in claim.among.items():
            if not used[name] & set(levels):
                raise DefinitionError(f"{where}: no grid of scale '{scale}' has {name} = {', '.join(map(str, levels))}")


def _check_figure(phenomenon: Phenomenon, figure: Figure) -> None:
    where = f"phenomenon '{phenomenon.name}', figure '{figure.title}'"
    axes = {axis for quantity in phenomenon.quantities.values() for axis in quantity.axes}
    match figure:
        case Lines():
            names, quantities = [figure.x, figure.colour], list(figure.y)
        case Scatter():
            names, quantities = [figure.x, figure.y, figure.colour], []
        case HeatMap():
            names, quantities = [], [figure.quantity]
    for quantity in quantities:
        _known(quantity, phenomenon.quantities, where)
    for name in names:
        if name is not None and name not in axes:
            _known(name, {**phenomenon.quantities, **phenomenon.factors}, where)
    for name in (*figure.panels, *figure.among):
        _known(name, phenomenon.factors, where)


def _known(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        raise DefinitionError(f"{where}: unknown name '{name}'; {did_you_mean(name, tuple(known))}")


# --- what a run is made of ----------------------------------------------------------------------------------------


def digest(value: Any, length: int = 20) -> str:
    """First hexadecimal digits of the SHA-256 of a value's canonical JSON.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:length]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True, slots=True)
class Trial:
    """One replica: one level of every factor, one block. `key` identifies it for ever."""

    phenomenon: str
    version: int
    levels: Mapping[str, Level]
    block: int
    settings: Mapping[str, Level]
    key: str
    seed: int


def make_trial(phenomenon: Phenomenon, levels: Mapping[str, Level], block: int, settings: Mapping[str, Level]) -> Trial:
    """A trial with its key (defaults left out, so a new factor keeps old results) and its seed.

    The seed depends on the phenomenon, the levels of its `cell` factors and the block: cells do not share randomness,
    the arms of a comparison do.
    """
    return make_trials(phenomenon, levels, (block,), settings)[0]


def make_trials(
    phenomenon: Phenomenon, levels: Mapping[str, Level], blocks: Sequence[int], settings: Mapping[str, Level]
) -> list[Trial]:
    """The trials of several blocks, as `make_trial` makes them one by one; what they share is made once."""
    defaults = phenomenon.defaults()
    full = {name: levels[name] if name in levels else defaults[name] for name in phenomenon.factors}
    varied = {name: level for name, level in full.items() if level != defaults.get(name)}
    shared = dict(settings)
    named = _started_digest([phenomenon.name, phenomenon.version, varied, shared])
    drawn = _started_digest([phenomenon.name, [full[name] for name in phenomenon.cell]])
    return [
        Trial(
            phenomenon.name,
            phenomenon.version,
            full,
            block,
            shared,
            sys.intern(_ended_digest(named, block, 20)),
            int(_ended_digest(drawn, block, 15), 16),
        )
        for block in blocks
    ]


def _started_digest(head: list[Any]) -> "hashlib._Hash":
    """`digest([*head, block])` up to the block."""
    return hashlib.sha256(_canonical(head)[:-1].encode() + b",")


def _ended_digest(started: "hashlib._Hash", block: int, length: int) -> str:
    whole = started.copy()
    whole.update(b"%d]" % block)
    return whole.hexdigest()[:length]


@dataclass(frozen=True)
class Cohort:
    """Trials that share their looped levels and are trained together; every tensor leads with the axis `replica`."""

    trials: tuple[Trial, ...]
    looped: Mapping[str, Level]
    stacked: Mapping[str, tuple[float, ...]]
    settings: Mapping[str, Level]
    device: str = "cpu"

    def __getitem__(self, factor: str) -> Any:
        """The level of a looped factor, or the tuple (one number per replica) of a stacked one."""
        if factor in self.looped:
            return self.looped[factor]
        if factor in self.stacked:
            return self.stacked[factor]
        raise UnknownNameError(
            f"this cohort has no factor '{factor}'; {did_you_mean(factor, (*self.looped, *self.stacked))}"
        )

    def setting(self, name: str) -> Any:
        """A setting of the protocol, for example the number of steps."""
        if name not in self.settings:
            raise UnknownNameError(f"the protocol has no setting '{name}'; {did_you_mean(name, tuple(self.settings))}")
        return self.settings[name]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(trial.seed for trial in self.trials)

    @property
    def blocks(self) -> tuple[int, ...]:
        return tuple(trial.block for trial in self.trials)

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def key(self) -> str:
        return digest([trial.key for trial in self.trials])


@dataclass(frozen=True)
class Curve:
    """Values along one or two axes, row-major, with the coordinates of each axis."""

    coordinates: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if math.prod(len(axis) for axis in self.coordinates) != len(self.values):
            sizes = " x ".join(str(len(axis)) for axis in self.coordinates)
            raise DefinitionError(f"a curve over {sizes} coordinates came with {len(self.values)} values")

    def points(self) -> Iterator[tuple[tuple[float, ...], float]]:
        """Each coordinate tuple with its value, row-major."""
        if len(self.coordinates) == 1:
            yield from (((x,), value) for x, value in zip(self.coordinates[0], self.values, strict=True))
            return
        first, second = self.coordinates
        grid = ((x, y) for x in first for y in second)
        yield from zip(grid, self.values, strict=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What one trial measured."""

    key: str
    diverged: bool
    values: Mapping[str, float]
    curves: Mapping[str, Curve] = field(default_factory=dict)


Results = Mapping[str, Result]
"""Trial key -> result."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A trial that could not be run: nothing is stored of it, and the next run tries it again."""

    trial: Trial
    error: str
    """What was raised, type and text, or how its workers ended and what to do."""


# --- what the judge says ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The verdict of one claim in one cell, with everything a reader needs beside it."""

    levels: Mapping[str, Level]
    verdict: VerdictWord
    effects: tuple[float, ...]
    """One number per planned block; NaN = the block failed its filter or diverged."""
    blocks: tuple[int, ...]
    """Numbers of the blocks that have been run, one per effect."""
    planned: int
    """How many blocks the protocol plans for this cell, at most."""
    effect: float
    """Mean over valid blocks (share of events for a share claim); NaN when there is none."""
    low: float
    high: float
    confidence: float
    """Two-sided confidence of the interval, for example 0.90 for fixed n."""
    sd: float
    excluded: int
    diverged: int
    p_supported: float
    p_refuted: float
    hedges_g: tuple[float, float, float] | None = None
    """Standardized effect with its 95 % interval."""
    superiority: tuple[float, float, float] | None = None
    """Share of blocks with an effect above 0, with its Wilson interval."""
    seeds_needed: int | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    """Planned numbers of blocks at which a verdict may be given; one for a fixed number."""
    decided_at: int | None = None
    """The look that decided, in blocks."""
    open: bool = False
    """Whether more blocks of the cell are to be run."""


@dataclass(frozen=True, kw_only=True)
class PooledResult:
    """Random-effects mean over cells (K >= 3), and what to expect in a new cell (K >= 4)."""

    mean: float
    low: float
    high: float
    tau: float
    i_squared: float
    prediction: tuple[float, float] | None = None
    share_beyond: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rows say about one claim."""

    claim: Claim
    verdict: VerdictWord
    sentence: str
    cells: tuple[CellResult, ...]
    pooled: PooledResult | None = None

    @property
    def settled(self) -> bool:
        """Whether no cell of it is to be trained on."""
        return bool(self.cells) and not any(cell.open for cell in self.cells)


def expand(levels: Mapping[str, Sequence[Level]]) -> Iterator[dict[str, Level]]:
    """Every combination of levels, the last factor varying fastest.

    >>> list(expand({"a": (1, 2), "b": ("x",)}))
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    if not levels:
        yield {}
        return
    first, *rest = levels
    for level in levels[first]:
        for others in expand({name: levels[name] for name in rest}):
            yield {first: level, **others}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where results came from: enough to name the code, the software and the machine that made them."""

    code_version: str
    """Version of refute and, in a checkout, the commit."""
    python: str
    packages: Mapping[str, str]
    platform: str
    processor: str
    device: str
    created: str
    """UTC time, ISO 8601."""

    @property
    def environment(self) -> str:
        """Hash of everything that may move a number: software, processor, device."""
        return digest([self.python, dict(self.packages), self.platform, self.processor, self.device], 16)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One moment of a run, for a live table."""

    phenomenon: Phenomenon
    scale: str
    cohorts_done: int
    cohorts_total: int
    trials_run: int
    trials_cached: int
    trials_planned: int
    diverged: int
    seconds: float
    verdicts: tuple[Verdict, ...] = ()
    message: str = ""
    """Something the user should read now: a worker died, a damaged file was set aside."""

    @property
    def trials_per_second(self) -> float:
        return self.trials_run / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Rough guess from the pace so far; NaN before the first cohort is done."""
        todo = self.trials_planned - self.trials_cached - self.trials_run
        return todo / self.trials_per_second if self.trials_run else math.nan


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run or a judgement of stored results: all that a report is made of."""

    phenomenon: Phenomenon
    scale: str
    trials: tuple[Trial, ...]
    """The planned trials, those of the last look included."""
    results: Results
    """Results of those of them that are stored."""
    verdicts: tuple[Verdict, ...]
    trials_run: int
    trials_cached: int
    diverged: int
    seconds: float
    core_seconds: float
    """Sum over cohorts of the seconds that their worker took, as stored."""
    provenance: tuple[Provenance, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    """Trials that this run could not run."""
    looks: tuple[int, ...] | None = None
    """The planned looks of a sequential run; None when the number of seeds was fixed."""
    standing: Mapping[str, str] = field(default_factory=dict)
    """Claim -> whether it was registered before the first trial, in a sentence; empty when that is not known."""
    spared: int = 0
    """Planned trials that no open cell needs: what deciding at looks has saved."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the committed evidence of a phenomenon says, counted."""

    name: str
    scale: str
    claims: Mapping[VerdictWord, int]
    """Verdict -> number of claims."""
    cells: int
    """Cells of all claims together."""
    trials: int
    core_seconds: float


def totals_of(outcome: Outcome) -> Totals:
    """An outcome in numbers."""
    counted: dict[VerdictWord, int] = {}
    for verdict in outcome.verdicts:
        counted[verdict.verdict] = counted.get(verdict.verdict, 0) + 1
    return Totals(
        name=outcome.phenomenon.name,
        scale=outcome.scale,
        claims=counted,
        cells=sum(len(verdict.cells) for verdict in outcome.verdicts),
        trials=len(outcome.results),
        core_seconds=round(outcome.core_seconds, 1),
    )
