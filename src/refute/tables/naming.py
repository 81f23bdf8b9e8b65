"""Names of columns: renames, and what a name that is not there probably meant.

MLflow (`search_runs`) writes `params.x`, `metrics.y`, `tags.z` beside `run_id` and `status`; Weights & Biases writes
`config.x` and `summary.y` beside `name` and `state`.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from refute.errors import UsageError, did_you_mean

EXPORTS: Mapping[str, tuple[str, ...]] = {
    "MLflow": ("params.", "metrics.", "tags."),
    "Weights & Biases": ("config.", "summary.", "summary_metrics.", "summaryMetrics."),
}
STATES: Mapping[str, str] = {"status": "FINISHED", "state": "finished"}
"""Column in which an export says how a run ended, and its word for a run that ended well."""


def rename_columns(table: pa.Table, renames: Mapping[str, str]) -> pa.Table:
    """The table with columns renamed.

    Args:
        table: the table.
        renames: name in the table -> new name.

    Raises:
        UsageError: a name that the table lacks, or a new name that is taken.
    """
    for old, new in renames.items():
        if old not in table.column_names:
            raise UsageError(f"the table has no column '{old}' to rename; {did_you_mean(old, table.column_names)}")
        if new in table.column_names and new not in renames:
            raise UsageError(f"'{old}' can't be renamed to '{new}': the table already has a column of that name")
    names = [renames.get(name, name) for name in table.column_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two columns would be called '{twice[0]}'; rename each to a name of its own")
    return table.rename_columns(names)


def export_of(columns: Sequence[str]) -> str | None:
    """Which tool's export the columns look like.

    >>> export_of(["run_id", "params.lr", "metrics.accuracy"])
    'MLflow'
    """
    counts = {tool: sum(name.startswith(prefixes) for name in columns) for tool, prefixes in EXPORTS.items()}
    tool = max(counts, key=lambda one: counts[one])
    return tool if counts[tool] else None


def check_columns(wanted: Sequence[str], columns: Sequence[str]) -> None:
    """All wanted names are columns.

    Raises:
        UsageError: some are not; names the renames that would mend it, or the nearest name.
    """
    missing = [name for name in dict.fromkeys(wanted) if name not in columns]
    if not missing:
        return
    found = {name: _candidates(name, columns) for name in missing}
    tool = export_of(columns)
    kind = f" (it looks like an export of {tool})" if tool else ""
    if all(len(candidates) == 1 for candidates in found.values()):
        renames = ",".join(f"{candidates[0]}={name}" for name, candidates in found.items())
        raise UsageError(f"the table has no column {_quoted(missing)}{kind}; add --rename {_shell(renames)}")
    several = next((name for name in missing if len(found[name]) > 1), None)
    if several is not None:
        raise UsageError(
            f"the table has no column '{several}'{kind}, but {_quoted(found[several])}; "
            f"name the one you mean: --rename {_shell(f'{found[several][0]}={several}')}"
        )
    unknown = next(name for name in missing if not found[name])
    raise UsageError(f"the table has no column '{unknown}'{kind}; {did_you_mean(unknown, columns)}")


def _candidates(name: str, columns: Sequence[str]) -> list[str]:
    """Columns that are the name behind a prefix, or the name in another spelling."""
    same = [column for column in columns if column.rpartition(".")[2] == name]
    return same or [c for c in columns if _spelling(name) in (_spelling(c), _spelling(c.rpartition(".")[2]))]


def _spelling(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _shell(text: str) -> str:
    return f'"{text}"' if " " in text else text
