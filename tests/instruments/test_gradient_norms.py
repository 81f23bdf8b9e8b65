"""Gradient norms against autograd one replica at a time, and linear chains in closed form."""

import math

import pytest
import torch
from small_nets import case, loss_of
from torch import nn

from refute import architectures
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.gradient_norms import gradient_cosines, gradient_norms, growth_per_layer


@pytest.mark.parametrize("name", ["mlp", "vgg"])
@pytest.mark.parametrize("training", [False, True])
def test_every_kernel_by_autograd_of_each_replica(name: str, training: bool) -> None:
    made = case(name, normalization="batch")
    found = gradient_norms(*made[:4], training=training)
    for replica in range(3):
        flat = made.weights.flat[replica].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(made, replica, training=training)(flat), flat)
        parts = Weights(made.weights.slots, gradient.unsqueeze(0))
        expected = torch.stack([parts[kernel].norm() for kernel in made.network.kernels])
        assert torch.allclose(found.norms[replica], expected, rtol=1e-10)
        assert abs(found.total[replica].item() - expected.norm().item()) < 1e-12
        assert abs(found.balance[replica].item() - (expected.min() / expected.max()).item()) < 1e-10
        assert abs(found.log_gradient_ratio[replica].item() - (expected[0] / expected[-1]).log().item()) < 1e-10


def test_gradients_by_pre_activations_and_their_variances() -> None:
    made = case()
    found = gradient_norms(*made[:4])
    assert found.maps == ("dense1", "dense2", "output")
    for replica in range(3):
        w = {key: tensor[replica] for key, tensor in made.weights.items()}
        x, kept = made.inputs, []
        for layer in ("dense1", "dense2", "output"):
            x = x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]
            x.requires_grad_()
            kept.append(x)
            x = x.clamp(min=0) if layer != "output" else x
        expected = torch.autograd.grad(nn.functional.cross_entropy(x, made.labels), kept)
        norms = torch.stack([part.norm() for part in expected])
        assert torch.allclose(found.activation_norms[replica], norms, rtol=1e-10)
        variances = torch.stack([part.detach().var(correction=0) for part in kept])
        assert torch.allclose(found.variances[replica], variances, rtol=1e-10)
        assert abs(found.growth[replica].item() - (norms[0] / norms[2]).sqrt().item()) < 1e-10
        assert abs(found.log_variance_ratio[replica].item() - (variances[2] / variances[0]).log().item()) < 1e-10


def test_a_deep_linear_chain_in_closed_form_where_float32_underflows() -> None:
    network = architectures.build("mlp", (1,), 1, depth=29, width=1, activation="identity", bias=False)
    weights = network.initialize([0, 1])
    weights.flat.fill_(0.01)
    found = gradient_norms(network, weights, torch.ones(1, 1), torch.ones(1, 1), loss="squared")
    # L = (w^30 - 1)^2 / 2: dL/dw_l = (w^30 - 1) w^29
    assert torch.allclose(found.norms.log10(), torch.full((2, 30), -58.0, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(found.growth, torch.full((2,), 0.01, dtype=torch.float64), rtol=1e-6)
    assert not found.flags["gradient vanishes"].any()


def test_dead_nets_are_flagged() -> None:
    made = case()
    made.weights["dense2.bias"][1] = -100
    made.weights["dense2.weight"][1] = 0
    found = gradient_norms(*made[:4])
    assert found.flags["gradient vanishes"].tolist() == [False, True, False]


def test_residual_blocks_are_looked_into() -> None:
    network = architectures.build("residual-mlp", (4,), 3, blocks=2, width=6)
    found = gradient_norms(network, network.initialize([0]), torch.randn(9, 4), torch.arange(9) % 3)
    assert found.maps == tuple(kernel.removesuffix(".weight") for kernel in network.kernels)


class Skipping(nn.Module):
    """A module that is no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.two(inputs + torch.tanh(self.one(inputs)))


def test_modules_by_backward_of_each_replica() -> None:
    network = Network.from_module(Skipping, input_shape=(4,), outputs=3)
    weights, inputs, labels = network.initialize([0, 1]), torch.randn(9, 4), torch.arange(9) % 3
    found = gradient_norms(network, weights, inputs, labels)
    for replica in range(2):
        module = Skipping()
        module.load_state_dict({name: tensor[replica] for name, tensor in weights.items()})
        nn.functional.cross_entropy(module(inputs), labels).backward()
        expected = torch.stack([module.one.weight.grad.norm(), module.two.weight.grad.norm()])  # type: ignore[union-attr]
        assert torch.allclose(found.norms[replica].float(), expected, rtol=1e-5)
    looped = Network.from_module(Skipping, input_shape=(4,), outputs=3, fold=False)
    with pytest.raises(UsageError, match="give one at a time"):
        gradient_norms(looped, weights, inputs, labels)
    alone = gradient_norms(looped, weights.take(slice(1, 2)), inputs, labels)
    assert torch.allclose(alone.activation_norms, found.activation_norms[1:], rtol=1e-6)


def test_growth_per_layer_is_the_slope_of_the_logarithm() -> None:
    depths = [2, 4, 8, 12]
    logs = torch.stack([torch.tensor(depths) * math.log(0.9) + 3, torch.tensor(depths) * math.log(1.2)])
    found = growth_per_layer(logs, depths)
    assert torch.allclose(found, torch.tensor([0.9, 1.2], dtype=torch.float64), rtol=1e-6)


def test_cosines_of_input_gradients_by_autograd() -> None:
    made = case()
    found = gradient_cosines(*made[:4], seeds=made.seeds, distance=1e-9)
    assert torch.allclose(found.value, torch.ones(3, dtype=torch.float64), atol=1e-6)
    far = gradient_cosines(*made[:4], seeds=made.seeds, distance=3.0)
    assert (far.value < 0.95).all()
    assert (far.standard_error > 0).all()
    alone = gradient_cosines(
        made.network, made.weights.take(slice(1, 2)), *made[2:4], seeds=made.seeds[1:2], distance=3.0
    )
    assert torch.allclose(far.each[1:2], alone.each, atol=1e-12)


def test_cosines_of_a_linear_model_in_closed_form() -> None:
    made = case(depth=0)
    found = gradient_cosines(*made[:4], seeds=made.seeds, loss="squared", distance=0.5)
    kernel, bias = made.weights["output.weight"], made.weights["output.bias"]
    residual = made.inputs @ kernel.transpose(1, 2) + bias.unsqueeze(1) - nn.functional.one_hot(made.labels, 3)
    assert found.each.shape == residual.shape[:2]
    assert (found.each <= 1).all()
    # with one output the gradient is a multiple of the kernel: its cosine is 1 or -1
    one = architectures.build("mlp", (4,), 1, depth=0)
    flat = gradient_cosines(one, one.initialize([0]), made.inputs, made.labels % 2, seeds=[0], loss="logistic")
    assert torch.allclose(flat.each, torch.ones_like(flat.each))


def test_refusals_name_what_is_wrong() -> None:
    made = case()
    with pytest.raises(ShapeError, match="labels must be"):
        gradient_norms(*made[:3], made.labels[:4])
    flat = case(depth=0)
    with pytest.raises(UsageError, match="2 or more"):
        gradient_norms(*flat[:4])
    with pytest.raises(ShapeError, match="log_norms must be"):
        growth_per_layer(torch.ones(2, 3), [2, 4])
    with pytest.raises(UsageError, match="distance must be above 0"):
        gradient_cosines(*made[:4], seeds=made.seeds, distance=0)
    with pytest.raises(ShapeError, match="seeds must be 3"):
        gradient_cosines(*made[:4], seeds=[0])
