"""The file of registrations: only added to, and a rewritten past is found out."""

import json
from pathlib import Path
from typing import Any

import pytest
from recorded import phenomenon, with_bound, with_protocol

from refute.errors import StoreError, UnknownNameError
from refute.records.canonical import content_hash
from refute.records.registration import path_of, read_registrations, register


def test_registering_writes_what_stands_and_when(tmp_path: Path) -> None:
    done = register(phenomenon(), "smoke", tmp_path / "new")
    assert done.added
    assert done.path == tmp_path / "new" / "toy-smoke.json"
    (entry,) = read_registrations(done.path)
    assert entry == done.registration
    assert entry.previous is None
    assert entry.time.utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert entry.code_version
    assert [claim.id for claim in entry.definition.claims] == [claim.id for claim in phenomenon().claims]


def test_again_without_a_change_adds_nothing(tmp_path: Path) -> None:
    first = register(phenomenon(), "smoke", tmp_path)
    content = first.path.read_bytes()
    again = register(with_protocol(phenomenon(), cohort=9), "smoke", tmp_path)
    assert not again.added
    assert again.registration == first.registration
    assert first.path.read_bytes() == content


def test_a_change_is_added_named_and_chained(tmp_path: Path) -> None:
    first = register(phenomenon(), "smoke", tmp_path)
    second = register(with_bound(phenomenon(), "value", 0.3), "smoke", tmp_path)
    assert [change.in_words() for change in second.changes] == ["bound of claim value: 0.5 -> 0.3"]
    back = register(phenomenon(), "smoke", tmp_path)
    assert [one.hash for one in read_registrations(back.path)] == [
        first.registration.hash,
        second.registration.hash,
        back.registration.hash,
    ]
    assert back.registration.previous == second.registration.hash
    assert back.registration.definition_hash == first.registration.definition_hash


def test_the_hashes_can_be_made_from_the_file_alone(tmp_path: Path) -> None:
    path = register(phenomenon(), "smoke", tmp_path).path
    (entry,) = json.loads(path.read_text(encoding="utf-8"))["registrations"]
    assert content_hash(entry["definition"]) == entry["definition_hash"]
    assert content_hash({name: part for name, part in entry.items() if name != "hash"}) == entry["hash"]


def test_scales_have_files_of_their_own_and_must_exist(tmp_path: Path) -> None:
    assert path_of("toy", "full", tmp_path) != path_of("toy", "smoke", tmp_path)
    assert read_registrations(path_of("toy", "full", tmp_path)) == ()
    with pytest.raises(UnknownNameError, match="no scale 'full'"):
        register(phenomenon(), "full", tmp_path)


def bound(entries: list[Any]) -> None:
    entries[0]["definition"]["claims"][0]["holds"]["value"] = 0.3


def bound_and_its_hash(entries: list[Any]) -> None:
    bound(entries)
    entries[0]["definition_hash"] = content_hash(entries[0]["definition"])


def bound_and_all_its_hashes(entries: list[Any]) -> None:
    bound_and_its_hash(entries)
    del entries[0]["hash"]
    entries[0]["hash"] = content_hash(entries[0])


def time(entries: list[Any]) -> None:
    entries[0]["time"] = "2019-06-14T00:00:00+00:00"


def removal(entries: list[Any]) -> None:
    del entries[0]


def swap(entries: list[Any]) -> None:
    entries.reverse()


@pytest.mark.parametrize(
    ("rewrite", "says"),
    [
        (bound, "registration 1 of 2 .* was altered"),
        (bound_and_its_hash, "registration 1 of 2 .* was altered"),
        (bound_and_all_its_hashes, "registration 2 of 2 .* does not follow"),
        (time, "registration 1 of 2 .* was altered"),
        (removal, "registration 1 of 1 .* does not follow"),
        (swap, "registration 1 of 2 .* does not follow"),
    ],
)
def test_a_rewritten_past_is_found_out(tmp_path: Path, rewrite: Any, says: str) -> None:
    register(phenomenon(), "smoke", tmp_path)
    path = register(with_bound(phenomenon(), "value", 0.4), "smoke", tmp_path).path
    file = json.loads(path.read_text(encoding="utf-8"))
    rewrite(file["registrations"])
    path.write_text(json.dumps(file), encoding="utf-8")
    with pytest.raises(StoreError, match=says):
        read_registrations(path)
    with pytest.raises(StoreError, match="restore the file from version control"):
        register(phenomenon(), "smoke", tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}'])
def test_another_file_is_no_file_of_registrations(tmp_path: Path, content: str) -> None:
    path = path_of("toy", "smoke", tmp_path)
    path.write_text(content)
    with pytest.raises(StoreError, match="is no file of registrations"):
        read_registrations(path)


def test_the_file_of_another_phenomenon_is_refused(tmp_path: Path) -> None:
    path = register(phenomenon(), "smoke", tmp_path).path
    path.write_text(path.read_text().replace('"phenomenon": "toy"', '"phenomenon": "other"', 1))
    with pytest.raises(StoreError, match="speaks of other"):
        read_registrations(path)
