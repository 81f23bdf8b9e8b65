"""Progress -> a live table in a terminal, or a plain line now and then where there is none."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from refute.core import Progress, Verdict
from refute.report import words
from refute.report.claims import claim_section
from refute.report.terminal import STYLES, say, symbols_for

PLAIN_EVERY_SECONDS = 5.0
"""Pause between plain lines: a log should not drown in them."""
REFRESH_PER_SECOND = 4
BAR_WIDTH = 24
WIDEST_COLUMN = 24
"""Only the last column of the live table gives way in a narrow terminal."""


@contextlib.contextmanager
def watch(console: Console, *, every: float = PLAIN_EVERY_SECONDS) -> Iterator[Callable[[Progress], None]]:
    """Follow a run: yields the function that is told about progress.

    Args:
        console: where to print; a live table when it is a terminal, else plain lines.
        every: least number of seconds between two plain lines; the last state is always printed.
    """
    if console.is_terminal:
        with _live(console) as tell:
            yield tell
    else:
        with _plain(console, every) as tell:
            yield tell


class _Moment:
    """The latest progress, with a clock that runs on between two reports."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.told_at = 0.0

    def tell(self, progress: Progress) -> None:
        if progress.message:
            say(progress.message, self.console)
        self.progress, self.told_at = progress, time.monotonic()

    def __rich__(self) -> RenderableType:
        if self.progress is None:
            return Text("starting ...")
        return _table(self.progress, time.monotonic() - self.told_at, self.console)


@contextlib.contextmanager
def _live(console: Console) -> Iterator[Callable[[Progress], None]]:
    moment = _Moment(console)
    with Live(moment, console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True):
        yield moment.tell
    if moment.progress is not None:
        say(status_line(moment.progress), console)


@contextlib.contextmanager
def _plain(console: Console, every: float) -> Iterator[Callable[[Progress], None]]:
    printed_at = -math.inf
    waiting: Progress | None = None

    def tell(progress: Progress) -> None:
        nonlocal printed_at, waiting
        if progress.message:
            say(progress.message, console)
        waiting = progress
        if time.monotonic() - printed_at >= every:
            say(status_line(progress), console)
            printed_at, waiting = time.monotonic(), None

    try:
        yield tell
    finally:
        if waiting is not None:
            say(status_line(waiting), console)


def status_line(progress: Progress) -> str:
    """One moment of a run as one line."""
    done = progress.trials_run + progress.trials_cached
    parts = [
        f"{progress.phenomenon.name} ({progress.scale}): {done} of {progress.trials_planned} trials",
        f"cohort {progress.cohorts_done} of {progress.cohorts_total}",
        _pace(progress, 0.0),
    ]
    if progress.verdicts:
        parts.append(", ".join(_in_short(verdict) for verdict in progress.verdicts))
    return "; ".join(part for part in parts if part)


def _in_short(verdict: Verdict) -> str:
    """A claim's verdict so far; an open one is marked."""
    return f"{verdict.claim.id} {verdict.verdict}{'' if verdict.settled else ' so far'}"


def _pace(progress: Progress, since: float) -> str:
    parts = [f"{words.duration(progress.seconds + since)} so far"]
    if progress.trials_per_second > 0:
        parts.append(f"{words.number(progress.trials_per_second)} trials/s")
    left = progress.seconds_left
    if math.isfinite(left) and left > since:
        parts.append(f"about {words.duration(left - since)} left")
    if progress.diverged:
        parts.append(f"{progress.diverged} diverged")
    return ", ".join(parts)


def _table(progress: Progress, since: float, console: Console) -> RenderableType:
    done = progress.trials_run + progress.trials_cached
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(f"{progress.phenomenon.name} ({progress.scale})", style="bold"),
        ProgressBar(total=max(1, progress.trials_planned), completed=done, width=BAR_WIDTH),
        Text(f"{done}/{progress.trials_planned} trials, cohort {progress.cohorts_done}/{progress.cohorts_total}"),
    )
    if not progress.verdicts:
        return Group(head, Text(_pace(progress, since), style="dim"))
    symbols = symbols_for(console)
    rows = []
    for verdict in progress.verdicts:
        section = claim_section(progress.phenomenon, verdict)
        word = Text(f"{symbols[verdict.verdict]} {verdict.verdict}", style=STYLES[verdict.verdict])
        rows.append((Text(section.id), word, Text(section.settled), Text(section.summary), Text(section.counts)))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, name in enumerate(("claim", "so far", "looks", "effect")):
        widest = max(len(name), *(row[place].cell_len for row in rows))
        table.add_column(name, no_wrap=True, min_width=min(widest, WIDEST_COLUMN))
    table.add_column("cells", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return Group(head, Text(_pace(progress, since), style="dim"), table)
