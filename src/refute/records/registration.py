"""Registration: protocol and claims, written down before the runs in a file that is meant to be committed.

The file is only ever added to. Each registration carries the hash of the one before, so that an altered or removed one
breaks the chain; the commit that holds the file is the witness that it was not made up as a whole later on.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from refute.core import Phenomenon
from refute.environment import provenance
from refute.errors import StoreError
from refute.records.canonical import content_hash
from refute.records.changes import Change, changes
from refute.records.definition import Definition, Strict, define
from refute.store.files import reason, write_whole

FOLDER = Path("registrations")


class Registration(Strict):
    """One entry: the definition as it stood at a time."""

    time: datetime
    """UTC, by the clock of the machine that registered."""
    code_version: str
    definition_hash: str
    """SHA-256 of the canonical JSON of `definition`."""
    previous: str | None
    """`hash` of the entry before; null for the first."""
    definition: Definition
    hash: str
    """SHA-256 of the canonical JSON of all other fields."""


class RegistrationFile(Strict):
    """All registrations of a phenomenon at one scale, the oldest first."""

    format: Literal["refute registrations 1"]
    phenomenon: str
    scale: str
    registrations: tuple[Registration, ...]


class Registered(NamedTuple):
    """What registering did."""

    path: Path
    registration: Registration
    """The entry that now stands for the present definition."""
    added: bool
    """False when the last entry already said the same."""
    changes: tuple[Change, ...]
    """Against the entry before."""


def path_of(phenomenon: str, scale: str, folder: Path = FOLDER) -> Path:
    """Where the registrations of a phenomenon at one scale are kept."""
    return folder / f"{phenomenon}-{scale}.json"


def register(phenomenon: Phenomenon, scale: str, folder: Path = FOLDER, *, time: datetime | None = None) -> Registered:
    """Add the present protocol and claims to the file; nothing is added when the last entry is the same.

    Args:
        phenomenon: as it is now.
        scale: whose protocol is registered.
        folder: of the registration files.
        time: of the registration; now by default.

    Raises:
        StoreError: the file is damaged, or can't be written.
    """
    path, definition = path_of(phenomenon.name, scale, folder), define(phenomenon, scale)
    before = read_registrations(path)
    if before and before[-1].definition_hash == definition.hash:
        return Registered(path, before[-1], False, ())
    entry = make_entry(definition, before, time or datetime.now(UTC), provenance("cpu").code_version)
    entries = [_written(one) for one in (*before, entry)]
    content = {
        "format": "refute registrations 1",
        "phenomenon": phenomenon.name,
        "scale": scale,
        "registrations": entries,
    }
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return Registered(path, entry, True, changes(before[-1].definition, definition) if before else ())


def make_entry(
    definition: Definition, before: Sequence[Registration], time: datetime, code_version: str
) -> Registration:
    """The entry that follows `before`."""
    entry = Registration(
        time=time.astimezone(UTC).replace(microsecond=0),
        code_version=code_version,
        definition_hash=definition.hash,
        previous=before[-1].hash if before else None,
        definition=definition,
        hash="",
    )
    return entry.model_copy(update={"hash": _hash_of(entry)})


def read_registrations(path: Path) -> tuple[Registration, ...]:
    """Registrations, the oldest first; none when there is no file.

    Raises:
        StoreError: the file can't be read, or an entry is not the one that was written.
    """
    try:
        file = RegistrationFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f"{path} can't be read: the system says '{reason(error)}'; correct that") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise StoreError(
            f"{path} is no file of registrations: {where}: {first['msg']}; restore it from version control"
        ) from error
    for entry in file.registrations:
        if (entry.definition.phenomenon, entry.definition.scale) != (file.phenomenon, file.scale):
            raise StoreError(f"{path} speaks of {file.phenomenon}, scale {file.scale}, but holds others; restore it")
    check_chain(path, file.registrations)
    return file.registrations


def check_chain(path: Path, registrations: Sequence[Registration]) -> None:
    """Raise StoreError when an entry's hashes are not those of its content and of the entry before."""
    previous: Registration | None = None
    for number, entry in enumerate(registrations, start=1):
        if entry.definition_hash != entry.definition.hash or entry.hash != _hash_of(entry):
            what = "was altered after it was written"
        elif entry.previous != (previous and previous.hash):
            what = "does not follow the one before it: one was removed or replaced"
        elif previous and entry.time < previous.time:
            what = "is dated before the one before it"
        else:
            previous = entry
            continue
        raise StoreError(
            f"{path}: registration {number} of {len(registrations)} ({entry.time.isoformat()}) {what}; "
            "restore the file from version control"
        )


def _written(entry: Registration) -> dict[str, object]:
    return {
        "time": entry.time.isoformat(),
        "code_version": entry.code_version,
        "definition_hash": entry.definition_hash,
        "previous": entry.previous,
        "definition": entry.definition.as_json(),
        "hash": entry.hash,
    }


def _hash_of(entry: Registration) -> str:
    content = _written(entry)
    del content["hash"]
    return content_hash(content)
