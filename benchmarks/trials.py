"""Trials per second: refute against a plain PyTorch loop that does the same trials, one after the other.

Both train the 4 x 128 relu net on 5000 MNIST images (14x14) for 1500 steps with momentum, keep five checkpoints, and
measure test accuracy after putting each layer back to its initial values, to the checkpoints and to five fresh draws.
The plain loop uses nn.Module with PyTorch's default threads; refute its worker processes, start-up included. The two
alternate, so that a machine whose speed drifts slows both; the ratio of medians is what counts.

    python benchmarks/trials.py --trials 8 --rounds 3
"""

import argparse
import copy
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from refute import catalogue, datasets, flow

STEPS, BATCH, CHECKPOINTS, DRAWS = 1500, 100, (12, 50, 100, 250, 500), 5


def make_net() -> nn.Sequential:
    sizes = [196, 128, 128, 128, 128, 10]
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        linear = nn.Linear(i, o)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def reset_accuracies(
    net: nn.Sequential, donor: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor
) -> list[float]:
    found = []
    for layer in range(0, len(net), 2):
        changed = copy.deepcopy(net)
        changed[layer].load_state_dict(donor[layer].state_dict())
        found.append((changed(inputs).argmax(dim=1) == labels).float().mean().item())
    return found


def plain_trial(data: datasets.Data, replica: int) -> list[float]:
    inputs, labels = data.inputs[data.index[replica]], data.labels[replica]
    net = make_net()
    donors = [copy.deepcopy(net)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(0.6 * STEPS), int(0.85 * STEPS)], gamma=0.2)
    per_epoch = len(labels) // BATCH
    for step in range(STEPS):
        if step % per_epoch == 0:
            order = torch.randperm(len(labels))
        if step in CHECKPOINTS:
            donors.append(copy.deepcopy(net))
        chosen = order[(step % per_epoch) * BATCH : (step % per_epoch + 1) * BATCH]
        loss = nn.functional.cross_entropy(net(inputs[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    donors += [make_net() for _ in range(DRAWS)]
    return [x for donor in donors for x in reset_accuracies(net, donor, data.test_inputs, data.test_labels)]


def time_plain(trials: int) -> float:
    started = time.perf_counter()
    data = datasets.load("mnist", train=5000, seeds=list(range(trials)), test=2000, size=14, flatten=True)
    for replica in range(trials):
        plain_trial(data, replica)
    return time.perf_counter() - started


def time_refute(trials: int) -> float:
    only = {
        "dataset": ["mnist"], "architecture": ["fc-4"], "width": ["128"], "regime": ["standard"], "examples": ["0"],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as lab:
        started = time.perf_counter()
        outcome = flow.run(catalogue.get("layer-criticality"), seeds=trials, only=only, lab=Path(lab))
        assert outcome.trials_run == trials, outcome.trials_run
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    datasets.fetch("mnist")
    plain, ours = [], []
    for _ in range(options.rounds):
        plain.append(options.trials / time_plain(options.trials))
        ours.append(options.trials / time_refute(options.trials))
    print(
        json.dumps(
            {
                "trials": options.trials,
                "threads of the plain loop": torch.get_num_threads(),
                "plain loop, trials per second": [round(x, 3) for x in plain],
                "refute, trials per second": [round(x, 3) for x in ours],
                "ratio of medians": round(statistics.median(ours) / statistics.median(plain), 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
