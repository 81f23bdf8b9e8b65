"""Verdicts on a user's own table -> lines for a terminal, or JSON: the claims as everywhere, another frame."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from refute.core import Outcome, Phenomenon, Verdict
from refute.report.claims import claim_section
from refute.report.document import count_verdicts
from refute.report.machine import as_json
from refute.report.terminal import claim_lines, say, symbols_for, width_of, wrapped


def render_judged(
    phenomenon: Phenomenon, verdicts: Sequence[Verdict], about: str, warnings: Sequence[str], console: Console
) -> None:
    """Print the verdicts on a table.

    Args:
        phenomenon: the claims with the definitions of their columns.
        verdicts: one per claim.
        about: what was read: rows, blocks, looks.
        warnings: what the reader should know beside the verdicts.
        console: where to print.
    """
    width = width_of(console.width)
    sections = [replace(claim_section(phenomenon, verdict), headline=False) for verdict in verdicts]
    lines = [Text(""), Text(phenomenon.name, style="bold"), *wrapped(about, width, 0, style="dim")]
    for section in sections:
        lines += claim_lines(section, width, symbols_for(console))
    for warning in warnings:
        lines += [Text(""), *wrapped(f"Mind: {warning}", width, 0)]
    confidences = {section.confidence for section in sections} - {""}
    interval = f" Intervals of cells: {confidences.pop()}." if len(confidences) == 1 else ""
    counted = count_verdicts(verdict.verdict for verdict in verdicts)
    lines += [Text(""), *wrapped(f"{counted}.{interval}", width, 0, style="bold")]
    for line in lines:
        say(line, console)


def judged_json(
    phenomenon: Phenomenon,
    verdicts: Sequence[Verdict],
    *,
    rows: int,
    block: str,
    looks: Sequence[int],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The same as a value for `json.dumps(..., allow_nan=False)`; claims have the shape that a run's claims have.

    Returns:
        table, rows, block, looks, claims, warnings.
    """
    outcome = Outcome(
        phenomenon=phenomenon,
        scale="table",
        trials=(),
        results={},
        verdicts=tuple(verdicts),
        trials_run=0,
        trials_cached=0,
        diverged=0,
        seconds=0.0,
        core_seconds=0.0,
        warnings=tuple(warnings),
    )
    made = as_json(outcome)
    return {
        "table": phenomenon.name,
        "rows": rows,
        "block": block,
        "looks": list(looks),
        "claims": made["claims"],
        "warnings": made["warnings"],
    }
