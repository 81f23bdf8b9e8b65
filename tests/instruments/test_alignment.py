"""Weight matching: what was exchanged is put back, and the function stays."""

import itertools

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.architectures import Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.alignment import align
from refute.instruments.paths import linear_barrier

CASES = {
    "dense": lambda: case(activation="tanh", depth=3, width=24),
    "batch norm": lambda: case(normalization="batch", width=8),
    "convolution": lambda: case("vgg", normalization="batch", multiplier=1.0, examples=5, replicas=2),
}


def shuffled(network: architectures.Network, weights: Weights) -> Weights:
    """The same function with the units of every hidden layer in another order, written layer by layer."""
    changed = weights.clone()
    kernels = [name.removesuffix(".weight") for name in network.kernels]
    for name, following in itertools.pairwise(kernels):
        units = changed[f"{name}.weight"].shape[1]
        order = torch.randperm(units, generator=torch.Generator().manual_seed(units))
        for own in [slot.name for slot in network.slots if slot.name.startswith(f"{name}.")]:
            changed[own].copy_(changed[own][:, order].clone())
        kernel = changed[f"{following}.weight"]
        parts = kernel.reshape(*kernel.shape[:2], units, -1)[:, :, order]
        kernel.copy_(parts.reshape(kernel.shape))
    return changed


@pytest.mark.parametrize("name", CASES)
def test_exchanged_units_are_found_again(name: str) -> None:
    made = CASES[name]()
    for buffer in made.weights.buffers.values():
        buffer.add_(torch.rand(buffer.shape, dtype=buffer.dtype))
    other = shuffled(made.network, made.weights)
    before = made.network.evaluate(made.weights, made.inputs)
    assert torch.allclose(made.network.evaluate(other, made.inputs), before, atol=1e-12)
    found = align(made.network, made.weights, other, seeds=made.seeds)
    assert found.after.tolist() == pytest.approx([0] * len(made.seeds), abs=1e-12)
    assert bool((found.before > 1).all())
    assert torch.allclose(made.network.evaluate(found.weights, made.inputs), before, atol=1e-12)
    assert not found.flags["not converged"].any()
    flat = linear_barrier(made.network, made.weights, found.weights, made.inputs, made.labels)
    assert flat.loss.abs().max() < 1e-12


def test_independent_nets_come_nearer_and_compute_the_same() -> None:
    made = case(activation="tanh", depth=2, width=8)
    other = made.network.initialize([7, 8, 9])
    other = Weights(other.slots, other.flat.double(), {})
    found = align(made.network, made.weights, other, seeds=made.seeds)
    assert bool((found.after < found.before).all())
    outputs = made.network.evaluate(other, made.inputs)
    assert torch.allclose(made.network.evaluate(found.weights, made.inputs), outputs, atol=1e-12)
    alone = align(made.network, made.weights.take(slice(1, 2)), other.take(slice(1, 2)), seeds=made.seeds[1:2])
    assert torch.equal(alone.weights.flat, found.weights.flat[1:2])


def test_one_hidden_layer_is_solved_exactly() -> None:
    """No order of four units does better, all 24 tried."""
    made = case(activation="tanh", depth=1, width=4, replicas=1)
    other = case(activation="tanh", depth=1, width=4, replicas=1, spread=1.0).weights
    found = align(made.network, made.weights, other, seeds=[0])
    distances = []
    for order in torch.cartesian_prod(*[torch.arange(4)] * 4).tolist():
        if len(set(order)) == 4:
            tried = other.clone()
            for name, axis in (("dense1.weight", 1), ("dense1.bias", 1), ("output.weight", 2)):
                tried[name].copy_(other[name].index_select(axis, torch.tensor(order)))
            distances.append((tried.flat - made.weights.flat).norm().item())
    assert len(distances) == 24
    assert found.after.item() == pytest.approx(min(distances), abs=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    made = case()
    with pytest.raises(ShapeError, match="seeds must be 3"):
        align(made.network, made.weights, made.weights, seeds=[0])
    network = architectures.build("residual-mlp", (4,), 3)
    weights = network.initialize([0])
    with pytest.raises(UsageError, match="align needs a chain"):
        align(network, weights, weights, seeds=[0])
