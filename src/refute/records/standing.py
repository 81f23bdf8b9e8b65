"""Standing: were the claims of a verdict, unchanged, registered before the first trial?

What counts is the registration in force when the first trial was stored: the last one not later than it. A claim that
is the same there and now was registered before; whatever changed afterwards is named, and registering the change again
does not undo it. Every change between registrations stays listed, also those made before the first trial.
"""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from refute.core import Claim, Phenomenon
from refute.records.changes import Change, changes
from refute.records.definition import Definition, define
from refute.records.registration import Registration

Kind = Literal["registered", "late", "changed", "unregistered"]
"""registered: before the first trial and unchanged; late: unchanged, but after the first trial."""

WORST_LAST: tuple[Kind, ...] = ("registered", "late", "unregistered", "changed")
CHANGES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What one registration changed against the one before it."""

    time: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimStanding:
    """The standing of one claim."""

    claim: str
    kind: Kind
    sentence: str
    changes: tuple[Change, ...] = ()
    """Between the registration in force and now, those of the protocol included."""

    @property
    def unchanged(self) -> bool:
        """Whether the claim was registered and is now as it was then."""
        return self.kind in ("registered", "late")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The standing of all claims of a phenomenon at one scale; `kind` and `sentence` are those of the worst."""

    kind: Kind
    sentence: str
    registered: str | None
    """Time of the registration in force, ISO 8601; None when there is none."""
    registration_hash: str | None
    first_trial: str | None
    """Time of the first stored trial; None when none is stored."""
    claims: tuple[ClaimStanding, ...]
    history: tuple[Revision, ...] = ()
    """Every later registration with what it changed."""

    def of(self, claim: str) -> ClaimStanding:
        """The standing of a claim by its identifier."""
        return next(one for one in self.claims if one.claim == claim)


def standing(
    phenomenon: Phenomenon,
    scale: str,
    registrations: Sequence[Registration],
    first_trial_time: str | None,
    trial_times: Iterable[str] = (),
) -> Standing:
    """The standing of the present claims.

    Args:
        phenomenon: as it is now.
        scale: whose protocol was run.
        registrations: of that phenomenon and scale, the oldest first (see `read_registrations`).
        first_trial_time: ISO 8601, of the first stored trial of the protocol; None when none is stored.
        trial_times: of all stored trials, where they are known: how many came before a late registration is then said.
    """
    present = define(phenomenon, scale)
    first = None if first_trial_time is None else moment(first_trial_time)
    in_time = [one for one in registrations if first is None or one.time <= first]
    since = registrations[max(len(in_time) - 1, 0) :]
    in_force = since[0] if since else None
    times = [moment(time) for time in trial_times]
    claims = tuple(_claim_standing(claim, present, since, first, times) for claim in phenomenon.claims)
    if in_force is not None:
        claims += _dropped(in_force, {claim.id for claim in phenomenon.claims})
    worst = max(claims, key=lambda one: WORST_LAST.index(one.kind))
    return Standing(
        kind=worst.kind,
        sentence=worst.sentence,
        registered=None if in_force is None else in_force.time.isoformat(),
        registration_hash=None if in_force is None else in_force.hash,
        first_trial=first_trial_time,
        claims=claims,
        history=tuple(
            Revision(time=later.time.isoformat(), changes=changes(earlier.definition, later.definition))
            for earlier, later in itertools.pairwise(registrations)
        ),
    )


def _claim_standing(
    claim: Claim,
    present: Definition,
    since: Sequence[Registration],
    first: datetime | None,
    times: Sequence[datetime],
) -> ClaimStanding:
    """The standing of one claim; `since` holds the registration in force and those after it."""
    if not since:
        return ClaimStanding(claim=claim.id, kind="unregistered", sentence="not registered")
    in_force = since[0]
    found = _touching(claim, changes(in_force.definition, present))
    added = any(change.claim == claim.id and not change.field for change in found)
    same = next((one for one in since if not _touching(claim, changes(one.definition, present))), None)
    if not found and (first is None or in_force.time <= first):
        when = "before the first trial" if first else "and no trial is stored yet"
        sentence = f"registered {when} ({_said(in_force.time)})"
        return ClaimStanding(claim=claim.id, kind="registered", sentence=sentence)
    if same is not None and (added or not found):
        return ClaimStanding(claim=claim.id, kind="late", sentence=_late(same.time, first, times), changes=found)
    if added:
        sentence = f"not registered: added after the registration of {_said(in_force.time)}"
        return ClaimStanding(claim=claim.id, kind="unregistered", sentence=sentence, changes=found)
    return ClaimStanding(claim=claim.id, kind="changed", sentence=_changed(found, same), changes=found)


def _dropped(in_force: Registration, present: Collection[str]) -> tuple[ClaimStanding, ...]:
    """Claims that were registered and are not there any more."""
    gone = [claim.id for claim in in_force.definition.claims if claim.id not in present]
    return tuple(
        ClaimStanding(claim=name, kind="changed", sentence=f"changed after registration: claim {name} removed")
        for name in gone
    )


def _touching(claim: Claim, found: Sequence[Change]) -> tuple[Change, ...]:
    """The changes that concern a claim: its own, those of quantities that it uses, and those of the protocol."""
    used = {f"quantity {name}" for name in claim.quantities()}
    return tuple(
        change
        for change in found
        if change.claim == claim.id
        or change.item in used
        or (not change.item.startswith(("claim ", "quantity ")) and not change.field.startswith("order of"))
    )


def _late(registered: datetime, first: datetime | None, times: Sequence[datetime]) -> str:
    count = sum(time < registered for time in times)
    stored = f"{count} trials" if count else "trials"
    started = "" if first is None else f"; first trial {_said(first)}"
    return f"registered after {stored} had been stored ({_said(registered)}{started})"


def _changed(found: Sequence[Change], again: Registration | None) -> str:
    words = [change.in_words() for change in found]
    more = f" and {len(words) - CHANGES_SHOWN} more" if len(words) > CHANGES_SHOWN else ""
    only_words = " (only words, nothing that the judge uses)" if all(change.only_words for change in found) else ""
    later = f" (registered {_said(again.time)}, after the first trial)" if again else ""
    return f"changed after registration: {'; '.join(words[:CHANGES_SHOWN])}{more}{only_words}{later}"


def _said(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def moment(time: str) -> datetime:
    """The time that an ISO 8601 text names; without a zone it is UTC."""
    named = datetime.fromisoformat(time)
    return named if named.tzinfo else named.replace(tzinfo=UTC)
