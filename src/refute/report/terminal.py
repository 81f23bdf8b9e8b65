"""Document -> lines for a terminal, 80 columns and more, readable without colour."""

import textwrap
from collections.abc import Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from refute.core import Outcome, VerdictWord
from refute.report import words
from refute.report.blocks import Cell, ClaimSection, Document
from refute.report.document import document

STYLES: Mapping[VerdictWord, str] = {
    "supported": "bold cyan",
    "refuted": "bold red",
    "limited": "bold magenta",
    "inconclusive": "bold yellow",
    "untested": "dim",
}
NARROWEST, WIDEST = 40, 110
MOST_CELLS = 12
"""Cells listed per claim; more are counted, those that differ from the rest first."""
NOTED_CELLS = 3
"""Cells named beside a note; more are counted."""
LEAST_MAPPED = 6
"""Cells from which a map is printed below their list."""
INDENT = 5
LABEL_WIDTH = 28


def render_terminal(outcome: Outcome | Document, console: Console) -> None:
    """Print the verdicts: per claim the word with its symbol, the effect with its interval, and the cells."""
    made = outcome if isinstance(outcome, Document) else document(outcome)
    for line in _lines(made, width_of(console.width), symbols_for(console)):
        say(line, console)


def plain_lines(outcome: Outcome | Document, *, width: int = 80, ascii_only: bool = False) -> list[str]:
    """What `render_terminal` prints, as lines of text without colour.

    Args:
        outcome: an outcome, or the document already made from it.
        width: columns to wrap at.
        ascii_only: symbols for terminals without Unicode.
    """
    made = outcome if isinstance(outcome, Document) else document(outcome)
    lines = _lines(made, width_of(width), words.ASCII_SYMBOLS if ascii_only else words.SYMBOLS)
    return [_in_ascii(line.plain) if ascii_only else line.plain for line in lines]


def say(line: Text | str, console: Console) -> None:
    """Print one line as it is: no markup, no wrapping, and no letter that the console's encoding lacks."""
    text = Text(line) if isinstance(line, str) else line.copy()
    if console.options.ascii_only:
        text.plain = _in_ascii(text.plain)
    console.print(text, soft_wrap=True, highlight=False)


def _in_ascii(text: str) -> str:
    return text.replace(words.NOTHING, "-").encode("ascii", "replace").decode("ascii")


def symbols_for(console: Console) -> Mapping[VerdictWord, str]:
    """Symbols that the console's encoding has."""
    return words.ASCII_SYMBOLS if console.options.ascii_only else words.SYMBOLS


def width_of(width: int) -> int:
    """Columns to wrap at in a terminal of this width."""
    return min(max(width, NARROWEST), WIDEST)


def _lines(made: Document, width: int, symbols: Mapping[VerdictWord, str]) -> list[Text]:
    lines = [
        Text(""),
        Text.assemble((made.title, "bold"), f"  ({made.name}, version {made.version}, scale {made.scale})"),
        *wrapped(made.statement, width, 0),
        *wrapped(f"{made.source.authors} ({made.source.year}). {made.source.title}", width, 0, style="dim"),
    ]
    if made.empty:
        lines += [Text(""), Text("Nothing has been run yet. Run it with:"), Text(f"  {made.reproduce}", style="bold")]
    for claim in made.claims:
        lines += claim_lines(claim, width, symbols)
    return [*lines, *_footer(made, width)]


def claim_lines(claim: ClaimSection, width: int, symbols: Mapping[VerdictWord, str]) -> list[Text]:
    """One claim: its word, what was found, its cells, their map and their notes."""
    tags = "".join([" (headline)" if claim.headline else "", " (control)" if claim.control else ""])
    style = STYLES[claim.verdict]
    lines = [
        Text(""),
        Text.assemble((f"{symbols[claim.verdict]} {claim.verdict.upper()}", style), f"  {claim.id}{tags}"),
        *wrapped(claim.statement, width, 2),
        *wrapped(claim.sentence, width, 2, style="dim"),
        *wrapped(_found(claim), width, 2),
    ]
    reasons = {cell.reason for cell in claim.cells}
    if {cell.estimate for cell in claim.cells} == {words.NOTHING} and len(reasons) == 1:
        return lines + wrapped(f"{claim.counts}: {reasons.pop()}", width, INDENT, style="dim")
    listed, left = _listed(claim)
    label_width = min(LABEL_WIDTH, max((cell_len(cell.label) for cell in listed), default=0))
    said = ""
    for cell in listed:
        lines += _cell(cell, claim, label_width, width, symbols)
        if cell.verdict in ("inconclusive", "untested") and cell.reason and cell.reason != said:
            needed = f"; {cell.seeds_needed} seeds needed" if cell.seeds_needed != words.NOTHING else ""
            lines += wrapped(cell.reason + needed, width, INDENT + 2, style="dim")
        said = cell.reason
    if left:
        lines += wrapped(f"... and {left} more ({claim.counts}); the page shows every one", width, INDENT, style="dim")
    lines += _map(claim, width, symbols)
    for note, cells in _noted(claim).items():
        where = "every cell" if len(cells) == len(claim.cells) > 1 else "; ".join(cells[:NOTED_CELLS])
        more = f" and {len(cells) - NOTED_CELLS} more" if NOTED_CELLS < len(cells) < len(claim.cells) else ""
        lines += wrapped(f"Note ({where}{more}): {note}", width, INDENT, style="dim")
    if claim.standing:
        lines += wrapped(f"Registration: {claim.standing}", width, INDENT, style="dim")
    return lines


def _noted(claim: ClaimSection) -> dict[str, list[str]]:
    """Each note with the cells that it is about."""
    noted: dict[str, list[str]] = {}
    for cell in claim.cells:
        for note in cell.notes:
            noted.setdefault(note, []).append(cell.label)
    return noted


def _map(claim: ClaimSection, width: int, symbols: Mapping[VerdictWord, str]) -> list[Text]:
    """The limits map with one symbol per cell; none where it would be wider than the terminal."""
    if claim.limits is None or len(claim.cells) < LEAST_MAPPED:
        return []
    gap = "  "
    label = max(cell_len(row) for row, _ in claim.limits.rows)
    columns = [cell_len(column) for column in claim.limits.columns]
    if INDENT + label + sum(columns) + len(gap) * len(columns) > width:
        return []
    head = Text(" " * (INDENT + label) + "".join(f"{gap}{column}" for column in claim.limits.columns), style="dim")
    lines = [head]
    for row, places in claim.limits.rows:
        line = Text(" " * INDENT + row + " " * (label - cell_len(row)))
        for place, size in zip(places, columns, strict=True):
            line.append(gap)
            if place is None:
                line.append(" " * size)
            else:
                line.append(symbols[place.verdict].ljust(size), STYLES[place.verdict])
        lines.append(line)
    return lines


def _found(claim: ClaimSection) -> str:
    """The claim's region and what was found, with the effect that is meant."""
    text = f"Claimed {claim.region}"
    if claim.pooled is not None:
        text += f", found {claim.summary} (mean over cells, 95 %)"
    elif claim.summary != words.NOTHING:
        text += f", found {claim.summary}"
    if claim.pooled is not None and claim.pooled.prediction_interval:
        text += f", a new cell {claim.pooled.prediction_interval} (about 90 %)"
    return f"{text}: {claim.effect_label}"


def _listed(claim: ClaimSection) -> tuple[list[Cell], int]:
    """The cells to print and how many are left out; cells with the rarer verdicts come first when there are many."""
    if len(claim.cells) <= MOST_CELLS:
        return list(claim.cells), 0
    rarity = {cell.verdict: sum(other.verdict == cell.verdict for other in claim.cells) for cell in claim.cells}
    ranked = sorted(claim.cells, key=lambda cell: rarity[cell.verdict])
    return ranked[:MOST_CELLS], len(claim.cells) - MOST_CELLS


def _cell(
    cell: Cell, claim: ClaimSection, label_width: int, width: int, symbols: Mapping[VerdictWord, str]
) -> list[Text]:
    found = cell.estimate if cell.interval == words.NOTHING else f"{cell.estimate} {cell.interval}"
    confidence = "" if claim.confidence or cell.interval == words.NOTHING else f" ({cell.confidence})"
    rest = f"{found}{confidence}  {cell.seeds}"
    head = f"   {symbols[cell.verdict]} "
    label = cell.label + " " * max(0, label_width - cell_len(cell.label))
    if cell_len(label) > label_width or INDENT + label_width + 2 + cell_len(rest) > width:
        lines = wrapped(cell.label, width, INDENT)
        lines[0] = Text.assemble((head, STYLES[cell.verdict]), lines[0].plain.lstrip())
        lines += wrapped(rest, width, INDENT + 2)
    else:
        lines = [Text.assemble((head, STYLES[cell.verdict]), f"{label}  {rest}")]
    return lines


def _footer(made: Document, width: int) -> list[Text]:
    trials = made.trials
    confidences = {claim.confidence for claim in made.claims if claim.cells}
    interval = f"Intervals of cells: {confidences.pop()}. " if len(confidences) == 1 and "" not in confidences else ""
    text = (
        f"{trials.stored} of {trials.planned} trials: {trials.run} run now, {trials.cached} from the lab, "
        f"{trials.diverged} diverged; {trials.core_seconds} of core time."
    )
    return [
        Text(""),
        *wrapped(made.summary + ".", width, 0, style="bold"),
        *wrapped(made.course, width, 0, style="dim"),
        *wrapped(interval + text, width, 0, style="dim"),
    ]


def wrapped(text: str, width: int, indent: int, *, style: str = "") -> list[Text]:
    """A text in lines of at most `width` columns."""
    pieces = textwrap.wrap(text, width - indent, break_on_hyphens=False) if text else []
    return [Text(" " * indent + piece, style=style) for piece in pieces]
