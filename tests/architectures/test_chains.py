"""Sequences of known layers become refute's own layers and compute the same."""

import pytest
import torch
from torch import nn

from refute.architectures.chains import as_chain
from refute.architectures.layers import Chain
from refute.architectures.looped import MakeModule, draw


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(),
        nn.Sequential(nn.Linear(5, 4, bias=False), nn.GELU()), nn.Dropout(0.0), nn.Linear(4, 2),
    )  # fmt: skip


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 2, stride=2), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "shape"),
    [(dense, (3, 4)), (convolutional, (3, 9, 9)), (lambda: nn.Linear(4, 2), (4,))],
)
def test_chains_compute_what_the_module_does(make: MakeModule, shape: tuple[int, ...]) -> None:
    layers = as_chain(make(), shape)
    assert layers is not None
    slots = [slot for layer in layers for slot in layer.slots()]
    module = make().double()
    assert [slot.name for slot in slots if not slot.buffer] == [name for name, _ in module.named_parameters()]
    module.load_state_dict(draw(make, 1), strict=False)
    weights = {slot.name: draw(make, 1)[slot.name].unsqueeze(0).double() for slot in slots}
    gradients = {slot.name: torch.zeros_like(weights[slot.name]) for slot in slots}
    inputs = torch.randn(1, 6, *shape, dtype=torch.float64)
    bound = Chain(layers, weights, gradients, wanted=False, spare=False)
    found, expected = bound.forward(inputs.clone())[0].clone(), module(inputs[0])
    assert torch.allclose(found, expected, atol=1e-9)
    expected.square().sum().backward()
    bound.backward(2 * found.unsqueeze(0), keep=0)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(gradients[name][0], parameter.grad, atol=1e-9)
    outputs = inputs
    for layer in layers:
        outputs = layer.apply(outputs, weights, False)
    assert torch.allclose(outputs[0], module.eval()(inputs[0]), atol=1e-9)
    for name, tensor in weights.items():
        assert torch.allclose(tensor[0], module.state_dict()[name], atol=1e-9)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Linear(4, 2), nn.Softmax(dim=1)), (4,)),
        (nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1)), (4,)),
        (nn.Sequential(nn.Linear(4, 2)), (3, 4)),
        (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, momentum=0.3)), (4,)),
        (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False)), (4,)),
        (nn.Sequential(nn.Linear(4, 2), nn.LeakyReLU(0.3)), (4,)),
        (nn.Sequential(nn.Linear(4, 2), nn.GELU(approximate="tanh")), (4,)),
        (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), (2, 5, 5)),
        (nn.Sequential(nn.Conv2d(2, 2, (3, 1))), (2, 5, 5)),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")), (2, 5, 5)),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2, stride=1)), (2, 5, 5)),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(1)), (2, 5, 5)),
        (nn.Sequential(*[nn.Linear(4, 4)] * 2), (4,)),
        (nn.Sequential(nn.Linear(4, 2)), (5,)),
    ],
)
def test_other_layers_and_settings_are_not_translated(module: nn.Module, shape: tuple[int, ...]) -> None:
    assert as_chain(module, shape) is None


def test_hooks_frozen_weights_and_subclasses_are_not_translated() -> None:
    hooked = nn.Sequential(nn.Linear(4, 2))
    hooked.register_forward_hook(lambda *_: None)
    assert as_chain(hooked, (4,)) is None
    frozen = nn.Sequential(nn.Linear(4, 2))
    frozen[0].bias.requires_grad_(False)
    assert as_chain(frozen, (4,)) is None
    assert as_chain(nn.Sequential(type("Own", (nn.Linear,), {})(4, 2)), (4,)) is None
