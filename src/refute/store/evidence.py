"""Rows of committed evidence: one small parquet file that gives every number back to the last bit."""

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from refute.core import Result, Results, Trial
from refute.errors import StoreError
from refute.store.files import reason, write_whole
from refute.store.tables import from_table, to_table

COMPRESSION_LEVEL = 19


def write_rows(path: Path, trials: Sequence[Trial], results: Results) -> None:
    """Write the rows of the trials that have results.

    Every number keeps its full precision, so judging the rows again gives the same verdicts: a share such as 0.9,
    compared with a bound of 0.9, would fail it after rounding to single precision.

    Args:
        path: its folder is made when it is not there.
        trials: their order is that of the rows.
        results: by key; trials without one are left out.

    Raises:
        StoreError: the file can't be written.
    """
    stored = [trial for trial in trials if trial.key in results]
    buffer = io.BytesIO()
    table = to_table(stored, [results[trial.key] for trial in stored])
    pq.write_table(table, buffer, compression="zstd", compression_level=COMPRESSION_LEVEL, use_dictionary=True)
    write_whole(path, buffer.getvalue())


def read_rows(path: Path) -> dict[str, Result]:
    """Results by key.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        return from_table(pq.read_table(pa.BufferReader(path.read_bytes())))
    except OSError as error:
        raise StoreError(f"expected rows at {path}, but the system says '{reason(error)}'") from error
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}); restore it from version control") from error
