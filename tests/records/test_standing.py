"""Were the claims registered before the first trial, and are they unchanged?"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from recorded import CLAIMS, make_claim, phenomenon, with_bound, with_claim, with_protocol

from refute.core import Phenomenon, Value, at_least
from refute.records.definition import define
from refute.records.registration import Registration, make_entry
from refute.records.standing import Standing, standing

TOY = phenomenon()
CHANGED = with_bound(TOY, "value", 0.3)


def hour(number: int) -> datetime:
    return datetime(2026, 1, 1, number, tzinfo=UTC)


def registered(*versions: tuple[int, Phenomenon]) -> tuple[Registration, ...]:
    entries: list[Registration] = []
    for at, version in versions:
        entries.append(make_entry(define(version, "smoke"), entries, hour(at), "0"))
    return tuple(entries)


def stands(now: Phenomenon, entries: Sequence[Registration], first: int | None, times: Sequence[int] = ()) -> Standing:
    return standing(
        now, "smoke", entries, None if first is None else hour(first).isoformat(), [hour(t).isoformat() for t in times]
    )


def test_not_registered() -> None:
    found = stands(TOY, (), 5)
    assert (found.kind, found.sentence, found.registered) == ("unregistered", "not registered", None)
    assert len(found.claims) == len(CLAIMS)


def test_before_the_first_trial() -> None:
    entries = registered((1, TOY))
    found = stands(TOY, entries, 5)
    assert found.sentence == "registered before the first trial (2026-01-01 01:00:00 UTC)"
    assert found.registration_hash == entries[0].hash
    assert all(one.unchanged and one.kind == "registered" for one in found.claims)
    assert stands(TOY, entries, None).sentence == "registered and no trial is stored yet (2026-01-01 01:00:00 UTC)"


def test_after_trials_had_been_stored() -> None:
    found = stands(TOY, registered((5, TOY)), 3, times=(3, 4, 4, 6))
    assert found.kind == "late"
    assert found.sentence == (
        "registered after 3 trials had been stored (2026-01-01 05:00:00 UTC; first trial 2026-01-01 03:00:00 UTC)"
    )
    assert found.claims[0].unchanged
    assert "after trials had" in stands(TOY, registered((5, TOY)), 3).sentence


def test_a_changed_bound_is_named_and_stays_so_when_it_is_registered_again() -> None:
    found = stands(CHANGED, registered((1, TOY)), 5)
    assert found.kind == "changed"
    assert found.sentence == "changed after registration: bound of claim value: 0.5 -> 0.3"
    assert found.of("rank").kind == "registered"
    again = stands(CHANGED, registered((1, TOY), (6, CHANGED)), 5)
    assert again.kind == "changed"
    assert again.sentence.endswith("0.5 -> 0.3 (registered 2026-01-01 06:00:00 UTC, after the first trial)")
    assert not again.of("value").unchanged


def test_a_change_before_the_first_trial_counts_as_registered_and_is_listed() -> None:
    found = stands(CHANGED, registered((1, TOY), (2, CHANGED)), 5)
    assert found.kind == "registered"
    assert [change.in_words() for change in found.history[0].changes] == ["bound of claim value: 0.5 -> 0.3"]


def test_a_bound_that_went_there_and_back_stays_visible() -> None:
    found = stands(TOY, registered((1, TOY), (6, CHANGED), (7, TOY)), 5)
    assert found.kind == "registered"
    assert [len(revision.changes) for revision in found.history] == [1, 1]
    back = stands(TOY, registered((1, TOY), (2, CHANGED)), 5)
    assert back.sentence == "changed after registration: bound of claim value: 0.3 -> 0.5"


def test_claims_that_were_added_or_dropped_after_the_data() -> None:
    more = replace(TOY, claims=(*CLAIMS, make_claim("new", Value("height"), at_least(0, reason="r"))))
    found = stands(more, registered((1, TOY)), 5)
    assert found.of("new").kind == "unregistered"
    assert found.of("new").sentence == "not registered: added after the registration of 2026-01-01 01:00:00 UTC"
    assert found.of("value").kind == "registered"
    assert stands(more, registered((1, TOY), (6, more)), 5).of("new").kind == "late"
    dropped = stands(TOY, registered((1, more)), 5)
    assert (dropped.kind, dropped.sentence) == ("changed", "changed after registration: claim new removed")
    assert dropped.of("value").kind == "registered"


def test_more_seeds_after_the_data_change_every_claim() -> None:
    first, second = TOY.protocols["smoke"].grids
    found = stands(with_protocol(TOY, grids=(replace(first, seeds=9), second)), registered((1, TOY)), 5)
    assert {one.sentence for one in found.claims} == {"changed after registration: seeds of grid 1: 6 -> 9"}


def test_changed_words_are_called_words() -> None:
    found = stands(with_claim(TOY, "value", statement="Other."), registered((1, TOY)), 5)
    assert found.of("value").kind == "changed"
    assert found.sentence.endswith("(only words, nothing that the judge uses)")


def test_another_order_of_the_claims_changes_none() -> None:
    assert stands(replace(TOY, claims=CLAIMS[::-1]), registered((1, TOY)), 5).kind == "registered"
