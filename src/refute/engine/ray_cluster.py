"""Workers of a Ray cluster, in this process or on many machines: a cohort is a task, and results come back at once.

A data set goes to a node once: from the driver's cache into the cluster's object store, from there into the cache of a
node that does not have it. Ray itself retries nothing, because the executor does, with smaller cohorts.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import ray
import torch

from refute import datasets
from refute.core import Cohort, Phenomenon
from refute.engine import memory
from refute.engine.crew import Answer, Died, Raised
from refute.engine.worker import answer
from refute.environment import provenance
from refute.errors import DataError, ExecutionError

IN_FLIGHT = 2
"""Tasks per core of the cluster: one runs, the next has arrived before it ends."""
COUNT_CORES_EVERY_SECONDS = 5.0
CLIENT = "ray://"
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True)
class Sent:
    """A data set in the object store; `own` as in `refute.datasets.Parcel`."""

    parcel: Any
    own: str | None


def connect(phenomenon: Phenomenon, cohorts: Sequence[Cohort], workers: int | None, address: str) -> "RayCrew":
    """A crew on the cluster at `address` ("ray://HOST:PORT"), or on one of this process ("ray").

    A connection that this process has already made with `ray.init` is used, whatever the address, and left open.

    Raises:
        ExecutionError: no cluster answers there.
    """
    ours = not ray.is_initialized()
    if ours:
        start(workers, address)
    return RayCrew(phenomenon, _send_data(cohorts), workers, ours=ours)


def start(workers: int | None, address: str) -> None:
    """Connect this process to a cluster; raises ExecutionError when none answers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address.startswith(CLIENT):
            ray.init(address, **QUIET)
        else:
            ray.init("local", num_cpus=workers or None, include_dashboard=False, **QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = _last_line(error)
        raise ExecutionError(
            f"no Ray cluster answers at {address} ({reason}); start one (docs/clusters.md) or take --executor local"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own in place


class RayCrew:
    """The cores of a cluster. Nodes may come and go."""

    def __init__(self, phenomenon: Phenomenon, data: Mapping[str, Sent], workers: int | None, *, ours: bool) -> None:
        self.phenomenon, self.data = _put(phenomenon), data
        self.workers, self.ours = workers, ours
        self.running: dict[Any, Cohort] = {}
        self.cores, self.counted = 1, float("-inf")

    def free(self) -> int:
        now = time.monotonic()
        if now - self.counted > COUNT_CORES_EVERY_SECONDS:
            self.cores, self.counted = max(1, int(ray.cluster_resources().get("CPU", 1))), now
        return min(IN_FLIGHT * self.cores, self.workers or sys.maxsize) - len(self.running)

    def give(self, cohort: Cohort) -> None:
        name = str(cohort.looped.get("dataset", ""))
        needs = {name: self.data[name]} if name in self.data else {}
        task = _task.options(num_gpus=0 if cohort.device == "cpu" else 1)
        self.running[task.remote(self.phenomenon, cohort, needs)] = cohort

    def wait(self) -> list[tuple[Cohort, Answer]]:
        try:
            ready, _ = ray.wait(list(self.running), num_returns=1)
            return [(self.running.pop(task), _result(task)) for task in ready]
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise ExecutionError(f"the Ray cluster is gone ({error}); finished cohorts are kept") from error

    def close(self) -> None:
        with contextlib.suppress(ConnectionError, ray.exceptions.RayError):
            for task in self.running:
                ray.cancel(task, force=True)
        self.running = {}
        if self.ours:
            ray.shutdown()


def _put(phenomenon: Phenomenon) -> Any:
    """In the object store; the file of a phenomenon that is not part of refute travels along."""
    module = sys.modules[phenomenon.trial.__module__]
    if module.__name__.startswith("refute."):
        return ray.put(phenomenon)
    ray.cloudpickle.register_pickle_by_value(module)
    try:
        return ray.put(phenomenon)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(module)


def _result(task: Any) -> Answer:
    try:
        found: Answer = ray.get(task)
    except ray.exceptions.RayTaskError as error:  # outside the trial function, whose errors are answers
        reason = _last_line(error.cause)
        fatal = ExecutionError(
            f"a node of the cluster can't run this ({reason}); it needs refute and what your phenomenon imports"
        )
        return Raised(reason, fatal=fatal)
    except ray.exceptions.RayError as error:
        out_of_memory = isinstance(error, ray.exceptions.OutOfMemoryError)
        return Died(f"{type(error).__name__}", out_of_memory)
    return found


def _last_line(error: object) -> str:
    """What a traceback of another machine ends with."""
    return (str(error).strip().splitlines() or [""])[-1]


# --- data sets ----------------------------------------------------------------------------------------------------


def _send_data(cohorts: Sequence[Cohort]) -> dict[str, Sent]:
    """The data sets that the cohorts name, in the object store; one that can't be had here is left to the nodes."""
    wanted = {str(cohort.looped.get("dataset", "")) for cohort in cohorts} & set(datasets.names())
    sent = {}
    for name in sorted(wanted):
        try:
            parcel = datasets.pack(name)
        except DataError:
            continue
        sent[name] = Sent(ray.put(parcel), parcel.own)
    return sent


# --- on the nodes -------------------------------------------------------------------------------------------------


def _measure(phenomenon: Phenomenon, cohort: Cohort, data: Mapping[str, Sent]) -> Answer:
    torch.set_num_threads(1)
    meter, room = _means(cohort.device)
    for name, sent in data.items():
        datasets.receive(name, sent.own, partial(ray.get, sent.parcel))
    return answer(phenomenon, cohort, meter, room, provenance(cohort.device))


@cache
def _means(device: str) -> tuple[memory.Meter, int]:
    """What measures memory in this process, and what one core's share of it is."""
    return memory.Meter(device), memory.share(device, os.cpu_count() or 1)


_task = ray.remote(num_cpus=1, max_retries=0)(_measure)
