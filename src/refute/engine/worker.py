"""What a worker does: it measures cohort after cohort and answers for each, whatever the trial function does."""

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from refute.core import Cohort, Phenomenon, Provenance
from refute.engine import memory
from refute.engine.crew import Answer, Done, Raised
from refute.engine.measure import measure
from refute.errors import DataError, DefinitionError
from refute.forkserver import ONE_THREAD

READY = "ready"
"""What a worker says first: it could be started, and its libraries imported."""


@dataclass(frozen=True)
class Post:
    """What a worker is told once: what it measures, with which environment, and what it may take."""

    phenomenon: Phenomenon
    provenance: Provenance
    environment: Mapping[str, str]
    workers: int
    memory: int | None


def work(connection: "Connection[Answer | str, Cohort]", post: Post) -> None:
    """Measure cohorts until the connection ends, or the driver does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    os.environ.clear()
    os.environ.update({**post.environment, **ONE_THREAD})
    torch.set_num_threads(1)
    _end_with_the_driver()
    memory.offer_to_the_kernel()
    device = post.provenance.device
    meter, room = memory.Meter(device), memory.share(device, post.workers, post.memory)
    if post.memory is not None and not memory.on_gpu(device):
        memory.limit(room)
    connection.send(READY)
    while True:
        try:
            cohort = connection.recv()
        except EOFError:
            return
        connection.send(answer(post.phenomenon, cohort, meter, room, post.provenance))


def answer(phenomenon: Phenomenon, cohort: Cohort, meter: memory.Meter, room: int, provenance: Provenance) -> Answer:
    """Measure one cohort; every error becomes an answer."""
    started = time.perf_counter()
    meter.start()
    try:
        results = measure(phenomenon, cohort)
    except (DataError, DefinitionError) as error:
        return Raised(str(error), fatal=error)
    except Exception as error:
        raised = Raised(_in_words(error), memory.is_exhaustion(error))
    else:
        return Done(results, time.perf_counter() - started, meter.peak(), room, provenance)
    if raised.out_of_memory:
        gc.collect()
        if memory.on_gpu(meter.device):
            torch.cuda.empty_cache()
    return raised


def _in_words(error: Exception) -> str:
    """Type, text and place of an error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"


def _end_with_the_driver() -> None:
    """End when the driver does, also after kill -9 in the middle of a cohort: nothing computes for nobody."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
