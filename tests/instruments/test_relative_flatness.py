"""Relative flatness against dense blocks, and the Fisher-Rao norm against its closed form."""

import pytest
import torch
from small_nets import case, dense_hessians
from torch import nn

from refute.errors import UsageError
from refute.instruments.relative_flatness import fisher_rao_norm, relative_flatness

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)


def test_values_lie_within_their_standard_errors_of_the_dense_blocks() -> None:
    found = relative_flatness(*ARGUMENTS, seeds=MADE.seeds, probes=1000)
    diagonal = torch.diagonal(dense_hessians(MADE), dim1=1, dim2=2)
    expected, first = [], 0
    for slot in MADE.network.slots:
        size = MADE.weights[slot.name][0].numel()
        if slot.kernel:
            squared = MADE.weights[slot.name].flatten(1).square().sum(dim=1)
            expected.append(squared * diagonal[:, first : first + size].sum(dim=1))
        first += size
    assert found.kernels == MADE.network.kernels
    assert bool(((found.value - torch.stack(expected, dim=1)).abs() < 4 * found.standard_error).all())


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_fisher_rao_norm_of_a_homogeneous_net_sees_its_outputs_alone(depth: int) -> None:
    """J theta = L f for L layers without biases (Liang et al. 2019, theorem 3.1)."""
    made = case(depth=depth, bias=False)
    found = fisher_rao_norm(made.network, made.weights, made.inputs, made.labels)
    outputs = made.network.evaluate(made.weights, made.inputs)
    slopes = outputs.softmax(dim=-1) - nn.functional.one_hot(made.labels, 3)
    expected = (depth + 1) * (slopes * outputs).sum(dim=2).square().mean(dim=1).sqrt()
    assert torch.allclose(found.value, expected, rtol=1e-10)


def test_the_fisher_rao_norm_takes_each_examples_own_gradient() -> None:
    found = fisher_rao_norm(*ARGUMENTS, chunk=7)
    total = torch.zeros(3, dtype=torch.float64)
    for example in range(20):
        flat = MADE.weights.flat.clone().requires_grad_()
        weights = type(MADE.weights)(MADE.weights.slots, flat)
        outputs = MADE.network(weights, MADE.inputs[example].expand(3, 1, -1))
        loss = nn.functional.cross_entropy(outputs[:, 0], MADE.labels[example].expand(3), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, flat)
        total += (gradient * flat.detach()).sum(dim=1).square() / 20
    assert torch.allclose(found.value, total.sqrt(), rtol=1e-10)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="probes must be at least 1"):
        relative_flatness(*ARGUMENTS, seeds=MADE.seeds, probes=0)
    assert relative_flatness(*ARGUMENTS, seeds=MADE.seeds, probes=1).flags["one probe"].all()
