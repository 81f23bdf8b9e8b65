"""The plain loop in a pool of processes with one thread each (joblib), a replica to a call."""

import torch

from contestants import plain
from contestants.task import CORES, Contestant, LeftOutError, Outcome, Task, joined

try:
    import joblib
except ImportError:
    joblib = None

WARMING = 4
"""Calls to each process before the race, so that all have imported and loaded what they need."""


def replica(task: Task, seed: int, steps: int) -> Outcome:
    torch.set_num_threads(1)
    return plain.replica(task, seed, steps)


def build(task: Task) -> Contestant:
    if joblib is None:
        raise LeftOutError("joblib is not installed")
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=CORES, batch_size=1, pre_dispatch="all")

    def run(steps: int, replicas: int = task.replicas) -> Outcome:
        found = parallel(joblib.delayed(replica)(task, seed, steps) for seed in range(replicas))
        return joined(found, sum(each.training_s for each in found) / CORES)

    run(3, WARMING * CORES)
    return Contestant(run)
