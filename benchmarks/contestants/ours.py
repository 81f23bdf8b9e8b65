"""refute: `training.train`, in as many processes with one thread each as there are cores, each with its share."""

import itertools
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

import torch

from contestants.nets import CLASSES, NETS, TRAIN
from contestants.task import (
    CORES,
    EVALUATED,
    LEARNING_RATE,
    MOMENTUM,
    Contestant,
    Outcome,
    Task,
    joined,
    loaded,
    outcome,
    score_of,
)
from refute.algorithms import SGD
from refute.architectures import Network
from refute.datasets import Data
from refute.forkserver import ONE_THREAD
from refute.instruments import accuracy
from refute.training import train


def build(task: Task) -> Contestant:
    os.environ.update(ONE_THREAD)
    cuts = [task.replicas * worker // CORES for worker in range(CORES + 1)]
    shares = [range(start, end) for start, end in itertools.pairwise(cuts) if end > start]
    context = get_context("spawn")
    workers = [ProcessPoolExecutor(1, mp_context=context) for _ in shares]

    def run(steps: int) -> Outcome:
        waiting = [worker.submit(part, task, share, steps) for worker, share in zip(workers, shares, strict=True)]
        found = [each.result() for each in waiting]
        return joined(found, max(each.training_s for each in found))

    run(3)
    return Contestant(run)


@lru_cache(maxsize=1)
def network(name: str) -> Network:
    net = NETS[name]
    return Network.from_module(net.make, input_shape=net.shape, outputs=net.outputs, name=name)


def part(task: Task, seeds: range, steps: int) -> Outcome:
    """A worker's share of the replicas."""
    torch.set_num_threads(1)
    net, (inputs, labels, test_inputs, test_labels) = task.what, loaded(task.net)
    every, own = torch.arange(TRAIN).expand(len(seeds), TRAIN), labels.expand(len(seeds), TRAIN)
    data = Data(
        name=net.name,
        inputs=inputs,
        index=every,
        labels=own,
        clean_labels=own,
        validation_index=None,
        validation_labels=None,
        test_inputs=test_inputs,
        test_labels=test_labels,
        classes=CLASSES,
        input_shape=net.shape,
        identity=net.name,
    )
    started = time.perf_counter()
    trained = train(
        network(net.name),
        data,
        SGD(momentum=MOMENTUM),
        learning_rate=LEARNING_RATE,
        seeds=list(seeds),
        steps=steps,
        batch=task.batch,
        loss="reconstruction" if net.reconstructs else "cross-entropy",
    )
    training_s = time.perf_counter() - started
    if not net.reconstructs:
        score = float(accuracy(network(net.name), trained.end, test_inputs, test_labels).mean())
    else:
        parts = zip(test_inputs.split(EVALUATED[net.kind]), test_labels.split(EVALUATED[net.kind]), strict=True)
        scores = [score_of(net, network(net.name).evaluate(trained.end, x), x, y) for x, y in parts]
        score = sum(scores) / len(scores)
    return outcome(trained.losses, score, training_s)
