"""What a person sees while data come: one bar, and one line per channel that could not be used; all on stderr."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

Tell = Callable[[int, int], None]  # takes (bytes so far, bytes in all or 0 if not known)

_log = logging.getLogger("refute.datasets")


def note(text: str, *, shown: bool) -> None:
    """Say `text`: on stderr if `shown`, else to the log only."""
    _log.info(text)
    if shown:
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(title: str, *, shown: bool) -> Iterator[Tell]:
    """A progress bar that takes (bytes so far, bytes in all or 0); drawn only if `shown` and stderr is a terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda *_: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task(title, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total or None)
