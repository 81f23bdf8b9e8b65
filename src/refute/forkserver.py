"""The process that workers are forked from: it imports once what all of them need, while the driver is still importing.

Workers begin in milliseconds then, and share the memory of the libraries. It must never have run a second thread, so
the libraries' thread pools are switched off before anything is imported in it.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}
"""What keeps the libraries below numpy and torch from starting threads of their own."""

AVAILABLE = "forkserver" in multiprocessing.get_all_start_methods()
WORKER = "refute.engine.worker"


def start(*modules: str) -> None:
    """Start it, once per process; it imports what a worker needs, and these modules, without keeping the caller."""
    if not AVAILABLE:
        return
    forkserver.set_forkserver_preload([WORKER, *modules])
    with environment(ONE_THREAD):
        forkserver.ensure_running()


def preload_of(phenomena: Sequence[str]) -> tuple[str, ...]:
    """Modules of phenomena by name; a name that does not exist is passed over by the fork server."""
    return tuple(f"refute.phenomena.{name.replace('-', '_')}" for name in phenomena)


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
