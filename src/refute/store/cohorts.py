"""One finished cohort as a file: its rows, and what the file says about itself in the metadata of its footer."""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from refute.core import Cohort, Provenance, Result
from refute.errors import StoreError
from refute.store.tables import READ, SCHEMA, from_table, to_table

ORIGIN = pa.schema(
    [
        ("code_version", pa.string()),
        ("environment", pa.string()),
        ("device", pa.string()),
        ("seconds", pa.float64()),
        ("created", pa.string()),
    ]
)
"""Columns that follow those of the results: where they came from. `seconds` are those of the whole cohort."""

LAB_SCHEMA = pa.unify_schemas([SCHEMA, ORIGIN])


@dataclass(frozen=True)
class StoredCohort:
    """A sound file of the lab, by what it says about itself."""

    path: Path
    keys: tuple[str, ...]
    provenance: Provenance
    seconds: float


def read_results(path: Path) -> dict[str, Result]:
    """All results of a file by key; raises StoreError when it can't be read any more."""
    return from_table(_read(path))


class Scalars(NamedTuple):
    """Results without their curves, and whether the file holds curves."""

    results: dict[str, Result]
    curves: bool


def read_scalars(cohort: StoredCohort) -> Scalars:
    """The same without curves."""
    table = _read(cohort.path)
    scalars = table.filter(pc.is_null(table.column("axis0")))
    found = from_table(scalars)
    if len(found) < len(cohort.keys):  # trials whose only numbers are those of curves
        whole = from_table(table)
        found |= {key: Result(key, result.diverged, {}) for key, result in whole.items() if key not in found}
    return Scalars(found, len(scalars) < len(table))


def _read(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(READ, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} can't be read, but it was sound a moment ago; run the command again") from error


def pack(cohort: Cohort, results: Sequence[Result], provenance: Provenance, seconds: float) -> bytes:
    """The bytes of a cohort's Parquet file; raises StoreError when the results are not those of its trials."""
    table = to_table(cohort.trials, results)
    origin = (provenance.code_version, provenance.environment, provenance.device, seconds, provenance.created)
    for field, value in zip(ORIGIN, origin, strict=True):
        table = table.append_column(field, pa.repeat(pa.scalar(value, field.type), len(table)))
    table = table.replace_schema_metadata(
        {
            "refute": json.dumps({"provenance": asdict(provenance), "seconds": seconds}),
            "trials": json.dumps([trial.key for trial in cohort.trials]),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_statistics=False)
    return buffer.getvalue()


def describe(path: Path, content: bytes) -> StoredCohort:
    """What a file with this content says about itself, without its rows.

    Raises:
        StoreError: it is sound, but not a file that refute wrote.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(content)).metadata
        description = json.loads(metadata[b"refute"])
        keys = tuple(map(sys.intern, json.loads(metadata[b"trials"])))
        made = _provenance(json.dumps(description["provenance"]))
        return StoredCohort(path, keys, made, float(description["seconds"]))
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is not a file of this version of refute; move it out of the lab") from error


@lru_cache(maxsize=64)
def _provenance(text: str) -> Provenance:
    """One value for all files of a run."""
    return Provenance(**json.loads(text))


def rows_of(cohorts: Iterable[StoredCohort]) -> ds.Dataset:
    """All rows, read only while they are queried; those of a trial stored twice come from the first cohort."""
    seen: set[str] = set()
    whole, parts = [], []
    for cohort in cohorts:
        doubled = seen.intersection(cohort.keys)
        if doubled:
            file = ds.dataset(cohort.path, schema=LAB_SCHEMA, format="parquet")
            parts.append(file.to_table(filter=pc.invert(pc.field("trial").isin(sorted(doubled)))))
        else:
            whole.append(str(cohort.path))
        seen.update(cohort.keys)
    rest = pa.concat_tables([LAB_SCHEMA.empty_table(), *parts])
    return ds.dataset([ds.dataset(whole, schema=LAB_SCHEMA, format="parquet"), ds.dataset(rest)])
