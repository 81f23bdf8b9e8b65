"""Trials per second: refute against a plain PyTorch loop that does the same trials, one after the other.

The plain loop uses nn.Module with PyTorch's default threads, as most people write it; refute its worker processes,
with their start-up. The two take turns, so that a machine whose speed drifts slows both; what counts is the ratio of
medians.
Three trials, each one cell of a protocol at scale small:

- layer-criticality: 4 x 128 relu net, 5000 MNIST images (14x14), 1500 steps of SGD with momentum, then test accuracy
  with each layer put back to its initial values, to five checkpoints and to five fresh draws.
- identity-crisis: 12 convolutions of 16 channels, one digit (8x8), 1000 steps of Adam, then the outputs for 200 digits
  and 200 noise images.
- bad-global-minima: 2 x 256 relu net, 500 digits; 20 epochs on five copies of them with random labels, then 60 epochs
  of plain SGD on the true ones from there and from a fresh start, looked at 24 times.

    python benchmarks/trials.py --trials 20 --rounds 3
    python benchmarks/trials.py --only identity-crisis
"""

import argparse
import copy
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from refute import catalogue, datasets, flow


@dataclass(frozen=True)
class Work:
    """One cell: the data that all trials share, one trial in plain PyTorch, and the levels that choose the cell."""

    data: Callable[[int], datasets.Data]
    plain: Callable[[datasets.Data, int], object]
    only: dict[str, list[str]]


# --- layer-criticality ----------------------------------------------------------------------------------------------

CHECKPOINTS, DRAWS = (12, 50, 100, 250, 500), 5


def dense_net(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        linear = nn.Linear(i, o)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def reset_accuracies(net: nn.Sequential, donor: nn.Sequential, inputs: Tensor, labels: Tensor) -> list[float]:
    found = []
    for layer in range(0, len(net), 2):
        changed = copy.deepcopy(net)
        changed[layer].load_state_dict(donor[layer].state_dict())
        found.append((changed(inputs).argmax(dim=1) == labels).float().mean().item())
    return found


def criticality(data: datasets.Data, replica: int) -> object:
    inputs, labels = data.inputs[data.index[replica]], data.labels[replica]
    steps, batch = 1500, 100
    net = dense_net(196, 128, 128, 128, 128, 10)
    donors = [copy.deepcopy(net)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(0.6 * steps), int(0.85 * steps)], gamma=0.2)
    per_epoch = len(labels) // batch
    order = torch.empty(0)
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(labels))
        if step in CHECKPOINTS:
            donors.append(copy.deepcopy(net))
        chosen = order[(step % per_epoch) * batch : (step % per_epoch + 1) * batch]
        loss = nn.functional.cross_entropy(net(inputs[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    donors += [dense_net(196, 128, 128, 128, 128, 10) for _ in range(DRAWS)]
    return [x for donor in donors for x in reset_accuracies(net, donor, data.test_inputs, data.test_labels)]


# --- identity-crisis ------------------------------------------------------------------------------------------------


def identity(data: datasets.Data, replica: int) -> object:
    depth, channels, steps = 12, 16, 1000
    image = data.inputs[data.index[replica, :1]]
    sizes = [1, *[channels] * (depth - 1), 1]
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = nn.functional.mse_loss(net(image), image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return [
            torch.corrcoef(torch.stack([found.flatten(), target.flatten()]))[0, 1].item()
            for inputs in (data.test_inputs[:200], torch.rand(200, *image.shape[1:]))
            for found, one in zip(net(inputs), inputs, strict=True)
            for target in (one, image)
        ]


# --- bad-global-minima ----------------------------------------------------------------------------------------------


def minima(data: datasets.Data, replica: int) -> object:
    batch, copies, looks = 50, 5, 24
    inputs, labels = data.inputs[data.index[replica]].flatten(1), data.labels[replica]
    black = inputs.min()
    many = inputs.repeat(copies, 1)
    zeros = torch.rand(many.shape).argsort(dim=1)[:, : round(0.1 * many.shape[1])]
    many = many.scatter(1, zeros, black.item())
    fresh = dense_net(inputs.shape[1], 256, 256, 10)
    confused = copy.deepcopy(fresh)
    descend(confused, many, torch.randint(10, (len(many),)), epochs=20, batch=batch, momentum=0.9)
    total = 60 * (len(labels) // batch)
    moments = {round(total * (k / looks) ** 2) for k in range(1, looks + 1)}
    found = []
    for net in (fresh, confused):

        def look(step: int, net: nn.Sequential = net) -> None:
            if step in moments:
                with torch.no_grad():
                    right = net(data.test_inputs.flatten(1)).argmax(dim=1) == data.test_labels
                    loss = nn.functional.cross_entropy(net(inputs), labels)
                found.append((right.float().mean().item(), loss.item()))

        descend(net, inputs, labels, epochs=60, batch=batch, momentum=0.0, look=look)
    return found


def descend(
    net: nn.Sequential,
    inputs: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch: int,
    momentum: float,
    look: Callable[[int], None] = lambda step: None,  # noqa: ARG005
) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum)
    step = 0
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(batch):
            loss = nn.functional.cross_entropy(net(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            look(step)


WORK = {
    "layer-criticality": Work(
        lambda trials: datasets.load("mnist", train=5000, seeds=range(trials), test=2000, size=14, flatten=True),
        criticality,
        {"dataset": ["mnist"], "architecture": ["fc-4"], "width": ["128"], "regime": ["standard"], "examples": ["0"]},
    ),
    "identity-crisis": Work(
        lambda trials: datasets.load("digits", train=1, seeds=range(trials), test=200),
        identity,
        {
            "dataset": ["digits"], "family": ["conv"], "depth": ["12"], "pairs": ["1"], "channels": ["16"],
            "law": ["torch-default"],
        },
    ),
    "bad-global-minima": Work(
        lambda trials: datasets.load("digits", train=500, seeds=range(trials), test=5000, standardize=True),
        minima,
        {"dataset": ["digits"], "architecture": ["mlp"], "epochs": ["20"]},
    ),
}  # fmt: skip


def time_plain(work: Work, trials: int) -> float:
    started = time.perf_counter()
    data = work.data(trials)
    for replica in range(trials):
        work.plain(data, replica)
    return time.perf_counter() - started


def time_refute(name: str, work: Work, trials: int) -> float:
    with tempfile.TemporaryDirectory() as lab:
        started = time.perf_counter()
        outcome = flow.run(catalogue.get(name), seeds=trials, only=work.only, lab=Path(lab))
        assert outcome.trials_run == trials, outcome.trials_run
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(WORK), action="append", help="one of the three; may be given twice")
    options = parser.parse_args()
    datasets.fetch("mnist")
    for name in options.only or list(WORK):
        plain, ours = [], []
        for _ in range(options.rounds):
            plain.append(options.trials / time_plain(WORK[name], options.trials))
            ours.append(options.trials / time_refute(name, WORK[name], options.trials))
        found = {
            "phenomenon": name,
            "trials": options.trials,
            "threads of the plain loop": torch.get_num_threads(),
            "plain loop, trials per second": [round(x, 3) for x in plain],
            "refute, trials per second": [round(x, 3) for x in ours],
            "ratio of medians": round(statistics.median(ours) / statistics.median(plain), 2),
        }
        print(json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
