"""A file or a data frame -> one Arrow table without nested columns.

CSV, TSV, JSON lines, JSON, Parquet and Arrow files, compressed or not; any object with the Arrow PyCapsule interface
(`__arrow_c_stream__`: pandas, polars, duckdb, arrow), or a mapping of columns. Columns that hold JSON objects, as
exports of Weights & Biases do, become one column per entry: `config` -> `config.lr`.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from refute.errors import JudgementError, UsageError

FORMATS = ("csv", "tsv", "jsonl", "ndjson", "json", "parquet", "pq", "arrow", "feather")
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
SEPARATORS = (",", ";", "\t")
LARGEST_BLOCK = 2**31 - 2
"""Arrow infers the type of a CSV column from one block of bytes, so a block is the whole file where possible."""
WRAPPED = {"value", "desc"}
"""Weights & Biases writes a setting of a run's config as {"value": 0.1, "desc": null}."""


def read_table(path: Path) -> pa.Table:
    """Read a table from a file; the ending of its name says how.

    Args:
        path: a file whose name ends in one of `FORMATS`, then perhaps .gz, .bz2, .zst or .lz4 (CSV and JSON).

    Raises:
        UsageError: there is no such file, or its ending is not known.
        JudgementError: its content is not what its ending says, or it has no rows.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}; expected a table ({', '.join(FORMATS)})")
    suffixes = [suffix for suffix in path.suffixes if suffix.lower() not in COMPRESSED]
    ending = suffixes[-1].lower().removeprefix(".") if suffixes else ""
    if ending not in READERS:
        raise UsageError(f"{path.name}: expected a name that ends in one of {', '.join(FORMATS)}, '.{ending}' came")
    try:
        table = READERS[ending](path)
    except (pa.ArrowException, OSError, ValueError, EOFError, RecursionError) as error:
        raise JudgementError(f"{path.name} can't be read as {ending}: {_first_line(error)}") from error
    return _checked(table, path.name)


def as_table(data: Any) -> pa.Table:
    """A data frame or a mapping of columns as an Arrow table.

    Args:
        data: a pandas, polars, duckdb or arrow table (anything with `__arrow_c_stream__`), or name -> list or array.

    Raises:
        UsageError: anything else.
        JudgementError: columns of different lengths or of mixed types, or no rows.
    """
    if not isinstance(data, Mapping) and not hasattr(data, "__arrow_c_stream__"):
        raise UsageError(
            f"expected a table with the Arrow interface (pandas, polars, pyarrow) or a mapping of columns, "
            f"{type(data).__name__} came"
        )
    try:
        table = data if isinstance(data, pa.Table) else pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise JudgementError(f"the table can't be read: {_first_line(error)}") from error
    return _checked(table, "the table")


def _checked(table: pa.Table, name: str) -> pa.Table:
    doubled = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if doubled:
        raise JudgementError(f"{name} has several columns called {', '.join(doubled)}; give each a name of its own")
    if not table.num_rows or not table.num_columns:
        raise JudgementError(f"{name} has no rows; expected one row per trial under a line of column names")
    return _plain(table)


# --- files --------------------------------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    with pa.input_stream(str(path), compression="detect") as stream:
        content: bytes = stream.read()
    return content


def _read_csv(path: Path) -> pa.Table:
    content = _content(path)
    header = content[: content.find(b"\n") % (len(content) + 1)].decode("utf-8-sig")
    separator = max(SEPARATORS, key=header.count)
    table = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        read_options=pyarrow.csv.ReadOptions(block_size=min(len(content) + 1, LARGEST_BLOCK)),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True),
    )
    undecoded = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if _is_bytes(kind)]
    if undecoded:
        raise ValueError(f"column '{undecoded[0]}' is not UTF-8 text; save the file as UTF-8")
    return table


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read_json_lines(path: Path) -> pa.Table:
    lines = _content(path).decode("utf-8-sig").splitlines()
    return _from_objects([json.loads(line) for line in lines if line.strip()])


def _read_json(path: Path) -> pa.Table:
    text = _content(path).decode("utf-8-sig")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return _read_json_lines(path)
    if isinstance(found, dict) and found and all(isinstance(column, list) for column in found.values()):
        return pa.table({name: _array(column) for name, column in found.items()})
    return _from_objects(found if isinstance(found, list) else [found])


def _read_parquet(path: Path) -> pa.Table:
    return pyarrow.parquet.read_table(path)


def _read_arrow(path: Path) -> pa.Table:
    return pyarrow.feather.read_table(path)


READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    "csv": _read_csv,
    "tsv": _read_csv,
    "jsonl": _read_json_lines,
    "ndjson": _read_json_lines,
    "json": _read_json,
    "parquet": _read_parquet,
    "pq": _read_parquet,
    "arrow": _read_arrow,
    "feather": _read_arrow,
}


# --- nested columns -----------------------------------------------------------------------------------------------


def _from_objects(objects: Sequence[Any]) -> pa.Table:
    """One row per JSON object; a name that an object lacks is empty in its row."""
    rows = []
    for position, found in enumerate(objects, start=1):
        if not isinstance(found, dict):
            raise ValueError(f"expected one JSON object per row, {type(found).__name__} came in row {position}")
        rows.append(dict(_flat(found)))
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _array([row.get(name) for row in rows]) for name in names})


def _flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        whole = f"{before}{name}"
        if isinstance(value, dict) and "value" in value and set(value) <= WRAPPED:
            value = value["value"]
        if isinstance(value, dict):
            yield from _flat(value, f"{whole}.")
        else:
            yield whole, json.dumps(value) if isinstance(value, list) else value


def _array(values: Sequence[Any]) -> pa.Array:
    """Values of one type; of several types as text, so that what reads the column can say which value is odd."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        numbers = all(value is None or isinstance(value, int | float) for value in values)
        if numbers:
            return pa.array([None if value is None else float(value) for value in values])
        return pa.array([None if value is None else str(value) for value in values])


def _plain(table: pa.Table) -> pa.Table:
    """Structs and JSON objects as one column per entry; text and categories in their plain types."""
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = _decoded(column)
        if pa.types.is_string_view(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        for inner, part in _opened(name, column):
            if inner in columns:
                raise JudgementError(f"the table has two columns called {inner} (one inside another); rename one")
            columns[inner] = part
    return pa.table(columns)


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type.value_type
    plain = pa.string() if pa.types.is_string_view(kind) else kind
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(plain)).dictionary_decode()
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=plain)


def _opened(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    objects = _objects(column)
    if objects is None:
        yield name, column
        return
    rows = [dict(_flat(found)) for found in objects]
    for inner in dict.fromkeys(entry for row in rows for entry in row):
        yield f"{name}.{inner}", pa.chunked_array([_array([row.get(inner) for row in rows])])


def _objects(column: pa.ChunkedArray) -> list[dict[str, Any]] | None:
    """The objects of a column of structs or of JSON objects as text; None for any other column."""
    if pa.types.is_struct(column.type):
        return [found or {} for found in column.to_pylist()]
    if not pa.types.is_string(column.type):
        return None
    texts = column.drop_null()
    if not len(texts) or not texts[0].as_py().lstrip().startswith("{"):
        return None
    found = [_object(text) for text in column.to_pylist()]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


def _object(text: str | None) -> dict[str, Any] | None:
    """A JSON object, or a dict as Python prints it (what a data frame of dicts leaves in a CSV file)."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        try:
            found = ast.literal_eval(re.sub(r"\b(nan|inf)\b", "None", text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
