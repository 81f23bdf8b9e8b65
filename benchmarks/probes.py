"""Linear probes of 16 replicas: refute's fit of all at once, and scikit-learn on one replica after the other.

The task: standardize the features of a hidden layer, fit a logistic probe (tolerance 1e-4 of the gradient of the mean
loss, scikit-learn's default) or a ridge regression for each penalty. Both get the same float32 features of trained nets
and the same number of threads, in turns, so that a machine whose speed drifts slows both. The objectives reached are
compared in float64: a fit that stops early would be no gain.

    python benchmarks/probes.py --tasks correctness classes wide --rounds 5
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from refute import architectures
from refute.instruments.features import penultimate, representations
from refute.instruments.interface import loss_function
from refute.instruments.linear_probes import LinearProbe, logistic_probe, ridge_probe

Maps = list[list[tuple[NDArray[np.float64], NDArray[np.float64]]]]
"""Replica, penalty: kernel (output, feature) and bias (output,) for standardized features."""


@dataclass(frozen=True)
class Task:
    """What is read: whether the net is right, or the class; ridge takes the class as targets +1 and -1."""

    examples: int
    width: int
    target: str
    method: str = "logistic"


TASKS = {
    "correctness": Task(3000, 128, "correct"),
    "correctness-large": Task(12000, 128, "correct"),
    "digits": Task(900, 128, "correct"),
    "classes": Task(3000, 128, "class"),
    "wide": Task(3000, 512, "correct"),
    "ridge": Task(3000, 128, "class", "ridge"),
}


def problem(task: Task, replicas: int) -> tuple[Tensor, Tensor]:
    """Features of the last hidden layer at unseen examples, and what is to be read from them."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(10, 64, generator=generator)
    labels = torch.randint(0, 10, (500 + task.examples,), generator=generator)
    inputs = means[labels] + 2.5 * torch.randn(len(labels), 64, generator=generator)
    network = architectures.build("mlp", (64,), 10, depth=2, width=task.width)
    weights = network.initialize(list(range(replicas)))
    loss = loss_function(network, weights, inputs[:500], labels[:500])
    flat = weights.flat.requires_grad_()
    optimizer = torch.optim.Adam([flat], lr=1e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss(flat).sum().backward()
        optimizer.step()
    flat.requires_grad_(False)
    found = representations(network, weights, inputs[500:])
    own = labels[500:].expand(replicas, -1)
    if task.target == "correct":
        own = (found["output"].argmax(dim=2) == own).long()
    return found[penultimate(found)], own


def objective(task: Task, scaled: NDArray[np.float64], labels: Tensor, maps: Maps, penalties: list[float]) -> Tensor:
    """What is minimized, (replica, penalty)."""
    found = []
    for x, y, own in zip(torch.from_numpy(scaled), labels, maps, strict=True):
        row = []
        for (kernel, bias), penalty in zip(own, penalties, strict=True):
            scores = x @ torch.from_numpy(kernel).T + torch.from_numpy(bias)
            square = float((kernel**2).sum())
            if task.method == "ridge":
                targets = 2.0 * torch.nn.functional.one_hot(y, 10) - 1
                row.append(float((scores - targets).square().sum()) + penalty * square)
            elif scores.shape[1] == 1:
                cost = torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], y.double(), reduction="sum")
                row.append(float(cost) + penalty / 2 * square)
            else:
                row.append(float(torch.nn.functional.cross_entropy(scores, y, reduction="sum")) + penalty / 2 * square)
        found.append(row)
    return torch.tensor(found, dtype=torch.float64)


def one_by_one(task: Task, features: NDArray[np.float32], labels: Tensor, penalties: list[float]) -> Maps:
    found: Maps = []
    for x, y in zip(features, labels.numpy(), strict=True):
        scaled = StandardScaler().fit_transform(x)
        row = []
        for penalty in penalties:
            if task.method == "ridge":
                model = Ridge(alpha=penalty).fit(scaled, 2.0 * np.eye(10, dtype=np.float32)[y] - 1)
            else:
                model = LogisticRegression(C=1 / penalty, max_iter=10_000).fit(scaled, y)
            row.append((model.coef_.astype(np.float64), np.asarray(model.intercept_, dtype=np.float64)))
        found.append(row)
    return found


def together(task: Task, features: Tensor, labels: Tensor, penalties: list[float]) -> LinearProbe:
    fit = ridge_probe if task.method == "ridge" else logistic_probe
    return fit(features, labels, penalties=penalties)


def standardized(probe: LinearProbe, features: Tensor) -> Maps:
    """Its maps for standardized features."""
    mean = features.double().mean(dim=1)[:, None, None]
    deviation = features.double().std(dim=1, correction=0)[:, None, None]
    scale = torch.where(deviation > 0, deviation, 1.0)
    kernel = probe.kernel.double()
    bias = probe.bias.double() + (kernel * mean).sum(dim=3)
    return [
        [(k.numpy(), b.numpy()) for k, b in zip(*own, strict=True)] for own in zip(kernel * scale, bias, strict=True)
    ]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, options: argparse.Namespace) -> dict[str, object]:
    task = TASKS[name]
    features, labels = problem(task, options.replicas)
    plain = features.numpy()
    probe = together(task, features, labels, options.penalties)
    alone = one_by_one(task, plain, labels, options.penalties)
    scaled = np.stack([StandardScaler().fit_transform(x.astype(np.float64)) for x in plain])
    mine, others = (
        objective(task, scaled, labels, maps, options.penalties) for maps in (standardized(probe, features), alone)
    )
    times = [
        (
            timed(lambda: together(task, features, labels, options.penalties)),
            timed(lambda: one_by_one(task, plain, labels, options.penalties)),
        )
        for _ in range(options.rounds)
    ]
    ours, theirs = ([turn[side] for turn in times] for side in (0, 1))
    return {
        "task": name,
        "examples": task.examples,
        "features": task.width,
        "penalties": options.penalties,
        "steps": [probe.steps.min().item(), probe.steps.max().item()],
        "all_converged": not bool(probe.flags["not converged"].any()),
        "largest_excess_of_refutes_objective": ((mine - others) / others).max().item(),
        "largest_excess_of_scikit_learns_objective": ((others - mine) / others).max().item(),
        "refute_seconds": [round(seconds, 3) for seconds in ours],
        "scikit_learn_seconds": [round(seconds, 3) for seconds in theirs],
        "ratio_of_medians": round(statistics.median(theirs) / statistics.median(ours), 2),
        "ratios": [round(b / a, 2) for a, b in zip(ours, theirs, strict=True)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=sorted(TASKS), default=list(TASKS))
    parser.add_argument("--replicas", type=int, default=16)
    parser.add_argument("--penalties", nargs="+", type=float, default=[0.1, 1.0, 10.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        for name in options.tasks:
            print(json.dumps(compare(name, options)), flush=True)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}")


if __name__ == "__main__":
    main()
