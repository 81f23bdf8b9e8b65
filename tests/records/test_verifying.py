"""An altered record, row or bound is found out, also by one who knows how the hashes are made."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded import BEFORE, keep, phenomenon, run, with_bound

from refute.core import Outcome, Phenomenon
from refute.errors import StoreError, UsageError
from refute.evidence import read_evidence
from refute.records.canonical import content_hash
from refute.records.definition import Definition
from refute.records.making import first_trial_time, hash_of, make_record
from refute.records.registration import path_of, read_registrations, register
from refute.records.standing import standing
from refute.records.verifying import Check, differences, verify

TOY = phenomenon()
NAMES = ["schema", "content hash", "protocol and claims", "rows", "judged again", "catalogue", "registration"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registration, a lab, evidence and a record that belong together."""
    folder = tmp_path_factory.mktemp("world")
    register(TOY, "smoke", folder / "registrations", time=BEFORE)
    outcome = run(TOY, folder / "lab")
    keep(outcome, folder / "evidence", folder / "registrations")
    write(folder / "record.json", outcome, folder / "registrations")
    return folder


def write(path: Path, outcome: Outcome, registrations: Path) -> None:
    entries = read_registrations(path_of("toy", "smoke", registrations))
    stands = standing(outcome.phenomenon, "smoke", entries, first_trial_time(outcome))
    record = make_record(outcome, stands, rows_file="evidence/rows.parquet")
    path.write_text(json.dumps(record), encoding="utf-8")


def checked(
    world: Path, path: Path | None = None, current: Phenomenon | None = TOY, **options: Any
) -> tuple[Check, ...]:
    options = {"registrations": world / "registrations", **options}
    return verify(path or world / "record.json", current=lambda name: current, **options)


def failed(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def altered(world: Path, change: Callable[[Any], None], *, forge: bool) -> Path:
    """A copy of the record beside it; a forger makes every hash of the document anew."""
    record = json.loads((world / "record.json").read_text(encoding="utf-8"))
    change(record)
    if forge:
        record["definition_hash"] = Definition.model_validate_json(json.dumps(record["definition"])).hash
        record["content_hash"] = hash_of(record)
    path = world / "altered.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_a_sound_record_passes_every_check(world: Path) -> None:
    checks = checked(world)
    assert [check.name for check in checks] == NAMES
    assert failed(checks) == []
    assert "the same 9 verdicts" in checks[4].says
    assert "before the first trial" in checks[6].says


def test_rows_may_come_from_lab_or_another_folder(world: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.json"
    moved.write_bytes((world / "record.json").read_bytes())
    assert failed(checked(world, moved)) == ["rows"]
    assert failed(checked(world, moved, evidence=world / "evidence")) == []
    assert failed(checked(world, moved, lab=world / "lab")) == []
    (nowhere,) = [one for one in checked(world, moved, lab=tmp_path / "none") if not one.ok]
    assert "there is no lab" in nowhere.says


def every_number(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for name, part in value.items() for found in every_number(part, (*path, name))]
    if isinstance(value, list):
        return [found for position, part in enumerate(value) for found in every_number(part, (*path, position))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_any_one_altered_number_breaks_the_content_hash(world: Path) -> None:
    record = json.loads((world / "record.json").read_text(encoding="utf-8"))
    paths = every_number(record)
    assert len(paths) > 500
    for path in paths:
        holder = record
        for name in path[:-1]:
            holder = holder[name]
        kept = holder[path[-1]]
        holder[path[-1]] = kept + 1 if isinstance(kept, int) else math.nextafter(kept, math.inf)
        assert hash_of(record) != record["content_hash"], path
        holder[path[-1]] = kept
    assert hash_of(record) == record["content_hash"]


def effect(record: Any) -> None:
    record["verdicts"][0]["cells"][0]["effect"] += 1e-6


def interval(record: Any) -> None:
    record["verdicts"][1]["cells"][0]["interval"]["low"] += 1e-6


def seeds(record: Any) -> None:
    record["verdicts"][2]["cells"][0]["n"] += 1


def direction(record: Any) -> None:
    record["verdicts"][1]["direction"] = "supported"


def strength(record: Any) -> None:
    record["verdicts"][1]["forrt"]["confidence_term"] = "VeryHighConfidence"


def rating(record: Any) -> None:
    record["verdicts"][1]["claim_review"]["reviewRating"]["ratingValue"] = 5


def bound(record: Any) -> None:
    record["definition"]["claims"][0]["holds"]["value"] = 0.4


def planned(record: Any) -> None:
    record["definition"]["protocol"]["grids"][0]["seeds"] = 5


def trials(record: Any) -> None:
    record["rows"]["trials"] -= 1


def digest(record: Any) -> None:
    record["rows"]["digest"] = content_hash("other rows")


def dropped(record: Any) -> None:
    del record["verdicts"][0]


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        (effect, ["judged again"]),
        (interval, ["judged again"]),
        (seeds, ["judged again"]),
        (direction, ["judged again"]),
        (strength, ["judged again"]),
        (rating, ["judged again"]),
        (dropped, ["judged again"]),
        (bound, ["judged again", "catalogue", "registration"]),
        (planned, ["rows", "judged again", "catalogue", "registration"]),
        (trials, ["rows"]),
        (digest, ["rows"]),
    ],
)
def test_alterations_are_caught_with_and_without_new_hashes(
    world: Path, change: Callable[[Any], None], caught: list[str]
) -> None:
    plain = failed(checked(world, altered(world, change, forge=False)))
    assert plain[0] == "content hash"
    assert failed(checked(world, altered(world, change, forge=True))) == caught


def test_a_whole_new_record_with_another_bound_is_caught_by_catalogue_and_registration(world: Path) -> None:
    changed = with_bound(TOY, "value", 0.3)
    path = world / "other.json"
    write(path, run(changed, world / "lab"), world / "registrations")
    checks = checked(world, path)
    assert failed(checks) == ["catalogue"]
    assert "bound of claim value: 0.3 -> 0.5" in checks[5].says
    assert "changed after registration: bound of claim value: 0.5 -> 0.3" in checks[6].says


def test_a_record_of_an_older_version_or_another_catalogue_stands_on_its_own(world: Path) -> None:
    for current in (replace(with_bound(TOY, "value", 0.3), version=2), None):
        checks = checked(world, current=current)
        assert failed(checks) == []
        assert checks[5].says.startswith("not compared")


def test_an_altered_row_is_caught(world: Path, tmp_path: Path) -> None:
    outcome = run(TOY, world / "lab")
    key = outcome.trials[0].key
    results = {key: outcome.results[key] for key in outcome.results}
    results[key] = replace(results[key], values={"height": results[key].values["height"] + 1e-6})
    keep(replace(outcome, results=results), tmp_path / "other", world / "registrations")
    assert failed(checked(world, evidence=tmp_path / "other")) == ["rows", "judged again"]
    del results[key]
    keep(replace(outcome, results=results), tmp_path / "fewer", world / "registrations")
    assert "rows" in failed(checked(world, evidence=tmp_path / "fewer"))


def test_altered_bytes_of_the_rows_are_caught(world: Path, tmp_path: Path) -> None:
    keep(run(TOY, world / "lab"), tmp_path, world / "registrations")
    content = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(content[:-1])
    (rows,) = [check for check in checked(world, evidence=tmp_path) if not check.ok]
    assert rows.name == "rows"
    assert "is damaged" in rows.says


def better_standing(record: Any) -> None:
    record["registration"]["first_trial"] = "2099-01-01T00:00:00+00:00"


def unknown_registration(record: Any) -> None:
    record["registration"]["registration_hash"] = content_hash("none")


@pytest.mark.parametrize("change", [better_standing, unknown_registration])
def test_a_forged_registration_is_caught(world: Path, change: Callable[[Any], None]) -> None:
    assert failed(checked(world, altered(world, change, forge=True))) == ["registration"]


def test_a_claim_that_says_it_was_registered_but_was_not_is_caught(world: Path, tmp_path: Path) -> None:
    late = tmp_path / "registrations"
    entry = register(TOY, "smoke", late).registration

    def claims_to_be_registered(record: Any) -> None:
        record["registration"] |= {"registration_hash": entry.hash, "first_trial": "2019-01-01T00:00:00+00:00"}

    checks = checked(world, altered(world, claims_to_be_registered, forge=True), registrations=late)
    assert failed(checks) == ["registration"]
    assert "value: registered in the record, late by" in checks[6].says


def test_without_the_registration_file_it_is_not_compared(world: Path, tmp_path: Path) -> None:
    checks = checked(world, registrations=tmp_path)
    assert failed(checks) == []
    assert "not compared" in checks[6].says


def test_another_form_fails_and_says_where(world: Path) -> None:
    def spoil(record: Any) -> None:
        record["rows"]["trials"] = "many"

    checks = checked(world, altered(world, spoil, forge=False))
    assert [check.name for check in checks] == ["schema", "content hash"]
    assert "rows.trials" in checks[0].says


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_what_is_not_json_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not JSON"):
        verify(path)


def test_other_json_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for content in ("[]", "1", "{}", '{"content_hash": 1e999}'):
        path.write_text(content)
        assert failed(verify(path))[0] == "schema"
    with pytest.raises(UsageError, match="No such file"):
        verify(tmp_path / "none.json")


def test_numbers_may_differ_by_rounding_only() -> None:
    assert list(differences({"a": [1.0, None]}, {"a": [1.0 + 1e-12, None]})) == []
    assert list(differences({"a": 1.0}, {"a": 1.0 + 1e-8})) == ["a: 1.0 in the record, 1.00000001 when judged again"]
    assert list(differences([True], [1])) == ["[0]: true in the record, 1 when judged again"]
    assert len(list(differences([1, 2], [1]))) == 1
    assert list(differences({"sentence": "a"}, {"sentence": "b"})) == []


def test_evidence_whose_parts_do_not_belong_together_is_not_read(world: Path, tmp_path: Path) -> None:
    outcome = run(TOY, world / "lab")
    found = read_evidence(TOY, world / "evidence")
    assert found.verdicts == outcome.verdicts
    assert found.provenance == outcome.provenance
    assert all("registered before the first trial" in sentence for sentence in found.standing.values())
    assert found.standing.keys() == {claim.id for claim in TOY.claims}
    with pytest.raises(StoreError, match="holds toy version 1; expected toy version 2"):
        read_evidence(replace(TOY, version=2), world / "evidence")
    with pytest.raises(StoreError, match="holds no evidence"):
        read_evidence(TOY, tmp_path)
    key = outcome.trials[0].key
    less = replace(outcome, results={other: result for other, result in outcome.results.items() if other != key})
    keep(less, tmp_path, world / "registrations")
    (tmp_path / "record.json").write_bytes((world / "evidence" / "record.json").read_bytes())
    with pytest.raises(StoreError, match=r"does not hold the rows.*expected sha256:\w+, sha256:\w+ came; restore"):
        read_evidence(TOY, tmp_path)
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(StoreError, match=r"is no record .format: Field required.; restore it"):
        read_evidence(TOY, tmp_path)
