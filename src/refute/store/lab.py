"""The lab: a folder of Parquet files that is only ever added to.

One file per finished cohort, `trials/PHENOMENON/COHORT-DIGEST.parquet`. The digest is that of the file's own bytes, so
a truncated or altered file is found out; it is moved to `damaged/` and its trials count as missing. Files are written
to a temporary name, synced and renamed. Any number of processes or people may write; merging two labs is copying files.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from refute.core import Cohort, Curve, Provenance, Result, Trial
from refute.errors import DamagedFileWarning, DeterminismWarning, StoreError
from refute.store.tables import from_table, to_table

DIGEST_LENGTH = 16
STALE_SECONDS = 3600
"""A temporary file older than this belongs to a writer that is gone."""


class Store:
    """Results of one lab.

    Raises:
        StoreError: the folder can't be made, read or written.
    """

    def __init__(self, lab: Path) -> None:
        self.lab = lab
        self._verified: set[tuple[str, int, int]] = set()
        self._keys: dict[Path, tuple[str, ...]] = {}
        try:
            (lab / "trials").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the lab {lab.resolve()} can't be used: {error.strerror}; expected a folder that can be written; "
                "choose another with --lab"
            ) from error

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those trials that have no stored result, in their order."""
        stored = {key for path in self._files(trials) for key in self._keys_of(path)}
        return [trial for trial in trials if trial.key not in stored]

    def results(self, trials: Sequence[Trial]) -> dict[str, Result]:
        """Stored results by key.

        A trial found twice must agree, else a DeterminismWarning names both files; the first by name is used.
        """
        wanted = {trial.key for trial in trials}
        found: dict[str, Result] = {}
        origin: dict[str, Path] = {}
        for path in self._files(trials):
            if not wanted & set(self._keys_of(path)):
                continue
            for key, result in from_table(pq.read_table(path)).items():
                if key not in wanted:
                    continue
                if key in found:
                    _compare(key, found[key], result, origin[key], path)
                else:
                    found[key], origin[key] = result, path
        return found

    def add(self, cohort: Cohort, results: Sequence[Result], provenance: Provenance, seconds: float) -> Path:
        """Store the results of one cohort; `seconds` is what its worker took.

        Raises:
            StoreError: the disk is full or the folder can't be written; nothing half-written stays behind.
        """
        table = to_table(cohort.trials, results)
        description = {"provenance": asdict(provenance), "seconds": seconds, "device": cohort.device}
        keys = json.dumps([trial.key for trial in cohort.trials])
        table = table.replace_schema_metadata({"refute": json.dumps(description), "trials": keys})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        content = buffer.getvalue()
        name = f"{cohort.key}-{hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]}.parquet"
        folder = self.lab / "trials" / cohort.trials[0].phenomenon
        path = folder / name
        temporary = folder / f".tmp-{os.getpid()}-{name}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(temporary, content)
            temporary.rename(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StoreError(_cannot_store(path, len(content), error)) from error
        return path

    def seconds(self, trials: Sequence[Trial]) -> float:
        """Seconds of work behind the stored trials: each cohort's, by the share of its trials that are asked for."""
        wanted = {trial.key for trial in trials}
        total = 0.0
        for path in self._files(trials):
            keys = self._keys_of(path)
            share = sum(key in wanted for key in keys) / len(keys)
            total += share * float(self._description(path)["seconds"]) if share else 0.0
        return total

    def provenance(self, trials: Sequence[Trial]) -> tuple[Provenance, ...]:
        """Where the stored results of these trials came from, each once but for the time."""
        wanted = {trial.key for trial in trials}
        found: dict[tuple[str, str], Provenance] = {}
        for path in self._files(trials):
            if wanted & set(self._keys_of(path)):
                made = Provenance(**self._description(path)["provenance"])
                found.setdefault((made.code_version, made.environment), made)
        return tuple(found.values())

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows that answer a DuckDB query over the view `trials` (all phenomena, one row per number)."""
        with duckdb.connect() as connection:
            pattern = str(self.lab / "trials" / "*" / "*.parquet").replace("'", "''")
            connection.execute(f"CREATE VIEW trials AS SELECT * FROM read_parquet('{pattern}')")
            answer = connection.execute(sql)
            names = [column[0] for column in answer.description]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    # --- files ----------------------------------------------------------------------------------------------------

    def _files(self, trials: Sequence[Trial]) -> list[Path]:
        """Sound files of the trials' phenomena, by name; damaged ones are set aside on the way."""
        folders = sorted({self.lab / "trials" / trial.phenomenon for trial in trials})
        files = []
        for folder in folders:
            for path in sorted(folder.glob("*.parquet")):
                if self._sound(path):
                    files.append(path)
            for path in folder.glob(".tmp-*"):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > STALE_SECONDS:
                        path.unlink()
        return files

    def _sound(self, path: Path) -> bool:
        try:
            status = path.stat()
            identity = (str(path), status.st_size, status.st_mtime_ns)
            if identity in self._verified:
                return True
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:DIGEST_LENGTH]
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror}") from error
        if digest == path.stem.rpartition("-")[2]:
            self._verified.add(identity)
            return True
        aside = self.lab / "damaged" / path.name
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
        message = f"{path.name} was truncated or altered; it now lies in {aside.parent} and its trials run again"
        warnings.warn(message, DamagedFileWarning, stacklevel=2)
        return False

    def _keys_of(self, path: Path) -> tuple[str, ...]:
        if path not in self._keys:
            metadata = pq.read_schema(path).metadata
            self._keys[path] = tuple(json.loads(metadata[b"trials"]))
        return self._keys[path]

    def _description(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"refute"])
        return found


def _write(path: Path, content: bytes) -> None:
    """Write and sync, so that a rename after it never shows half a file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _cannot_store(path: Path, size: int, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"the disk of {path.parent} is full: {size / 1024:.0f} kB were needed; every finished cohort before this "
            "one is kept; make room or choose another folder with --lab, then run the same command again"
        )
    return f"results can't be stored in {path.parent}: {error.strerror}; choose another folder with --lab"


def _compare(key: str, first: Result, second: Result, one: Path, other: Path) -> None:
    """Warn when the same trial was measured twice with different numbers."""
    worst, where = 0.0, ""
    for name, value in first.values.items():
        deviation = _deviation((value,), (second.values.get(name, float("nan")),))
        worst, where = max((worst, where), (deviation, name))
    for name, curve in first.curves.items():
        deviation = _deviation(curve.values, second.curves.get(name, Curve(((),), ())).values)
        worst, where = max((worst, where), (deviation, name))
    if worst > 0 or first.diverged != second.diverged:
        warnings.warn(
            f"trial {key} was computed twice with different results ({where or 'diverged'} differs by up to "
            f"{worst:.3g}) in {one.name} and {other.name}; the first is used",
            DeterminismWarning,
            stacklevel=3,
        )


def _deviation(a: Sequence[float], b: Sequence[float]) -> float:
    """Largest absolute difference; NaN equals NaN, and a NaN beside a number differs infinitely."""
    if len(a) != len(b):
        return float("inf")
    return max(
        (0.0 if x == y or (x != x and y != y) else abs(x - y) if x == x and y == y else float("inf"))
        for x, y in zip(a, b, strict=True)
    )
