"""What the catalogue and the cache hold: lists for a terminal and for programs."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from refute.core import Phenomenon, Totals
from refute.report import words
from refute.report.claims import effect_label
from refute.report.document import count_verdicts
from refute.report.terminal import say

MEGABYTE = 1e6


class DataStatus(Protocol):
    """What is known of a data set on this machine (`refute.datasets.DataStatus`)."""

    @property
    def name(self) -> str: ...
    @property
    def cached(self) -> bool: ...
    @property
    def bytes(self) -> int: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def path(self) -> Path: ...
    @property
    def identity(self) -> str | None: ...


def render_catalogue(phenomena: Sequence[Phenomenon], totals: Mapping[str, Totals], console: Console) -> None:
    """Print name, statement, number of claims and scales of every phenomenon, and what its evidence says."""
    for phenomenon in phenomena:
        scales = ", ".join(phenomenon.protocols)
        claims = len(phenomenon.claims)
        tail = f"  {claims} claim{'s' if claims != 1 else ''}; scales {scales}"
        say(Text.assemble((phenomenon.name, "bold"), (tail, "dim")), console)
        _say(console, phenomenon.statement, indent=2, hanging=False)
        if phenomenon.name in totals:
            _say(console, f"Evidence: {totals_in_words(totals[phenomenon.name])}", indent=2)
    if totals:
        every = [word for one in totals.values() for word, count in one.claims.items() for _ in range(count)]
        trials = sum(one.trials for one in totals.values())
        seconds = words.duration(sum(one.core_seconds for one in totals.values()))
        say("", console)
        noun = "phenomenon" if len(phenomena) == 1 else "phenomena"
        _say(console, f"{len(phenomena)} {noun}, {count_verdicts(every)}; {trials} trials, {seconds} of core time")


def totals_in_words(totals: Totals) -> str:
    """The evidence of one phenomenon in one line."""
    parts = [f"{totals.claims[word]} {word}" for word in words.VERDICTS if totals.claims.get(word)]
    cost = f"{totals.trials} trials, {words.duration(totals.core_seconds)} of core time"
    return f"{', '.join(parts)} ({totals.cells} cells, {cost}, scale {totals.scale})"


def catalogue_table(phenomena: Sequence[Phenomenon], totals: Mapping[str, Totals]) -> str:
    """The catalogue as one table in Markdown: what the evidence of each phenomenon says, and what it cost."""
    lines = [
        f"| phenomenon | {' | '.join(words.VERDICTS)} | cells | trials | core time |",
        "|---" * (len(words.VERDICTS) + 4) + "|",
    ]
    for phenomenon in phenomena:
        if phenomenon.name in totals:
            lines.append(_table_row(f"`{phenomenon.name}`", [totals[phenomenon.name]]))
    lines.append(_table_row(f"**all {len(totals)}**", list(totals.values())))
    return "\n".join(lines) + "\n"


def _table_row(name: str, found: Sequence[Totals]) -> str:
    counts = [str(sum(one.claims.get(word, 0) for one in found)) for word in words.VERDICTS]
    cost = words.duration(sum(one.core_seconds for one in found))
    sums = [str(sum(one.cells for one in found)), str(sum(one.trials for one in found)), cost]
    return f"| {' | '.join([name, *counts, *sums])} |"


def catalogue_markdown(phenomena: Sequence[Phenomenon], totals: Mapping[str, Totals]) -> str:
    """The catalogue as a page: the table, then statement, source and findings of every phenomenon."""
    lines = [
        "# Catalogue",
        "",
        "Made by `make docs` from the committed evidence (claims by verdict, scale `small`, two CPU cores); a page for "
        "each:",
        "`refute report NAME --evidence evidence/NAME/small`.",
        "",
        catalogue_table(phenomena, totals),
    ]
    for phenomenon in phenomena:
        source = phenomenon.source
        cited = f"{source.authors} ({source.year}). {source.title}."
        lines += [f"## {phenomenon.name}", "", phenomenon.statement, "", f"*{cited}*", ""]
        lines += [f"{' '.join(part.split())}\n" for part in phenomenon.findings.split("\n\n") if part.strip()]
    return "\n".join(lines).rstrip() + "\n"


def catalogue_json(phenomena: Sequence[Phenomenon], totals: Mapping[str, Totals]) -> dict[str, Any]:
    """The catalogue as a JSON value."""
    return {
        "phenomena": [
            {
                "name": phenomenon.name,
                "version": phenomenon.version,
                "statement": phenomenon.statement,
                "source": {
                    "authors": phenomenon.source.authors,
                    "title": phenomenon.source.title,
                    "year": phenomenon.source.year,
                    "openreview": phenomenon.source.openreview,
                    "arxiv": phenomenon.source.arxiv,
                },
                "claims": [{"id": claim.id, "statement": claim.statement} for claim in phenomenon.claims],
                "scales": list(phenomenon.protocols),
                "evidence": asdict(totals[phenomenon.name]) if phenomenon.name in totals else None,
            }
            for phenomenon in phenomena
        ]
    }


def render_definition(phenomenon: Phenomenon, console: Console) -> None:
    """Print what a phenomenon states: claims with bounds and reasons, quantities, factors, protocols, source."""
    source = phenomenon.source
    say(Text(words.title(phenomenon.name), style="bold"), console)
    _say(console, phenomenon.statement)
    _say(console, f"{source.authors} ({source.year}). {source.title}. {source.venue}".rstrip(". ") + ".", style="dim")
    identifiers = [("OpenReview", source.openreview), ("arXiv", source.arxiv), ("code", source.code)]
    _say(console, ", ".join(f"{name} {value}" for name, value in identifiers if value), style="dim")
    for claim in phenomenon.claims:
        tags = "".join([", headline" if claim.headline else "", ", control" if claim.control else ""])
        console.print()
        say(Text(f"{claim.id}{tags}", style="bold"), console)
        _say(console, claim.statement, indent=2, hanging=False)
        _say(console, f"Effect: {effect_label(phenomenon, claim)}", indent=2)
        _say(console, f"Precisely: {claim.in_words()}", indent=2)
        if claim.paper:
            _say(console, f"Published: {claim.paper}", indent=2)
    _section(console, "Quantities")
    for name, quantity in phenomenon.quantities.items():
        unit = f" ({quantity.unit})" if quantity.unit else ""
        along = f", along {words.listing(list(quantity.axes))}" if quantity.axes else ""
        _say(console, f"{name}{unit}: {quantity.definition}{along}", indent=2)
    _section(console, "Factors")
    for name, factor in phenomenon.factors.items():
        default = "" if factor.default is None else f"; default {words.level(factor.default)}"
        _say(console, f"{name}: {factor.definition}{default}", indent=2)
    for scale, protocol in phenomenon.protocols.items():
        _section(console, f"Protocol '{scale}'")
        for grid in protocol.grids:
            varied = "; ".join(f"{name}: {', '.join(map(words.level, found))}" for name, found in grid.levels.items())
            _say(console, f"{varied}; {grid.seeds} seeds", indent=2)
        _say(console, ", ".join(f"{name} {words.level(value)}" for name, value in protocol.settings.items()), indent=2)
    if phenomenon.deviations:
        _section(console, "Deviations from the paper")
        for deviation in phenomenon.deviations:
            _say(console, deviation, indent=2)


def render_datasets(found: Sequence[DataStatus], console: Console) -> None:
    """Print the known data sets: cached or not, size, channels."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("data set", no_wrap=True)
    table.add_column("cached", no_wrap=True)
    table.add_column("channels", overflow="fold")
    for one in found:
        cached = f"{one.bytes / MEGABYTE:.1f} MB" if one.cached else "no"
        table.add_row(Text(one.name), cached, Text(", ".join(one.channels)))
    console.print(table)


def datasets_json(found: Sequence[DataStatus]) -> dict[str, Any]:
    """The data sets as a JSON value."""
    return {
        "datasets": [
            {
                "name": one.name,
                "cached": one.cached,
                "bytes": one.bytes,
                "channels": list(one.channels),
                "path": str(one.path),
                "identity": one.identity,
            }
            for one in found
        ]
    }


def _section(console: Console, heading: str) -> None:
    console.print()
    say(Text(heading, style="bold"), console)


def _say(console: Console, text: str, *, indent: int = 0, style: str = "", hanging: bool = True) -> None:
    width = max(40, min(console.width, 110)) - indent
    for line in textwrap.wrap(text, width, subsequent_indent="  " if indent and hanging else ""):
        say(Text(" " * indent + line, style=style), console)
