"""A toy phenomenon with every kind of effect, run for real, and ways to change it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conftest import make_phenomenon

from refute import flow
from refute.core import (
    Arm,
    Bound,
    Claim,
    Condition,
    Contrast,
    Grid,
    Outcome,
    Phenomenon,
    Pick,
    Protocol,
    RankCorrelation,
    Share,
    Slope,
    Value,
    at_least,
    at_most,
    difference,
    log_ratio,
    within,
)
from refute.evidence import write_evidence
from refute.records.making import first_trial_time
from refute.records.registration import path_of, read_registrations
from refute.records.standing import standing

BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
"""A time before every trial of these tests."""
SHIFTS = (1.0, 2.0, 3.0, 4.0)


def make_claim(name: str, effect: Any, holds: Bound, **changes: Any) -> Claim:
    fields = {"id": name, "statement": f"Statement {name}.", "within": ("kind",), "effect": effect, "holds": holds}
    return Claim(**{**fields, **changes})


PICKED = Contrast(
    "height",
    (
        (1.0, Arm({}, Pick("height", "highest", ("shift",)))),
        (-0.5, Arm({}, Pick("height", "lowest", ("shift",), "mean"))),
    ),
)
CLAIMS = (
    make_claim("value", Value("height"), at_least(0.5, reason="half"), within=("kind", "shift"), headline=True),
    make_claim("difference", difference("height", "shift", 1.0, 2.0), at_least(0.5, reason="half")),
    make_claim("ratio", log_ratio("height", "shift", 1.0, 4.0), at_least(1.0, reason="e"), among={"kind": ("plus",)}),
    make_claim("picked", PICKED, at_most(0.0, reason="none"), control=True, paper="3 [recalled]"),
    make_claim("share", Share(Condition("height", 0.5)), at_least(0.4, reason="some"), within=("kind", "shift")),
    make_claim("rank", RankCorrelation("shift", "height", ("shift",)), at_least(0.8, reason="most")),
    make_claim("kendall", RankCorrelation("shift", "height", ("shift",), "kendall"), at_least(0.8, reason="most")),
    make_claim("slope", Slope("shift", "height", ("shift",)), within(0.5, reason="flat")),
    make_claim(
        "filtered",
        Value("height"),
        at_least(0.5, reason="half"),
        within=("shift",),
        among={"kind": ("plus",), "shift": (1.0, 2.0)},
        where=(Condition("height", 0.5, 5.0),),
        keep=(Condition("height", at_most=9.0),),
    ),
)


def phenomenon(**changes: Any) -> Phenomenon:
    """The toy with these claims, six seeds of each shift; one level diverges."""
    grids = (
        Grid(levels={"kind": ("plus", "minus"), "shift": SHIFTS}, seeds=6, settings={"steps": 3}),
        Grid(levels={"kind": ("plus",), "shift": (101.0,)}, seeds=3),
    )
    fields = {
        "claims": CLAIMS,
        "protocols": {"smoke": Protocol(grids=grids, settings={"rate": 0.5}, looks=(6,), cohort=4)},
    }
    return make_phenomenon(**{**fields, **changes})


def run(toy: Phenomenon, lab: Path) -> Outcome:
    """Train the toy in this process."""
    return flow.run(toy, scale="smoke", lab=lab, workers=0)


def with_claim(toy: Phenomenon, name: str, **changes: Any) -> Phenomenon:
    """The same phenomenon with another version of one claim."""
    return replace(toy, claims=tuple(replace(one, **changes) if one.id == name else one for one in toy.claims))


def with_bound(toy: Phenomenon, name: str, value: float) -> Phenomenon:
    """The same phenomenon with another bound of one claim."""
    (claim,) = [one for one in toy.claims if one.id == name]
    return with_claim(toy, name, holds=replace(claim.holds, value=value))


def with_protocol(toy: Phenomenon, **changes: Any) -> Phenomenon:
    """The same phenomenon with another protocol."""
    return replace(toy, protocols={"smoke": replace(toy.protocols["smoke"], **changes)})


def keep(outcome: Outcome, folder: Path, registrations: Path) -> None:
    """Write the evidence of an outcome of the toy."""
    phenomenon, scale = outcome.phenomenon, outcome.scale
    entries = read_registrations(path_of(phenomenon.name, scale, registrations))
    write_evidence(outcome, standing(phenomenon, scale, entries, first_trial_time(outcome)), folder)
