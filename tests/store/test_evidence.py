"""Rows that are meant to be committed: small, exact, and the same bytes for the same results."""

import random
from pathlib import Path

import pytest

from refute.core import Curve, Result
from refute.errors import StoreError
from refute.store import read_rows, write_rows

from .samples import results, same, trials


def test_round_trip_to_the_last_bit(tmp_path: Path) -> None:
    members = trials(5)
    stored = {one.key: one for one in results(members[:4])}
    path = tmp_path / "new" / "rows.parquet"
    write_rows(path, members, stored)
    read = read_rows(path)
    assert list(read) == [trial.key for trial in members[:4]]
    assert all(same(read[key], one) for key, one in stored.items())


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    members = trials(3)
    stored = {one.key: one for one in results(members)}
    write_rows(tmp_path / "a", members, stored)
    write_rows(tmp_path / "b", members, dict(reversed(stored.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    members = trials(3)
    for count in (2, 3):
        write_rows(tmp_path / "rows.parquet", members, {one.key: one for one in results(members[:count])})
    assert len(read_rows(tmp_path / "rows.parquet")) == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_rows_stay_small(tmp_path: Path) -> None:
    generator = random.Random(0)
    members = trials(500)
    axes = (tuple(float(i) for i in range(5)), tuple(float(i) for i in range(7)))
    stored = {
        trial.key: Result(
            trial.key,
            False,
            {f"quantity{i}": generator.gauss() for i in range(10)},
            {"map": Curve(axes, tuple(generator.randrange(2000) / 20 for _ in range(35)))},
        )
        for trial in members
    }
    write_rows(tmp_path / "rows.parquet", members, stored)
    assert (tmp_path / "rows.parquet").stat().st_size < 150_000


def test_missing_and_damaged_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with pytest.raises(StoreError, match=r"expected rows at .*rows.parquet.*No such file"):
        read_rows(path)
    write_rows(path, trials(2), {one.key: one for one in results(trials(2))})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"rows.parquet is damaged .*; restore it"):
        read_rows(path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_rows(tmp_path / "file" / "rows.parquet", [], {})
