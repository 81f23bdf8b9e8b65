"""Rectifiers with a negative slope: their backward passes against automatic differentiation."""

import pytest
import torch

from refute.architectures.layers import Layer
from refute.architectures.layers.slopes import LeakyRelu, Selu
from refute.errors import UsageError


@pytest.mark.parametrize("layer", [LeakyRelu(0.2), LeakyRelu(0.01), Selu()])
@pytest.mark.parametrize("spare", [True, False])
def test_the_bound_step_is_the_layer(layer: Layer, spare: bool) -> None:
    inputs = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    leaf = inputs.clone().requires_grad_()
    expected = layer.apply(leaf, {}, True)
    (of_inputs,) = torch.autograd.grad(expected, leaf, gradient)
    step, given = layer.bind({}, {}, wanted=True, spare=spare), inputs.clone()
    torch.testing.assert_close(step.forward(given), expected.detach(), rtol=1e-14, atol=1e-14)
    assert torch.equal(given, inputs) != spare
    torch.testing.assert_close(step.backward(gradient.clone(), keep=0), of_inputs, rtol=1e-13, atol=1e-13)


def test_selu_keeps_mean_and_variance() -> None:
    outputs = Selu().apply(torch.randn(1_000_000, generator=torch.Generator().manual_seed(3)), {}, False)
    assert outputs.mean().item() == pytest.approx(0, abs=0.005)
    assert outputs.var().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("slope", [0.0, 1.0, -0.1])
def test_a_slope_outside_is_refused(slope: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        LeakyRelu(slope)
