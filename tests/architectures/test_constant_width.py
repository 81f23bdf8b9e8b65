"""Constant width: the same weights with and without skips, what a skip does, and the gradient."""

import pytest
import torch
from torch import Tensor

from refute import architectures
from refute.architectures import Weights
from refute.errors import UsageError

SHAPES = {"dense": (12,), "conv": (2, 6, 6)}


def built(kind: str, skip: str, normalization: str = "none", blocks: int = 4) -> architectures.Network:
    options = {"kind": kind, "blocks": blocks, "width": 5, "skip": skip, "normalization": normalization}
    return architectures.build("constant-width", SHAPES[kind], 3, **options)


def doubled(weights: Weights) -> Weights:
    return Weights(weights.slots, weights.flat.double(), {name: b.double() for name, b in weights.buffers.items()})


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_skips_change_no_tensor(kind: str) -> None:
    plain, residual, scaled = (built(kind, skip) for skip in ("none", "identity", "scaled"))
    assert plain.slots == residual.slots == scaled.slots
    assert torch.equal(plain.initialize([3]).flat, scaled.initialize([3]).flat)


def by_hand(weights: Weights, inputs: Tensor, scale: float | None) -> Tensor:
    """The dense net written out; `scale` None is the plain one."""

    def dense(name: str, x: Tensor) -> Tensor:
        return torch.baddbmm(weights[f"{name}.bias"].unsqueeze(1), x, weights[f"{name}.weight"].transpose(1, 2))

    h = dense("stem", inputs).relu()
    for number in range(1, 5):
        branch = dense(f"block{number}", h).relu()
        h = branch if scale is None else h + scale * branch
    return dense("output", h)


@pytest.mark.parametrize(("skip", "scale"), [("none", None), ("identity", 1.0), ("scaled", 0.5)])
def test_the_formula(skip: str, scale: float | None) -> None:
    network = built("dense", skip)
    weights, inputs = doubled(network.initialize([0, 1])), torch.randn(2, 7, 12).double()
    assert torch.allclose(network(weights, inputs), by_hand(weights, inputs, scale))


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("skip", ["none", "identity", "scaled"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_the_backward_pass_is_that_of_automatic_differentiation(kind: str, skip: str, normalization: str) -> None:
    network = built(kind, skip, normalization)
    weights, inputs = doubled(network.initialize([0, 1])), torch.randn(2, 5, *SHAPES[kind]).double()
    gradient = torch.zeros_like(weights.flat)
    chain = network.bind(weights.clone(), gradient)
    outputs = chain.forward(inputs.clone())
    upward = torch.randn_like(outputs)
    chain.backward(upward.clone(), keep=0)
    flat = weights.flat.clone().requires_grad_()
    made = network(Weights(weights.slots, flat, weights.clone().buffers), inputs, training=True)
    (expected,) = torch.autograd.grad((made * upward).sum(), flat)
    assert torch.allclose(made, outputs)
    assert torch.allclose(gradient, expected)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UsageError, match="skip none, identity, scaled"):
        built("dense", "sideways")
