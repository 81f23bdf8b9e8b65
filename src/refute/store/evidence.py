"""Evidence: a compact record that is meant to be committed: rows.parquet and record.json."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from refute.core import Result, Results, Trial
from refute.errors import StoreError
from refute.store.tables import from_table, to_table

COMPRESSION_LEVEL = 19


def write_evidence(folder: Path, trials: Sequence[Trial], results: Results, record: Mapping[str, Any]) -> list[Path]:
    """Write the rows of the trials that have results, and the record with the rows' digest; returns both paths.

    Values keep single precision (all instruments measure in it or better than its rounding matters).
    """
    stored = [trial for trial in trials if trial.key in results]
    table = to_table(stored, (results[trial.key] for trial in stored))
    value = table.schema.get_field_index("value")
    table = table.set_column(value, "value", table.column("value").cast(pa.float32()))
    rows, document = folder / "rows.parquet", folder / "record.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, rows, compression="zstd", compression_level=COMPRESSION_LEVEL, use_dictionary=True)
        digest = hashlib.sha256(rows.read_bytes()).hexdigest()
        text = json.dumps({**record, "rows_sha256": digest}, indent=1, sort_keys=True, allow_nan=False)
        document.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the record can't be written to {folder}: {error.strerror}") from error
    return [rows, document]


def read_evidence(folder: Path) -> tuple[dict[str, Result], dict[str, Any]]:
    """Results and record of a folder; raises StoreError when files are missing or the rows are not the record's."""
    rows, document = folder / "rows.parquet", folder / "record.json"
    try:
        record: dict[str, Any] = json.loads(document.read_text(encoding="utf-8"))
        content = rows.read_bytes()
    except OSError as error:
        raise StoreError(f"there is no record in {folder}: {error.strerror} ({error.filename})") from error
    except json.JSONDecodeError as error:
        raise StoreError(f"{document} is not JSON: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != record.get("rows_sha256"):
        raise StoreError(
            f"{rows} is not the file that {document.name} speaks of: expected sha256 {record.get('rows_sha256')}, "
            f"{digest} came; restore both from version control"
        )
    return from_table(pq.read_table(rows)), record
