"""Representations against layer outputs, pooling, projections and shuffles."""

import pytest
import torch
from small_nets import case
from torch import nn

from refute import architectures
from refute.architectures import Network
from refute.errors import ShapeError, UsageError
from refute.instruments.activations import layer_outputs
from refute.instruments.features import last_layer, penultimate, pooled, projected, representations, shuffled


def test_layers_after_nonlinearities_or_before_them() -> None:
    made = case(normalization="batch")
    outputs = layer_outputs(*made[:3])
    after = representations(*made[:3])
    assert list(after) == ["input", "dense1.relu", "dense2.relu", "output"]
    assert penultimate(after) == "dense2.relu"
    assert all(torch.equal(after[name], outputs[name]) for name in list(after)[1:])
    before = representations(*made[:3], after="map")
    assert list(before) == ["input", "dense1", "dense2", "output"]
    assert all(torch.equal(before[name], outputs[name]) for name in list(before)[1:])


def test_maps_are_flattened_or_pooled() -> None:
    made = case("vgg")
    outputs = layer_outputs(*made[:3])
    flat, mean = representations(*made[:3]), representations(*made[:3], pool=1)
    name = "conv1.relu"
    assert torch.equal(flat[name], outputs[name].flatten(2))
    assert torch.allclose(mean[name], outputs[name].mean(dim=(3, 4)), atol=1e-12)
    assert mean["input"].shape == (3, 20, 1)


def test_pooling_averages_squares() -> None:
    maps = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    found = pooled(maps, 4)
    assert torch.allclose(found[1, 2, 3, 1, 2], maps[1, 2, 3, 2:4, 4:6].mean())
    assert pooled(maps, 20).shape == maps.shape


def test_many_examples_go_through_in_chunks() -> None:
    network = architectures.build("mlp", (4,), 3, depth=1, width=5)
    weights = network.initialize([0, 1])
    inputs = torch.randn(2300, 4, generator=torch.Generator().manual_seed(0))
    found = representations(network, weights, inputs)
    assert torch.allclose(found["output"], network.evaluate(weights, inputs), atol=1e-6)
    assert found["dense1.relu"].shape == (2, 2300, 5)


def test_residual_blocks_are_layers() -> None:
    network = architectures.build("residual-mlp", (4,), 3, blocks=2, width=6)
    found = representations(network, network.initialize([0]), torch.randn(5, 4))
    assert list(found) == ["input", "stem.relu", "block1", "block2", "output"]


def test_a_plain_module() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    inputs = torch.randn(5, 4)
    found = representations(module, None, inputs)
    assert torch.allclose(found["output" if "output" in found else list(found)[-1]][0], module(inputs), atol=1e-6)
    assert torch.allclose(found[penultimate(found)][0], module[:2](inputs), atol=1e-6)


class Skipping(nn.Module):
    """A module that is no chain of layers: it multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.relu, self.two = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.two(1 * (inputs + self.relu(self.one(inputs))))


@pytest.mark.parametrize("fold", [False, True])
def test_a_network_made_of_a_module_is_looked_into(fold: bool) -> None:
    network = Network.from_module(Skipping, input_shape=(4,), outputs=2, fold=fold)
    weights, inputs = network.initialize([0, 1]), torch.randn(5, 4)
    found = representations(network, weights, inputs)
    assert list(found) == ["input", "relu", "module"]
    assert list(representations(network, weights, inputs, after="map")) == ["input", "one", "two", "module"]
    hidden = torch.relu(inputs @ weights["one.weight"].transpose(1, 2) + weights["one.bias"].unsqueeze(1))
    assert torch.allclose(found["relu"], hidden, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_the_last_layer_and_what_goes_into_it(name: str) -> None:
    made = case(name)
    found = last_layer(*made[:3])
    assert torch.allclose(found.outputs, made.network.evaluate(made.weights, made.inputs), atol=1e-12)
    assert found.bias is not None
    again = found.features @ found.kernel.transpose(1, 2) + found.bias.unsqueeze(1)
    assert torch.allclose(again, found.outputs, atol=1e-12)
    assert (found.features >= 0).all()


def test_a_net_without_hidden_layers_has_its_inputs_as_features() -> None:
    made = case(depth=0)
    assert torch.equal(last_layer(*made[:3]).features, made.inputs.expand(3, -1, -1))


def test_projections_are_orthonormal_frames_of_each_seed() -> None:
    identity = torch.eye(7, dtype=torch.float64).expand(3, 7, 7)
    frames = projected(identity, 4, seeds=[5, 6, 7])
    assert torch.allclose(frames.transpose(1, 2) @ frames, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))
    assert torch.equal(projected(identity[:1], 4, seeds=[6])[0], frames[1])
    assert not torch.allclose(frames[0], frames[1])


def test_shuffles_keep_labels_and_groups() -> None:
    labels, groups = torch.arange(60) % 3, torch.arange(60) // 20
    free = shuffled(labels, seeds=[1, 2])
    bound = shuffled(labels, seeds=[1, 2], within=groups)
    assert torch.equal(free.sort(dim=1).values, labels.sort().values.expand(2, -1))
    assert not torch.equal(free[0], free[1])
    for group in range(3):
        own = groups == group
        assert torch.equal(bound[0, own].bincount(minlength=3), labels[own].bincount(minlength=3))
    assert torch.equal(shuffled(labels, seeds=[2], within=groups)[0], bound[1])


def test_refusals_name_what_is_wrong() -> None:
    made = case()
    with pytest.raises(ShapeError, match="inputs must be"):
        representations(made.network, made.weights, made.inputs[:, :2])
    with pytest.raises(UsageError, match="after must be"):
        representations(*made[:3], after="relu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pool must be at least 1"):
        representations(*made[:3], pool=0)
    with pytest.raises(UsageError, match="size must be 1 to 4"):
        projected(made.inputs.expand(3, -1, -1), 5, seeds=[0, 1, 2])
    with pytest.raises(ShapeError, match="seeds must be 3"):
        projected(made.inputs.expand(3, -1, -1), 2, seeds=[0])
    with pytest.raises(ShapeError, match="features must be finite"):
        projected(made.inputs.expand(3, -1, -1) / 0, 2, seeds=[0, 1, 2])
    network = architectures.build("mlp", (4,), 3, depth=1)
    open_ended = type(network)("open", network.layers[:-1], (4,), 3)
    with pytest.raises(UsageError, match="last layer must be dense"):
        last_layer(open_ended, made.weights, made.inputs)
