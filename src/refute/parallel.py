"""Training on all cores: the replicas of a cohort divided among processes with one thread each."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor

from refute.algorithms import Algorithm
from refute.architectures import Network, Readout, Weights
from refute.architectures.network import shares
from refute.attacks import Attack
from refute.augmentation import Augmentation
from refute.datasets import Data
from refute.errors import ExecutionError, UsageError
from refute.losses import Loss
from refute.schedules import Schedule
from refute.stopping import EarlyStop, State
from refute.training import Run, Vector, column, common_replicas, train

MOST_AT_A_TIME = 32
"""Replicas that a worker is given at a time, at most: enough where they share a step, few enough to see progress."""

SHARED_MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one."""


def train_on_cores(
    network: Network,
    data: Data,
    algorithm: Algorithm | None = None,
    *,
    learning_rate: Vector,
    seeds: Sequence[int],
    steps: int,
    batch: int | None,
    weight_decay: Vector = 0.0,
    schedule: Schedule | None = None,
    loss: str | Loss = "cross-entropy",
    augmentations: Sequence[Augmentation] = (),
    attack: Attack | None = None,
    stop: EarlyStop | None = None,
    readout: Readout | None = None,
    snapshots: Sequence[int] = (),
    start: Weights | None = None,
    workers: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Run:
    """As `training.train`, with its arguments, errors and result, on several cores of this machine.

    A replica depends on its seed alone: how many workers there are changes nothing (but the last bits of what torch
    multiplies). Workers start with the first call, which takes some seconds, and wait for more a few minutes. Modules,
    losses and schedules may be lambdas and may come from a notebook. Data on another device are trained here, all at
    once.

    Args:
        workers: processes; as many as there are cores by default, 1 trains in this one.
        tell: is told of every finished part, such as "32 of 64 replicas trained"; `print` will do.

    Raises:
        ExecutionError: a worker was killed.
        UsageError: there is no worker to train.
    """
    number = joblib.cpu_count() if workers is None else workers
    if number < 1:
        raise UsageError(f"workers should be at least 1, but is {number}")
    replicas = common_replicas(data, seeds)
    rate, decay = column(learning_rate, replicas, "learning_rate"), column(weight_decay, replicas, "weight_decay")
    parts = shares(replicas, min(MOST_AT_A_TIME, -(-replicas // number))) if replicas else []
    if number == 1 or len(parts) < 2 or data.inputs.device.type != "cpu":
        parts = [slice(0, replicas)]

    def settings(part: slice) -> dict[str, object]:
        return {
            "algorithm": algorithm and algorithm.take(part),
            "learning_rate": rate[part, 0].clone(),
            "seeds": seeds[part],
            "steps": steps,
            "batch": batch,
            "weight_decay": decay[part, 0].clone(),
            "schedule": schedule,
            "loss": loss,
            "augmentations": augmentations,
            "attack": attack and attack.take(part),
            "stop": stop and _From(stop, part.start),
            "readout": readout and readout.take(part),
            "snapshots": snapshots,
            "start": start and start.take(part).clone(),
        }

    if len(parts) == 1:
        return train(network, data, **settings(parts[0]))  # type: ignore[arg-type]
    folder = _folder(4 * replicas * network.parameters() * (2 + len(snapshots)))
    needed, pool = _needed(data), {"inputs": data.inputs.numpy()}
    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            # the pool is one array for all parts, so joblib writes it once; mmap_mode: workers map it
            done = joblib.Parallel(n_jobs=number, return_as="generator", mmap_mode="c", batch_size=1)(
                joblib.delayed(_train_part)(network, _packed(needed.take_replicas(part)) | pool, settings(part), folder)
                for part in parts
            )
            found: list[Tensor] = []
            for part, file in zip(parts, done, strict=True):
                arrays = _read(file)
                found = found or [torch.empty(replicas, *array.shape[1:], dtype=array.dtype) for array in arrays]
                for whole, array in zip(found, arrays, strict=True):
                    whole[part] = array
                if tell is not None:
                    tell(f"{part.stop} of {replicas} replicas trained")
    except BrokenProcessPool as error:
        raise ExecutionError(
            f"a worker that trained {network.name} was killed, most often for lack of memory; try fewer workers than "
            f"{number}, or fewer seeds at a time"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _run(network, found, snapshots, readout or Readout())


@dataclass(frozen=True)
class _From:
    """An early stop for the replicas from `first` on: rules know replicas by their places in the whole cohort."""

    stop: EarlyStop
    first: int

    def start(self, replicas: Tensor) -> State:
        return self.stop.start(replicas + self.first)

    def finished(self, state: State, step: int, losses: Tensor, weights: Weights) -> Tensor:
        return self.stop.finished(state, step, losses, weights)


def _folder(expected: int) -> Path:
    """Where workers leave what they found, which is `expected` bytes: in memory if there is room, pipes are slow."""
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * expected
    return Path(tempfile.mkdtemp(prefix=_prefix(os.getpid()), dir=SHARED_MEMORY if roomy else None))


def _prefix(driver: int) -> str:
    return f"refute-{driver}-"


def _needed(data: Data) -> Data:
    """What training looks at, but for the pool: no examples for tests and validation, and no second labels."""
    return replace(
        data,
        inputs=data.inputs[:0],
        clean_labels=data.labels,
        validation_index=None,
        validation_labels=None,
        test_inputs=data.test_inputs[:0],
        test_labels=data.test_labels[:0],
    )


def _packed(data: Data) -> dict[str, object]:
    """With arrays instead of tensors: of a part, these travel without the rest of the memory that they lie in."""
    values = {each.name: getattr(data, each.name) for each in fields(data)}
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in values.items()}


def _train_part(network: Network, data: Mapping[str, object], settings: Mapping[str, object], folder: Path) -> Path:
    """Train some replicas, in a worker; the file with the arrays of their `Run`, in the order of `_run`."""
    torch.set_num_threads(1)
    _end_with_the_driver(os.getppid(), folder.parent)
    tensors = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in data.items()}
    run = train(network, Data(**tensors), **settings)  # type: ignore[arg-type]
    weights = [run.start, run.end, *run.snapshots.values()]
    found = [tensor for each in weights for tensor in (each.flat, *(each.buffers[name] for name in _buffers(network)))]
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        for tensor in (*found, run.losses, run.taken):
            np.save(file, tensor.numpy())
    return Path(file.name)


@cache
def _end_with_the_driver(driver: int, folder: Path) -> None:
    """End this worker when the driver does, also after kill -9: nothing computes for nobody, no files stay."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(1)
        for left in folder.glob(f"{_prefix(driver)}*"):
            shutil.rmtree(left, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read(path: Path) -> list[Tensor]:
    """The tensors of such a file, which is removed."""
    found = []
    with path.open("rb") as file:
        while file.peek(1):
            found.append(torch.from_numpy(np.load(file)))
    path.unlink()
    return found


def _run(network: Network, found: Sequence[Tensor], snapshots: Sequence[int], readout: Readout) -> Run:
    """A `Run` from its tensors: flat and buffers of start, end and snapshots, then losses and steps taken."""
    names = _buffers(network)
    length = 1 + len(names)
    *weights, losses, taken = found
    pieces = [weights[first : first + length] for first in range(0, len(weights), length)]
    start, end, *kept = (Weights(network.slots, flat, dict(zip(names, rest, strict=True))) for flat, *rest in pieces)
    steps = dict.fromkeys(snapshots)  # one asked for twice is kept once, in the place of the first
    return Run(start, end, dict(zip(steps, kept, strict=True)), losses, taken, readout)


def _buffers(network: Network) -> list[str]:
    return [slot.name for slot in network.slots if slot.buffer]
