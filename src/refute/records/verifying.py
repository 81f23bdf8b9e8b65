"""Is a record what it says? Schema, hashes, rows, and the verdicts judged again from the rows.

The claims that are judged again are those of the record itself, so a record can be verified when the catalogue has
moved on; whether they are those of the catalogue and of the registration is a check of its own.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from refute import core
from refute.engine import plan
from refute.errors import RefuteError, UsageError
from refute.judge import judge
from refute.records.changes import changes
from refute.records.definition import define, restore
from refute.records.document import Record
from refute.records.making import as_json, hash_of, verdicts_of
from refute.records.registration import FOLDER, path_of, read_registrations
from refute.records.rows import rows_digest
from refute.records.standing import WORST_LAST, ClaimStanding, moment, standing
from refute.store import Store, read_rows
from refute.store.files import reason

TOLERANCE = 1e-9
"""By how much a number judged again may differ, relative to it or to 1: other versions of scipy round otherwise."""

WORDING = frozenset({"sentence", "reason", "notes", "in_words", "ratingExplanation", "registration"})
"""Parts of a verdict that the content hash covers and that judging again need not give to the letter."""

SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One line of a verification."""

    name: str
    ok: bool
    says: str


@dataclass(frozen=True)
class Rows:
    """Stored results and the plan that they belong to."""

    trials: tuple[core.Trial, ...]
    results: core.Results
    first_trial: str | None
    """When the first of them was stored."""


def read_document(path: Path) -> Any:
    """The JSON value of a file; raises UsageError when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except OSError as error:
        raise UsageError(f"the record {path} can't be read: the system says '{reason(error)}'; name another") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); restore it or make it again with refute record") from error


def verify(
    path: Path,
    *,
    evidence: Path | None = None,
    lab: Path | None = None,
    registrations: Path = FOLDER,
    current: Callable[[str], core.Phenomenon | None] = lambda name: None,  # noqa: ARG005
) -> tuple[Check, ...]:
    """Check a record; it is what it says when every check is ok.

    Args:
        path: the record.
        evidence: folder with rows.parquet; by default the one that the record names.
        lab: folder of a lab whose results are taken instead.
        registrations: folder of the registration files.
        current: the phenomenon of that name as it stands now; None when there is none.

    Raises:
        UsageError: the file is missing or not JSON.
    """
    value = read_document(path)
    try:
        record = Record.model_validate_json(json.dumps(value))
    except ValidationError as error:
        return (Check("schema", False, _first_error(error)), *_hashes(value))
    checks = [Check("schema", True, "the document has the form of its JSON Schema"), *_hashes(value)]
    checks.append(_definition_hash(record))
    try:
        phenomenon = restore(record.definition, core.Source(**record.source.model_dump()))
        rows = _rows(record, phenomenon, path, evidence, lab)
    except RefuteError as error:
        return (*checks, Check("rows", False, str(error)))
    return (
        *checks,
        _rows_check(record, rows),
        _judged_again(value, record, phenomenon, rows),
        _catalogue(record, current(record.definition.phenomenon)),
        _registration(record, phenomenon, registrations, rows.first_trial),
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"JSON has no {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ: which of two equal ones counts would depend on the reader."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _first_error(error: ValidationError) -> str:
    errors = error.errors()
    listed = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'document'}: {one['msg']}" for one in errors[:SHOWN])
    return listed + (f" and {len(errors) - SHOWN} more" if len(errors) > SHOWN else "")


def _hashes(value: Any) -> Iterator[Check]:
    if not isinstance(value, dict):
        return
    try:
        came = hash_of(value)
    except ValueError as error:
        yield Check("content hash", False, str(error))
        return
    expected = value.get("content_hash")
    yield (
        Check("content hash", True, came)
        if came == expected
        else Check("content hash", False, f"the document was altered: it names {expected}, its content has {came}")
    )


def _definition_hash(record: Record) -> Check:
    came = record.definition.hash
    if came == record.definition_hash:
        return Check("protocol and claims", True, came)
    return Check("protocol and claims", False, f"altered: named {record.definition_hash}, they have {came}")


# --- rows ---------------------------------------------------------------------------------------------------------


def _rows(record: Record, phenomenon: core.Phenomenon, path: Path, evidence: Path | None, lab: Path | None) -> Rows:
    trials = plan(phenomenon, record.definition.scale)
    if lab is not None:
        if not lab.exists():
            raise UsageError(f"there is no lab at {lab}; name another with --lab, or rows with --evidence")
        store = Store(lab)
        times = [made.created for made in store.provenance(trials)]
        return Rows(trials, store.results(trials), min(times, default=None))
    if evidence is None and record.rows.file is None:
        raise UsageError("the record names no file of rows; say where they are with --evidence or --lab")
    file = path.parent / str(record.rows.file) if evidence is None else evidence / "rows.parquet"
    return Rows(trials, read_rows(file), min((made.created for made in record.environments), default=None))


def _rows_check(record: Record, rows: Rows) -> Check:
    came = rows_digest((trial.key for trial in rows.trials), rows.results)
    counts = {
        "planned trials": (record.rows.planned, len(rows.trials)),
        "stored trials": (record.rows.trials, len(rows.results)),
        "diverged trials": (record.rows.diverged, sum(result.diverged for result in rows.results.values())),
    }
    wrong = [f"{name}: {said} in the record, {found} found" for name, (said, found) in counts.items() if said != found]
    if came != record.rows.digest:
        wrong.append(f"digest {record.rows.digest} in the record, {came} found")
    return Check("rows", not wrong, "; ".join(wrong) or f"{len(rows.results)} trials, {came}")


def _judged_again(value: Mapping[str, Any], record: Record, phenomenon: core.Phenomenon, rows: Rows) -> Check:
    try:
        verdicts = judge(phenomenon, rows.trials, rows.results, record.rows.looks)
    except RefuteError as error:
        return Check("judged again", False, str(error))
    again = as_json(verdicts_of(verdicts, phenomenon.source, _not_compared))
    found = list(differences(value["verdicts"], again))
    if not found:
        cells = sum(len(verdict.cells) for verdict in verdicts)
        return Check("judged again", True, f"the same {len(verdicts)} verdicts in {cells} cells")
    return Check("judged again", False, _listed(found))


def _not_compared(claim: str) -> ClaimStanding:
    return ClaimStanding(claim=claim, kind="unregistered", sentence="")


def _listed(found: Sequence[str]) -> str:
    return "; ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def differences(said: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where two JSON values differ: numbers by more than the tolerance, everything else at all; wording is left out."""
    match said, found:
        case (bool(), _) | (_, bool()):
            same = said is found
        case (int() | float(), int() | float()):
            same = math.isclose(said, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        case dict(), dict():
            for name in dict.fromkeys((*said, *found)):
                if name not in WORDING:
                    yield from differences(said.get(name), found.get(name), f"{where}.{name}".lstrip("."))
            return
        case list(), list() if len(said) == len(found):
            for number, (one, other) in enumerate(zip(said, found, strict=True)):
                yield from differences(one, other, f"{where}[{_name(one, number)}]")
            return
        case _:
            same = said == found
    if not same:
        yield f"{where}: {_short(said)} in the record, {_short(found)} when judged again"


def _name(item: Any, number: int) -> str:
    return str(item["claim"]) if isinstance(item, dict) and "claim" in item else str(number)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- what else there is to compare with ---------------------------------------------------------------------------


def _catalogue(record: Record, phenomenon: core.Phenomenon | None) -> Check:
    name, said = "catalogue", record.definition
    if phenomenon is None:
        return Check(name, True, f"not compared: {said.phenomenon} is not in this catalogue")
    if phenomenon.version != said.version:
        return Check(name, True, f"not compared: the record is of version {said.version}, here is {phenomenon.version}")
    if said.scale not in phenomenon.protocols:
        return Check(name, False, f"{said.phenomenon} has no scale '{said.scale}'")
    found = [change.in_words() for change in changes(said, define(phenomenon, said.scale))]
    if not found:
        return Check(name, True, f"protocol and claims are those of version {said.version}")
    return Check(name, False, f"not those of version {said.version} here: {_listed(found)}")


def _registration(record: Record, phenomenon: core.Phenomenon, folder: Path, first_trial: str | None) -> Check:
    """Whether the standing that the record claims is no better than what file and rows say."""
    name, said = "registration", record.registration
    if first_trial and (said.first_trial is None or moment(first_trial) < moment(said.first_trial)):
        return Check(name, False, f"the first trial was stored at {first_trial}, the record says {said.first_trial}")
    if said.registration_hash is None:
        return Check(name, True, said.sentence)
    path = path_of(phenomenon.name, record.definition.scale, folder)
    try:
        entries = read_registrations(path)
    except RefuteError as error:
        return Check(name, False, str(error))
    if not entries:
        return Check(name, True, f"not compared: there is no {path}")
    if all(entry.hash != said.registration_hash for entry in entries):
        return Check(name, False, f"{path} holds no registration {said.registration_hash}")
    found = standing(phenomenon, record.definition.scale, entries, said.first_trial)
    better = [
        f"{verdict.claim}: {verdict.registration.kind} in the record, {found.of(verdict.claim).kind} by {path}"
        for verdict in record.verdicts
        if WORST_LAST.index(verdict.registration.kind) < WORST_LAST.index(found.of(verdict.claim).kind)
    ]
    return Check(name, not better, _listed(better) or said.sentence)
