"""The plain PyTorch loop: one nn.Module after the other, torch's default number of threads."""

import time

import torch

from contestants.task import (
    EVALUATED,
    LEARNING_RATE,
    MOMENTUM,
    Contestant,
    Outcome,
    Task,
    joined,
    loaded,
    loss_of,
    made,
    order,
    outcome,
    score_of,
)


def replica(task: Task, seed: int, steps: int) -> Outcome:
    """One replica, from its initial weights to its score."""
    net, (inputs, labels, test_inputs, test_labels) = task.what, loaded(task.net)
    module = made(net, seed)
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    losses = []
    started = time.perf_counter()
    for step in range(steps):
        epoch, place = divmod(step, task.per_epoch)
        if place == 0:
            shuffled = order(seed, epoch)
        chosen = shuffled[place * task.batch : (place + 1) * task.batch]
        x, y = inputs[chosen], labels[chosen]
        loss = loss_of(net, module(x), x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    training_s = time.perf_counter() - started
    module.eval()
    with torch.no_grad():
        outputs = torch.cat([module(part) for part in test_inputs.split(EVALUATED[net.kind])])
    return outcome(torch.stack(losses)[None], score_of(net, outputs, test_inputs, test_labels), training_s)


def build(task: Task) -> Contestant:
    loaded(task.net)

    def run(steps: int) -> Outcome:
        found = [replica(task, seed, steps) for seed in range(task.replicas)]
        return joined(found, sum(each.training_s for each in found))

    return Contestant(run)
