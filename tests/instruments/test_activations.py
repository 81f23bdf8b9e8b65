"""Outputs of layers against passes of each replica by plain PyTorch, and derivatives by them."""

import pytest
import torch
from small_nets import case
from torch import nn

from refute import architectures, losses
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UnknownNameError
from refute.instruments.activations import layer_outputs
from refute.instruments.hessian import cast


class Skipping(nn.Module):
    """A module that is no chain of layers (it multiplies), and calls one leaf twice, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.first(inputs))
        return self.last(1 * (hidden + self.relu(self.second(hidden))))


def test_a_dense_net_layer_by_layer() -> None:
    made = case(normalization="batch")
    found = layer_outputs(made.network, made.weights, made.inputs)
    for replica in range(made.weights.replicas):
        w = {name: tensor[replica] for name, tensor in made.weights.items()}
        x = made.inputs
        for name in ("dense1", "dense2"):
            x = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
            torch.testing.assert_close(found[name][replica], x, rtol=1e-12, atol=1e-12)
            deviation = (w[f"{name}.running_variance"] + 1e-5).sqrt()
            x = (x - w[f"{name}.running_mean"]) / deviation * w[f"{name}.gamma"] + w[f"{name}.beta"]
            torch.testing.assert_close(found[f"{name}.batchnorm"][replica], x, rtol=1e-12, atol=1e-12)
            x = x.clamp(min=0)
            torch.testing.assert_close(found[f"{name}.relu"][replica], x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "vgg", "resnet", "residual-mlp"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_last_one_is_the_networks_output_and_weights_are_left_alone(
    name: str, inside: bool, training: bool
) -> None:
    shape = (1, 8, 8) if name in ("vgg", "resnet") else (4,)
    options = {} if name == "residual-mlp" else {"normalization": "batch"}
    network = architectures.build(name, shape, 3, **options)
    weights = network.initialize([3, 4])
    before = weights.clone()
    inputs = torch.randn(2, 5, *shape, generator=torch.Generator().manual_seed(0))
    found = layer_outputs(network, weights, inputs, inside=inside, training=training)
    assert torch.allclose(list(found.values())[-1], network(before.clone(), inputs, training=training), atol=1e-5)
    assert all(torch.equal(weights[key], before[key]) for key in weights)
    assert len(found) == len(network.layers) or inside


def test_what_stands_inside_residual_blocks_adds_up() -> None:
    network = architectures.build("residual-mlp", (4,), 3)
    found = layer_outputs(network, network.initialize([0]), torch.randn(5, 4), inside=True)
    block = torch.relu(found["block1.dense2"] + found["stem.relu"])
    assert torch.allclose(found["block1"], block, atol=1e-6)
    assert found.kinds["block1.dense1"] == "Dense"
    assert set(found.of_kind("Residual")) == {f"block{index}" for index in range(1, 7)}


@pytest.mark.parametrize("fold", [False, True])
def test_leaves_of_a_module_like_hooks_on_the_module(fold: bool) -> None:
    network = Network.from_module(Skipping, input_shape=(4,), outputs=2, fold=fold)
    weights = network.initialize([0, 1, 2])
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    found = layer_outputs(network, weights, inputs, inside=True)
    assert list(found) == ["first", "relu", "relu.2", "second", "last", "module"]
    for replica in range(3):
        module = Skipping()
        module.load_state_dict({name: tensor[replica] for name, tensor in weights.items()})
        hidden = torch.relu(module.first(inputs))
        for name, expected in {
            "first": module.first(inputs),
            "relu": hidden,
            "second": module.second(hidden),
            "relu.2": torch.relu(module.second(hidden)),
            "last": module(inputs),
        }.items():
            torch.testing.assert_close(found[name][replica], expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_derivatives_by_weights_and_by_layers_are_those_of_a_replica_alone(name: str) -> None:
    made = case(name)
    hidden = "dense1" if name == "mlp" else "conv2"
    found = layer_outputs(made.network, made.weights, made.inputs, differentiable=True)
    each = losses.get("cross-entropy").each(found["output"], made.labels.expand(3, -1)).mean(dim=1)
    by_flat, by_hidden = torch.autograd.grad(each.sum(), [found.flat, found[hidden]])
    for replica in range(3):
        alone = made.weights.take(slice(replica, replica + 1))
        flat = alone.flat.clone().requires_grad_()
        outputs = made.network(Weights(alone.slots, flat, alone.buffers), made.inputs[None])[0]
        nn.functional.cross_entropy(outputs, made.labels).backward()
        assert torch.allclose(by_flat[replica], flat.grad[0], atol=1e-12)  # type: ignore[index]
    step = torch.randn(by_hidden.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    bias = f"{hidden}.bias"  # a shift of the bias moves the layer's output at every example and position alike
    moved = made.weights.clone()
    moved[bias].add_(1e-6 * step[:, 0].flatten(2).mean(-1) if name == "vgg" else 1e-6 * step[:, 0])
    after = losses.get("cross-entropy").each(made.network.evaluate(moved, made.inputs), made.labels.expand(3, -1))
    change = (moved[bias] - made.weights[bias]).view(3, 1, -1, *[1] * (by_hidden.ndim - 3))
    predicted = (by_hidden * change).flatten(1).sum(dim=1)
    assert torch.allclose(after.mean(dim=1) - each, predicted, atol=1e-11, rtol=1e-4)


def test_a_folded_module_can_be_differentiated_by_its_leaves() -> None:
    network = Network.from_module(Skipping, input_shape=(4,), outputs=2)
    weights = cast(network.initialize([0, 1]), torch.float64)
    inputs = torch.randn(5, 4, dtype=torch.float64)
    found = layer_outputs(network, weights, inputs, inside=True, differentiable=True)
    (gradient,) = torch.autograd.grad(found["module"].sum(), found["second"])
    expected = (found["second"] > 0) * weights["last.weight"].sum(dim=1).unsqueeze(1)
    assert torch.allclose(gradient, expected)


def test_the_layers_of_a_module_whose_code_was_followed() -> None:
    class Followed(Skipping):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(self.first(inputs))
            return self.last(hidden + torch.relu(self.second(hidden)))

    network = Network.from_module(Followed, input_shape=(4,), outputs=2)
    weights, inputs = network.initialize([0, 1]), torch.randn(5, 4)
    found = layer_outputs(network, weights, inputs)
    assert list(found) == ["first", "first.relu", "second", "last"]
    for replica in range(2):
        module = Followed()
        module.load_state_dict({name: tensor[replica] for name, tensor in weights.items()})
        hidden = torch.relu(module.first(inputs))
        torch.testing.assert_close(found["second"][replica], hidden + torch.relu(module.second(hidden)))
        torch.testing.assert_close(found["last"][replica], module(inputs))


def test_no_graph_is_kept_unless_asked_for() -> None:
    made = case()
    assert not any(output.requires_grad for output in layer_outputs(*made[:3]).values())


def test_refusals_name_what_is_wrong() -> None:
    made = case()
    with pytest.raises(ShapeError, match="inputs must be"):
        layer_outputs(made.network, made.weights, made.inputs[:, :2])
    with pytest.raises(UnknownNameError, match="did you mean 'dense1'"):
        layer_outputs(made.network, made.weights, made.inputs)["dens1"]
