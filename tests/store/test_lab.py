"""A lab gives back what was put in, says what is missing, and is shared by copying files."""

import math
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from refute.core import Result
from refute.errors import UsageError
from refute.store import Store

from .samples import PROVENANCE, cohort, results, same, trials


def filled(lab: Path, *, first: int = 0, count: int = 4, shift: float = 0.0, created: str = PROVENANCE.created) -> Path:
    members = trials(count, first=first)
    made = replace(PROVENANCE, created=created)
    return Store(lab).add(cohort(members), results(members, shift=shift), made, 10.0)


def test_round_trip(tmp_path: Path) -> None:
    members = trials(4)
    path = filled(tmp_path / "new" / "lab")
    read = Store(tmp_path / "new" / "lab").results(members)
    assert path.parent == tmp_path / "new" / "lab" / "trials" / "toy"
    assert path.name.startswith(cohort(members).key)
    assert len(read) == 4
    assert all(same(read[one.key], one) for one in results(members))


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Store(tmp_path)
    wanted = trials(1, first=2)
    assert list(store.results(wanted)) == [wanted[0].key]
    assert store.results(trials(4, phenomenon="other")) == {}
    assert store.results([]) == {}


def test_missing_keeps_the_order_and_sees_what_others_add(tmp_path: Path) -> None:
    store = Store(tmp_path)
    members = trials(6)
    assert store.missing(members) == members
    filled(tmp_path, count=2)
    assert store.missing(members[::-1]) == members[:1:-1]
    filled(tmp_path, first=2, count=4)
    assert store.missing(members) == []
    assert store.missing([]) == []


def test_phenomena_with_the_same_blocks_are_apart(tmp_path: Path) -> None:
    filled(tmp_path)
    others = trials(4, phenomenon="other")
    assert Store(tmp_path).missing(others) == others


def test_merging_two_labs_is_copying_files(tmp_path: Path) -> None:
    filled(tmp_path / "a", count=3)
    filled(tmp_path / "b", first=3, count=3)
    filled(tmp_path / "b", count=3)
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    merged = Store(tmp_path / "a")
    assert merged.missing(trials(6)) == []
    assert all(same(merged.results(trials(6))[one.key], one) for one in results(trials(6)))
    assert len(list((tmp_path / "a" / "trials" / "toy").iterdir())) == 2, "the cohort they shared is one file"


def add_one_by_one(lab: Path, first: int) -> None:
    for block in range(first, first + 8):
        filled(lab, first=block, count=1)
        Store(lab).missing(trials(32))


def test_two_processes_write_at_the_same_time(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        list(pool.map(add_one_by_one, [tmp_path] * 2, [0, 4]))
    store = Store(tmp_path)
    assert store.missing(trials(12)) == []
    assert len(store.results(trials(12))) == 12
    assert not (tmp_path / "damaged").exists()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_seconds_by_the_share_of_trials(tmp_path: Path) -> None:
    filled(tmp_path, count=4)
    filled(tmp_path, first=4, count=2)
    store = Store(tmp_path)
    assert store.seconds(trials(6)) == pytest.approx(20.0)
    assert store.seconds(trials(2, first=3)) == pytest.approx(10 / 4 + 10 / 2)
    assert store.seconds(trials(2, first=20)) == 0


def test_provenance_is_told_once_for_each_environment(tmp_path: Path) -> None:
    store = Store(tmp_path)
    later = replace(PROVENANCE, created="2026-01-03T00:00:00+00:00")
    elsewhere = replace(PROVENANCE, processor="Abacus 4", created="2025-01-01T00:00:00+00:00")
    for block, made in enumerate((later, PROVENANCE, elsewhere)):
        members = trials(1, first=block)
        store.add(cohort(members), results(members), made, 1.0)
    assert store.provenance(trials(3)) == (elsewhere, PROVENANCE)
    assert store.provenance(trials(1)) == (later,)
    assert store.provenance([]) == ()


def test_query(tmp_path: Path) -> None:
    lab = tmp_path / "it's a [lab]*"
    path = filled(lab)
    (path.parent / ".tmp-unfinished.parquet").write_bytes(b"PAR1")
    rows = Store(lab).query(
        "SELECT block, levels->>'learning_rate' AS learning_rate, value, seconds, code_version FROM trials "
        "WHERE quantity = 'block' AND NOT diverged ORDER BY block"
    )
    assert [row["block"] for row in rows] == [0, 2]
    assert rows[1] == {
        "block": 2, "learning_rate": "0.2", "value": 2.0, "seconds": 10.0, "code_version": "0.1.0+abc"
    }  # fmt: skip


def test_query_counts_a_trial_stored_twice_once(tmp_path: Path) -> None:
    filled(tmp_path, first=1, count=4, shift=0.5, created="2026-06-01T00:00:00+00:00")
    filled(tmp_path, count=3)
    rows = Store(tmp_path).query("SELECT block, value FROM trials WHERE quantity = 'accuracy' ORDER BY block")
    assert [(row["block"], row["value"]) for row in rows] == [(0, 0.9), (1, 0.9), (2, 0.9), (3, 1.4), (4, 1.4)]


def test_query_of_an_empty_lab_and_a_wrong_query(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.query("SELECT count(*) AS rows FROM trials") == [{"rows": 0}]
    with pytest.raises(UsageError, match=r"SELECT acuracy FROM trials.*acuracy"):
        store.query("SELECT acuracy FROM trials")


def test_a_replica_that_diverged_without_numbers_is_not_missing(tmp_path: Path) -> None:
    members = trials(1)
    store = Store(tmp_path)
    store.add(cohort(members), [Result(members[0].key, True, {"loss": math.nan})], PROVENANCE, 1.0)
    assert store.missing(members) == []
    assert store.results(members)[members[0].key].diverged
