"""torch.func: modules stacked by stack_module_state, vmap over grad, one process with torch's default threads.

BatchNorm keeps running statistics, stacked like the weights. vmap has no rule for nn.LSTM, so its place is taken by a
loop over the same cell, written for it; encoder layers run without their fused evaluation for the same reason.
"""

import time

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from contestants.nets import LastOfLSTM
from contestants.task import (
    EVALUATED,
    LEARNING_RATE,
    MOMENTUM,
    Contestant,
    Outcome,
    Task,
    loaded,
    loss_of,
    made,
    order,
    outcome,
    score_of,
)

Tensors = dict[str, Tensor]


class CellByCell(nn.Module):
    """The LSTM of `nets.LastOfLSTM` with its weights, one time after the other."""

    def __init__(self, original: LastOfLSTM) -> None:
        super().__init__()
        self.lstm, self.output = original.lstm, original.output

    def forward(self, x: Tensor) -> Tensor:
        weights = self.lstm
        driven = nn.functional.linear(x, weights.weight_ih_l0, weights.bias_ih_l0 + weights.bias_hh_l0)
        state = cell = driven.new_zeros(len(x), weights.hidden_size)
        for at in driven.unbind(dim=1):
            gates = at + state @ weights.weight_hh_l0.t()
            let_in, forget, new, let_out = gates.chunk(4, dim=-1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(let_in) * torch.tanh(new)
            state = torch.sigmoid(let_out) * torch.tanh(cell)
        return self.output(state)


def module(task: Task, seed: int) -> nn.Module:
    found = made(task.what, seed)
    return CellByCell(found) if isinstance(found, LastOfLSTM) else found


def build(task: Task) -> Contestant:
    torch.backends.mha.set_fastpath_enabled(False)
    net, (inputs, labels, test_inputs, test_labels) = task.what, loaded(task.net)

    def run(steps: int) -> Outcome:
        modules = [module(task, seed) for seed in range(task.replicas)]
        weights, buffers = stack_module_state(modules)
        weights = {name: tensor.detach() for name, tensor in weights.items()}
        template = modules[0]

        def loss(weights: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            found = loss_of(net, functional_call(template, (weights, buffers), (x,)), x, y)
            return found, found.detach()

        def forward(weights: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
            return functional_call(template, (weights, buffers), (x,))

        differentiate = vmap(grad(loss, has_aux=True))
        values = list(weights.values())
        velocities = [torch.zeros_like(value) for value in values]
        losses = []
        started = time.perf_counter()
        for step in range(steps):
            epoch, place = divmod(step, task.per_epoch)
            if place == 0:
                shuffled = torch.stack([order(seed, epoch) for seed in range(task.replicas)])
            chosen = shuffled[:, place * task.batch : (place + 1) * task.batch]
            gradients, found = differentiate(weights, buffers, inputs[chosen], labels[chosen])
            torch._foreach_mul_(velocities, MOMENTUM)
            torch._foreach_add_(velocities, [gradients[name] for name in weights])
            torch._foreach_add_(values, velocities, alpha=-LEARNING_RATE)
            losses.append(found)
        training_s = time.perf_counter() - started
        template.eval()
        evaluate = vmap(forward, in_dims=(0, 0, None))
        with torch.no_grad():
            scores = [
                score_of(net, evaluate(weights, buffers, x), x, y)
                for x, y in zip(
                    test_inputs.split(EVALUATED[net.kind]), test_labels.split(EVALUATED[net.kind]), strict=True
                )
            ]
        return outcome(torch.stack(losses, dim=1), sum(scores) / len(scores), training_s)

    return Contestant(run)
