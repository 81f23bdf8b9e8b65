"""What is registered and recorded of a phenomenon at one scale, as JSON, and back again as the values of `core`.

Everything is in it that decides which trials are planned and how they are judged: factors, quantities, protocol and
claims. What cannot move a verdict is left out: figures, findings, notes, how many replicas are trained together. A
field that has its default is left out of the JSON too, so that a new field of the claim language changes no old hash.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from refute import core
from refute.records.canonical import content_hash


class Strict(BaseModel):
    """A frozen model that takes no unknown fields, no NaN and no value of another type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


# --- the claim language -------------------------------------------------------------------------------------------


class Condition(Strict):
    """A quantity lies at or above `at_least` and at or below `at_most`; null: no such end."""

    quantity: str
    at_least: float | None = None
    at_most: float | None = None


class Pick(Strict):
    """Which level of the factors `over` an arm takes."""

    by: str
    best: Literal["highest", "lowest"]
    over: tuple[str, ...]
    scope: Literal["block", "mean"] = "block"


class Arm(Strict):
    """One side of a contrast."""

    weight: float
    levels: dict[str, core.Level] = {}
    pick: Pick | None = None


class Value(Strict):
    """The effect of a block is the quantity itself."""

    kind: Literal["value"]
    quantity: str


class Contrast(Strict):
    """The effect of a block is the weighted sum of the quantity over the arms, of logarithms when `log`."""

    kind: Literal["contrast"]
    quantity: str
    arms: tuple[Arm, ...]
    log: bool = False


class Share(Strict):
    """The effect is the share of blocks in which the event happens."""

    kind: Literal["share"]
    event: Condition


class RankCorrelation(Strict):
    """The effect of a block is the rank correlation of x and y along factors."""

    kind: Literal["rank-correlation"]
    x: str
    y: str
    along: tuple[str, ...]
    method: Literal["spearman", "kendall"] = "spearman"
    minimum: int = 4


class Slope(Strict):
    """The effect of a block is the least-squares slope of y on x along factors."""

    kind: Literal["slope"]
    x: str
    y: str
    along: tuple[str, ...]
    log: bool = False
    minimum: int = 3


Effect = Annotated[Value | Contrast | Share | RankCorrelation | Slope, Field(discriminator="kind")]


class Bound(Strict):
    """Where the claim's region begins; `within` means [-value, value]."""

    direction: core.Direction
    value: float
    reason: str


class Claim(Strict):
    """effect (per block, within cells, among levels, where valid) holds in a bound."""

    id: str
    statement: str
    effect: Effect
    holds: Bound
    within: tuple[str, ...]
    among: dict[str, tuple[core.Level, ...]] = {}
    where: tuple[Condition, ...] = ()
    keep: tuple[Condition, ...] = ()
    paper: str = ""
    headline: bool = False
    control: bool = False


# --- what is planned ----------------------------------------------------------------------------------------------


class Factor(Strict):
    """A varied condition."""

    kind: Literal["looped", "stacked"]
    definition: str
    default: core.Level | None = None


class Quantity(Strict):
    """A measured number or curve; null: no such end of its range."""

    definition: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    axes: tuple[str, ...] = ()
    quantum: float = 0.0


class Grid(Strict):
    """All combinations of the levels, each with `seeds` blocks."""

    levels: dict[str, tuple[core.Level, ...]]
    seeds: int
    settings: dict[str, core.Level] = {}


class Protocol(Strict):
    """What is trained at the scale; `looks`: numbers of seeds at which a sequential run may decide."""

    grids: tuple[Grid, ...]
    settings: dict[str, core.Level] = {}
    looks: tuple[int, ...]


class Definition(Strict):
    """The protocol and the claims of a phenomenon at one scale, with the factors and quantities that they speak of."""

    phenomenon: str
    version: int
    scale: str
    statement: str
    factors: dict[str, Factor]
    quantities: dict[str, Quantity]
    protocol: Protocol
    claims: tuple[Claim, ...]
    cell: tuple[str, ...] = ("dataset", "architecture")

    def as_json(self) -> dict[str, Any]:
        """JSON value without fields that have their default: what is hashed and written."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def hash(self) -> str:
        """Hash of the canonical JSON: two definitions have the same one when nothing that matters differs."""
        return content_hash(self.as_json())


# --- from core ----------------------------------------------------------------------------------------------------


def define(phenomenon: core.Phenomenon, scale: str) -> Definition:
    """The definition of a phenomenon at one scale; raises UnknownNameError when there is no such scale."""
    protocol = phenomenon.protocol(scale)
    return Definition(
        phenomenon=phenomenon.name,
        version=phenomenon.version,
        scale=scale,
        statement=phenomenon.statement,
        cell=phenomenon.cell,
        factors={
            name: Factor(kind=factor.kind, definition=factor.definition, default=factor.default)
            for name, factor in phenomenon.factors.items()
        },
        quantities={name: _quantity(quantity) for name, quantity in phenomenon.quantities.items()},
        protocol=Protocol(
            grids=tuple(
                Grid(levels=dict(grid.levels), seeds=grid.seeds, settings=dict(grid.settings))
                for grid in protocol.grids
            ),
            settings=dict(protocol.settings),
            looks=protocol.looks,
        ),
        claims=tuple(_claim(claim) for claim in phenomenon.claims),
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _quantity(quantity: core.Quantity) -> Quantity:
    return Quantity(
        definition=quantity.definition,
        unit=quantity.unit,
        low=_finite(quantity.low),
        high=_finite(quantity.high),
        axes=quantity.axes,
        quantum=quantity.quantum,
    )


def _claim(claim: core.Claim) -> Claim:
    return Claim(
        id=claim.id,
        statement=claim.statement,
        effect=_effect(claim.effect),
        holds=Bound(direction=claim.holds.direction, value=claim.holds.value, reason=claim.holds.reason),
        within=claim.within,
        among=dict(claim.among),
        where=tuple(map(_condition, claim.where)),
        keep=tuple(map(_condition, claim.keep)),
        paper=claim.paper,
        headline=claim.headline,
        control=claim.control,
    )


def _condition(condition: core.Condition) -> Condition:
    return Condition(
        quantity=condition.quantity, at_least=_finite(condition.at_least), at_most=_finite(condition.at_most)
    )


def _effect(effect: core.Effect) -> Effect:
    match effect:
        case core.Value(quantity):
            return Value(kind="value", quantity=quantity)
        case core.Contrast(quantity, arms, log):
            return Contrast(
                kind="contrast", quantity=quantity, arms=tuple(_arm(weight, arm) for weight, arm in arms), log=log
            )
        case core.Share(event):
            return Share(kind="share", event=_condition(event))
        case core.RankCorrelation(x, y, along, method, minimum):
            return RankCorrelation(kind="rank-correlation", x=x, y=y, along=along, method=method, minimum=minimum)
        case core.Slope(x, y, along, log, minimum):
            return Slope(kind="slope", x=x, y=y, along=along, log=log, minimum=minimum)


def _arm(weight: float, arm: core.Arm) -> Arm:
    pick = arm.pick
    return Arm(
        weight=weight,
        levels=dict(arm.levels),
        pick=None if pick is None else Pick(by=pick.by, best=pick.best, over=pick.over, scope=pick.scope),
    )


# --- back to core -------------------------------------------------------------------------------------------------


def restore(definition: Definition, source: core.Source) -> core.Phenomenon:
    """The phenomenon that a definition describes: it can be planned and judged, not trained.

    Raises:
        DefinitionError: the definition contradicts itself.
    """
    protocol = core.Protocol(
        grids=tuple(
            core.Grid(levels=grid.levels, seeds=grid.seeds, settings=grid.settings)
            for grid in definition.protocol.grids
        ),
        settings=definition.protocol.settings,
        looks=definition.protocol.looks,
    )
    return core.Phenomenon(
        name=definition.phenomenon,
        version=definition.version,
        statement=definition.statement,
        source=source,
        cell=definition.cell,
        factors={n: core.Factor(f.kind, f.definition, f.default) for n, f in definition.factors.items()},
        quantities={name: _core_quantity(quantity) for name, quantity in definition.quantities.items()},
        protocols={definition.scale: protocol},
        trial=_no_trial,
        claims=tuple(_core_claim(claim) for claim in definition.claims),
    )


def _no_trial(cohort: core.Cohort) -> NoReturn:
    raise NotImplementedError("a record can be judged again, not trained again; take the phenomenon of the catalogue")


def _core_quantity(quantity: Quantity) -> core.Quantity:
    return core.Quantity(
        definition=quantity.definition,
        unit=quantity.unit,
        low=-math.inf if quantity.low is None else quantity.low,
        high=math.inf if quantity.high is None else quantity.high,
        axes=quantity.axes,
        quantum=quantity.quantum,
    )


def _core_claim(claim: Claim) -> core.Claim:
    return core.Claim(
        id=claim.id,
        statement=claim.statement,
        effect=_core_effect(claim.effect),
        holds=core.Bound(claim.holds.direction, claim.holds.value, claim.holds.reason),
        within=claim.within,
        among=claim.among,
        where=_core_conditions(claim.where),
        keep=_core_conditions(claim.keep),
        paper=claim.paper,
        headline=claim.headline,
        control=claim.control,
    )


def _core_conditions(conditions: Sequence[Condition]) -> tuple[core.Condition, ...]:
    return tuple(map(_core_condition, conditions))


def _core_condition(condition: Condition) -> core.Condition:
    return core.Condition(
        condition.quantity,
        -math.inf if condition.at_least is None else condition.at_least,
        math.inf if condition.at_most is None else condition.at_most,
    )


def _core_effect(effect: Effect) -> core.Effect:
    match effect:
        case Value():
            return core.Value(effect.quantity)
        case Contrast():
            return core.Contrast(effect.quantity, tuple(map(_core_arm, effect.arms)), effect.log)
        case Share():
            return core.Share(_core_condition(effect.event))
        case RankCorrelation():
            return core.RankCorrelation(effect.x, effect.y, effect.along, effect.method, effect.minimum)
        case Slope():
            return core.Slope(effect.x, effect.y, effect.along, effect.log, effect.minimum)


def _core_arm(arm: Arm) -> tuple[float, core.Arm]:
    pick = arm.pick
    chosen = None if pick is None else core.Pick(pick.by, pick.best, pick.over, pick.scope)
    return arm.weight, core.Arm(arm.levels, chosen)
