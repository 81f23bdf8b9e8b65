"""Evidence: a compact record that is meant to be committed: rows.parquet and record.json."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from refute.core import Result, Results, Trial
from refute.errors import StoreError
from refute.store.files import reason, write_whole
from refute.store.tables import from_table, to_table

COMPRESSION_LEVEL = 19
DIGEST = "rows_sha256"


def write_evidence(folder: Path, trials: Sequence[Trial], results: Results, record: Mapping[str, Any]) -> list[Path]:
    """Write the rows of the trials that have results, and the record with the rows' digest.

    Every number keeps its full precision, so judging the record again gives the same verdicts: a share such as 0.9,
    compared with a bound of 0.9, would fail it after rounding to single precision.

    Args:
        folder: made when it is not there.
        trials: those of the record; their order is that of the rows.
        results: by key; trials without one are left out.
        record: verdicts, provenance and whatever else belongs to it, as JSON values without NaN.

    Returns:
        Both paths, rows first.

    Raises:
        StoreError: the folder can't be written.
    """
    stored = [trial for trial in trials if trial.key in results]
    content = _pack(to_table(stored, [results[trial.key] for trial in stored]))
    full = {**record, DIGEST: hashlib.sha256(content).hexdigest()}
    text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    rows, document = folder / "rows.parquet", folder / "record.json"
    write_whole(rows, content)
    write_whole(document, text.encode())
    return [rows, document]


def read_evidence(folder: Path) -> tuple[dict[str, Result], dict[str, Any]]:
    """Results by key, and the record of a folder.

    Raises:
        StoreError: a file is missing or no record, or the rows are not those that the record speaks of.
    """
    rows, document = folder / "rows.parquet", folder / "record.json"
    try:
        record = json.loads(document.read_text(encoding="utf-8"))
        content = rows.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{folder} holds no record: expected {document.name} and {rows.name}, but the system says "
            f"'{reason(error)}' of {error.filename}"
        ) from error
    except ValueError as error:
        raise StoreError(f"{document} is not JSON ({error}); restore it from version control") from error
    expected, came = record.get(DIGEST) if isinstance(record, dict) else None, hashlib.sha256(content).hexdigest()
    if came != expected:
        raise StoreError(
            f"{rows} is not the file that {document.name} speaks of: expected sha256 {expected}, {came} came; "
            "restore both from version control"
        )
    return from_table(pq.read_table(pa.BufferReader(content))), record


def _pack(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=COMPRESSION_LEVEL, use_dictionary=True)
    return buffer.getvalue()
