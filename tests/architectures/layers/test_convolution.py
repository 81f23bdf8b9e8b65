"""Convolutions as layers: which way they go, and what can be differentiated."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refute.architectures import Network
from refute.architectures.layers import Activation, Convolution, Dense, Flatten
from refute.architectures.layers.convolution import CompiledStep, LibraryStep, _compiled, _pairs
from refute.architectures.layers.small_products import WIDEST
from refute.architectures.network import channels_together
from refute.attacks import PGD

LAYERS = {
    "compiled": Convolution("conv", 8, 16),
    "few channels in": Convolution("conv", 3, 8, stride=2),
    "no bias": Convolution("conv", 8, 8, 1, bias=False),
    "few channels out": Convolution("conv", 4, 6, 5),
    "by the library": Convolution("conv", 64, 64),
}


def drawn(layer: Convolution, replicas: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shape = replicas, 3, layer.inputs, 5, 4
    inputs = channels_together(torch.randn(shape, generator=generator, dtype=torch.float64))
    weights = {
        slot.name: torch.randn((replicas, *slot.shape), generator=generator, dtype=torch.float64)
        for slot in layer.slots()
    }
    return inputs, weights


def by_torch(layer: Convolution, inputs: Tensor, weights: dict[str, Tensor]) -> Tensor:
    biases = weights.get("conv.bias", [None] * len(inputs))
    return torch.stack(
        [
            torch.nn.functional.conv2d(x, w, b, layer.stride, layer.margin)
            for x, w, b in zip(inputs, weights["conv.weight"], biases, strict=True)
        ]
    )


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_with_and_without_gradients(name: str) -> None:
    layer = LAYERS[name]
    inputs, weights = drawn(layer)
    wanted = by_torch(layer, inputs, weights)
    assert torch.allclose(layer.apply(inputs, weights, False), wanted, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(layer.apply(inputs, weights, False), wanted, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_gradients_of_gradients(name: str) -> None:
    layer = LAYERS[name]
    inputs, weights = drawn(layer)
    if name == "by the library":  # too large to differentiate numerically
        return
    leaves = [inputs.requires_grad_(), *(each.requires_grad_() for each in weights.values())]

    def outputs(x: Tensor, *own: Tensor) -> Tensor:
        return layer.apply(x, dict(zip(weights, own, strict=True)), True)

    assert torch.autograd.gradcheck(outputs, leaves)
    assert torch.autograd.gradgradcheck(outputs, leaves)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([1, 3, 8, 16]), st.sampled_from([3, 6, 8]), st.sampled_from([1, 2, 3, 5]), st.integers(0, 6),
    st.integers(1, 20), st.integers(1, 9), st.integers(1, 20), st.booleans(),
)  # fmt: skip
def test_two_pixels_taken_for_one(
    inputs: int, outputs: int, size: int, padding: int, examples: int, half: int, height: int, bias: bool
) -> None:
    layer = Convolution("conv", inputs, outputs, size, padding=padding, bias=bias)
    width = 2 * half - 2 * padding + size - 1  # of the inputs; the outputs' is even
    if width < 1 or height + 2 * padding < size:
        return
    generator = torch.Generator().manual_seed(0)
    x = channels_together(torch.randn(2, examples, inputs, height, width, generator=generator))
    weights = {slot.name: torch.randn((2, *slot.shape), generator=generator) for slot in layer.slots()}
    assert _pairs(8, 1, 2 * half, weights["conv.weight"].numpy()) is (WIDEST == 64)
    into = {name: torch.zeros_like(each) for name, each in weights.items()}
    step = CompiledStep(layer, weights, into, wanted=True)
    found = step.forward(x).clone()
    gradient = torch.randn(found.shape, generator=generator)
    passed = step.backward(channels_together(gradient), keep=0)
    assert passed is not None

    leaves = [each.double().requires_grad_() for each in (x, *weights.values())]
    wanted = by_torch(layer, leaves[0], dict(zip(weights, leaves[1:], strict=True)))
    of_inputs, *of_weights = torch.autograd.grad(wanted, leaves, gradient.double())
    for ours, theirs in zip((found, passed, *into.values()), (wanted, of_inputs, *of_weights), strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * max(1, theirs.abs().max())


@pytest.mark.parametrize("wanted", [True, False])
def test_gradients_of_what_is_asked_for_alone(wanted: bool) -> None:
    layer = LAYERS["compiled"]
    inputs, weights = drawn(layer)
    leaf = inputs if wanted else weights["conv.weight"]
    leaf.requires_grad_()
    gradients = [
        torch.autograd.grad((way(inputs, weights) ** 2).sum(), leaf)[0]
        for way in (lambda x, w: layer.apply(x, w, True), lambda x, w: by_torch(layer, x, w))
    ]
    assert torch.allclose(*gradients, atol=1e-10)


def test_which_way_a_layer_goes() -> None:
    def bound(layer: Convolution, *, wanted: bool) -> type:
        _, weights = drawn(layer)
        gradients = {name: torch.zeros_like(each) for name, each in weights.items()}
        return type(layer.bind(weights, gradients, wanted=wanted, spare=False))

    assert bound(LAYERS["compiled"], wanted=True) is CompiledStep
    assert bound(LAYERS["few channels in"], wanted=True) is CompiledStep
    assert bound(LAYERS["by the library"], wanted=False) is LibraryStep
    layer = LAYERS["compiled"]
    inputs, weights = drawn(layer)
    assert _compiled(weights["conv.weight"], inputs)
    assert not _compiled(weights["conv.weight"], inputs.float())
    assert not _compiled(weights["conv.weight"].to("meta"))
    assert not _compiled(weights["conv.weight"].bfloat16())


@pytest.mark.parametrize("name", LAYERS)
def test_a_replica_is_rounded_the_same_alone_and_among_others(name: str) -> None:
    layer = LAYERS[name]
    inputs, weights = drawn(layer, replicas=3)
    inputs, weights = inputs.float().requires_grad_(), {key: each.float() for key, each in weights.items()}
    own = slice(1, 2)
    alone = layer.apply(inputs[own], {key: each[own] for key, each in weights.items()}, True)
    together = layer.apply(inputs, weights, True)
    assert torch.equal(alone, together[own])
    gradients = [torch.autograd.grad(each.square().sum(), inputs)[0][own] for each in (alone, together)]
    assert torch.equal(*gradients)


def test_an_attack_on_one_replica_is_the_same_alone_and_among_others() -> None:
    layers = Convolution("conv", 1, 8), Activation("relu"), Flatten(), Dense("output", 8 * 36, 3)
    network = Network("small", layers, (1, 6, 6), 3)
    weights, images = network.initialize(range(3)), channels_together(torch.rand(3, 4, 1, 6, 6))
    attack = PGD(epsilon=0.1, steps=3)

    def attacked(replicas: slice) -> Tensor:
        own = weights.take(replicas)

        def each(x: Tensor) -> Tensor:
            return network(own, x).logsumexp(dim=2)

        def gradient(x: Tensor) -> Tensor:
            x = x.detach().requires_grad_()
            return torch.autograd.grad(each(x).sum(), x)[0]

        streams = [torch.Generator().manual_seed(seed) for seed in range(3)[replicas]]
        return attack.perturb(images[replicas], gradient, each, streams)

    assert torch.equal(attacked(slice(1, 2)), attacked(slice(0, 3))[1:2])
