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
from dataclasses import dataclass, field
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
from refute.errors import DataError, ExecutionError, UsageError

IN_FLIGHT = 2
"""Tasks per core (or GPU) of the cluster: one runs, the next has arrived before it ends."""
COUNT_EVERY_SECONDS = 5.0
STOPS_WITHIN_SECONDS = 1.0
"""How long a signal waits at most, for Ray does not stop waiting when one comes."""
CLIENT = "ray://"
CPU, GPU = "CPU", "GPU"
"""What tasks take of a node, in Ray's words."""
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True)
class Sent:
    """A data set in the object store; `own` as in `refute.datasets.Parcel`."""

    parcel: Any
    own: str | None


@dataclass(frozen=True)
class Terms:
    """On which device a crew's tasks compute, how many of them at once, and in how many bytes of each node."""

    device: str
    workers: int | None
    limit: int | None

    @property
    def kind(self) -> str:
        """What there is one of for each task."""
        return GPU if memory.on_gpu(self.device) else CPU

    def at_once(self, resources: Mapping[str, float]) -> int:
        """Tasks that a node with these resources runs at the same time: each takes a core, and a GPU to compute on."""
        places = min(int(resources.get(kind, 1)) for kind in {CPU, self.kind})
        return max(1, min(places, self.workers or sys.maxsize))

    def room(self, resources: Mapping[str, float]) -> int:
        """Bytes for one task of a node: its part of the limit or of what is free; a GPU is free for one task alone."""
        alone = self.kind == GPU and self.limit is None
        return memory.share(self.device, 1 if alone else self.at_once(resources), self.limit)


@dataclass(frozen=True)
class Connection:
    """What this process is connected to, and the data sets that it has put there, by name and own copy."""

    address: str
    workers: int | None
    identity: tuple[str, str]
    """The driver's node and job in the cluster; no two connections have the same."""
    sent: dict[tuple[str, str | None], Sent] = field(default_factory=dict)


_kept: list[Connection] = []
"""The last connection that was made here. It serves look after look, until the process ends or asks for another."""


def connect(
    phenomenon: Phenomenon, cohorts: Sequence[Cohort], workers: int | None, address: str, limit: int | None
) -> "RayCrew":
    """A crew on the cluster at `address` ("ray://HOST:PORT"), or on one of this process ("ray").

    A connection that this process has already made with `ray.init` is used, whatever the address.

    Args:
        phenomenon: whose trial function is called.
        cohorts: what will be given, all for the same device.
        workers: most tasks at once.
        address: of the cluster.
        limit: bytes for all tasks of a node together; by default what is free.

    Raises:
        ExecutionError: no cluster answers there.
        UsageError: the cohorts are for a GPU, and no node has one.
    """
    try:
        connection = _connection(workers, address)
        device = cohorts[0].device
        if memory.on_gpu(device) and not _there_are(GPU):
            raise UsageError(
                f"device '{device}' needs a GPU, and no node of the Ray cluster at {address} has one; start a node "
                "that has (docs/clusters.md) or take --device cpu"
            )
        return RayCrew(phenomenon, _send_data(cohorts, connection.sent), Terms(device, workers, limit))
    except (ConnectionError, ray.exceptions.RaySystemError) as error:
        raise _gone(error) from error


def _connection(workers: int | None, address: str) -> Connection:
    """The one that is kept, if it is as wanted; else the user's own; else a new one."""
    if ray.is_initialized():
        there = _identity()
        kept = next((one for one in _kept if one.identity == there), None)
        if kept is None:
            return Connection(address, workers, there)
        if (kept.address, kept.workers) == (address, workers):
            return kept
        ray.shutdown()
    return start(workers, address)


def start(workers: int | None, address: str) -> Connection:
    """Connect this process to a cluster, and keep the connection; raises ExecutionError when none answers."""
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
    _kept[:] = [Connection(address, workers, _identity())]
    return _kept[0]


def _identity() -> tuple[str, str]:
    """Of the present connection."""
    context = ray.get_runtime_context()
    return context.get_node_id(), context.get_job_id()


def _there_are(kind: str) -> int:
    """How many cores or GPUs the cluster has now."""
    return int(ray.cluster_resources().get(kind, 0))


def _gone(error: Exception) -> ExecutionError:
    """The connection is given up, so that the next run makes a new one."""
    if _kept:
        _kept.clear()
        with contextlib.suppress(ConnectionError, ray.exceptions.RayError):
            ray.shutdown()
    return ExecutionError(f"the Ray cluster is gone ({error}); finished cohorts are kept")


class RayCrew:
    """The cores of a cluster, or its GPUs. Nodes may come and go."""

    def __init__(self, phenomenon: Phenomenon, data: Mapping[str, Sent], terms: Terms) -> None:
        self.phenomenon, self.data, self.terms = _put(phenomenon), data, terms
        self.running: dict[Any, Cohort] = {}
        self.places, self.counted = 1, float("-inf")

    def free(self) -> int:
        now = time.monotonic()
        if now - self.counted > COUNT_EVERY_SECONDS:
            self.places, self.counted = max(1, _there_are(self.terms.kind)), now
        return min(IN_FLIGHT * self.places, self.terms.workers or sys.maxsize) - len(self.running)

    def give(self, cohort: Cohort) -> None:
        name = str(cohort.looped.get("dataset", ""))
        needs = {name: self.data[name]} if name in self.data else {}
        self.running[_tasks[self.terms.kind].remote(self.phenomenon, cohort, needs, self.terms)] = cohort

    def wait(self) -> list[tuple[Cohort, Answer]]:
        try:
            ready: list[Any] = []
            while not ready:
                ready, _ = ray.wait(list(self.running), num_returns=1, timeout=STOPS_WITHIN_SECONDS)
            return [(self.running.pop(task), _result(task)) for task in ready]
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise _gone(error) from error
        except SystemError as error:  # so Ray's compiled code wraps what the handler of a signal raised: a stop
            raise error.__cause__ or error from None

    def close(self) -> None:
        """End the tasks; the connection serves the next look, and Ray closes it when this process ends."""
        if ray.is_initialized():
            with contextlib.suppress(ConnectionError, ray.exceptions.RayError):
                for task in self.running:
                    ray.cancel(task, force=True)
        self.running = {}


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


def _send_data(cohorts: Sequence[Cohort], there: dict[tuple[str, str | None], Sent]) -> dict[str, Sent]:
    """The data sets that the cohorts name, in the object store; one that can't be had here is left to the nodes.

    What was put there before is `there`, to which this adds.
    """
    wanted = {str(cohort.looped.get("dataset", "")) for cohort in cohorts} & set(datasets.names())
    sent = {}
    for name in sorted(wanted):
        try:
            parcel = datasets.pack(name)
        except DataError:
            continue
        content = name, parcel.own
        if content not in there:
            there[content] = Sent(ray.put(parcel), parcel.own)
        sent[name] = there[content]
    return sent


# --- on the nodes -------------------------------------------------------------------------------------------------


def _measure(phenomenon: Phenomenon, cohort: Cohort, data: Mapping[str, Sent], terms: Terms) -> Answer:
    torch.set_num_threads(1)
    meter, room, most = _means(terms)
    for name, sent in data.items():
        datasets.receive(name, sent.own, partial(ray.get, sent.parcel))
    with memory.limited(most):
        return answer(phenomenon, cohort, meter, room, provenance(cohort.device))


@cache
def _means(terms: Terms) -> tuple[memory.Meter, int, int | None]:
    """What measures memory in this process, what a task may take of it, and what the process then holds at most."""
    meter = memory.Meter(terms.device)
    here = ray.get_runtime_context().get_node_id()
    room = terms.room(next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here))
    return meter, room, memory.hard_limit(terms.device, room, terms.limit)


_tasks = {
    CPU: ray.remote(num_cpus=1, max_retries=0)(_measure),
    GPU: ray.remote(num_cpus=1, num_gpus=1, max_calls=1, max_retries=0)(_measure),
}
"""A process that has computed on a GPU ends with its task, or it would keep the GPU's memory, and that GPU."""
