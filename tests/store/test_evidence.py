"""A record that is meant to be committed: small, exact, and proving that its two files belong together."""

import json
import math
import random
from pathlib import Path

import pytest

from refute.core import Curve, Result
from refute.errors import StoreError
from refute.store import read_evidence, write_evidence

from .samples import results, same, trials

RECORD = {"verdicts": [{"claim": "C1", "verdict": "supported", "effect": 0.1}], "author": "Zoë"}


def test_round_trip_to_the_last_bit(tmp_path: Path) -> None:
    members = trials(5)
    stored = {one.key: one for one in results(members[:4])}
    paths = write_evidence(tmp_path / "new" / "record", members, stored, RECORD)
    assert [path.name for path in paths] == ["rows.parquet", "record.json"]
    read, record = read_evidence(tmp_path / "new" / "record")
    assert list(read) == [trial.key for trial in members[:4]]
    assert all(same(read[key], one) for key, one in stored.items())
    assert len(record.pop("rows_sha256")) == 64
    assert record == RECORD


def test_the_same_evidence_is_the_same_bytes(tmp_path: Path) -> None:
    members = trials(3)
    stored = {one.key: one for one in results(members)}
    one = write_evidence(tmp_path / "a", members, stored, RECORD)
    other = write_evidence(tmp_path / "b", members, dict(reversed(stored.items())), dict(reversed(RECORD.items())))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert "Zoë" in one[1].read_text(encoding="utf-8")
    assert list(json.loads(one[1].read_text(encoding="utf-8"))) == ["author", "rows_sha256", "verdicts"]


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    members = trials(3)
    for count in (2, 3):
        write_evidence(tmp_path, members, {one.key: one for one in results(members[:count])}, RECORD)
    assert len(read_evidence(tmp_path)[0]) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_evidence_stays_small(tmp_path: Path) -> None:
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
    rows, _ = write_evidence(tmp_path, members, stored, RECORD)
    assert rows.stat().st_size < 150_000


@pytest.mark.parametrize("damage", ["truncate", "alter"])
def test_rows_of_another_record_are_refused(tmp_path: Path, damage: str) -> None:
    rows, _ = write_evidence(tmp_path, trials(2), {one.key: one for one in results(trials(2))}, RECORD)
    content = rows.read_bytes()
    rows.write_bytes(content[:-1] if damage == "truncate" else b"?" + content[1:])
    with pytest.raises(StoreError, match=r"rows.parquet is not the file.*expected sha256 \w{64}, \w{64} came; restore"):
        read_evidence(tmp_path)


def test_no_record_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no record.*No such file"):
        read_evidence(tmp_path)
    write_evidence(tmp_path, [], {}, {})
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(StoreError, match="is not JSON"):
        read_evidence(tmp_path)
    (tmp_path / "record.json").write_text("[]")
    with pytest.raises(StoreError, match="expected sha256 None"):
        read_evidence(tmp_path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_evidence(tmp_path / "file", [], {}, {})


def test_nan_is_no_json_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evidence(tmp_path, [], {}, {"effect": math.nan})
    assert not list(tmp_path.iterdir())
