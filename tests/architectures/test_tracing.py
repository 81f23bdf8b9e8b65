"""Modules whose code is followed to layers of refute: they compute what the module does, or are left alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from refute.architectures import Network
from refute.architectures.chains import followed
from refute.architectures.layers import Chain, Residual
from refute.architectures.looped import MakeModule, draw
from refute.architectures.tracing import Branches, Named, parts_of

CHANNELS, SIDE = 4, 8
IMAGES = (3, SIDE, SIDE)


class Doing(nn.Module):
    """A module of these parts and this code."""

    def __init__(self, code: Callable[["Doing", Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.code = code
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self, x)


class Block(nn.Module):
    """A residual block in the way that people write them."""

    def __init__(self, stride: int, *, projects: bool, normalizes: bool, function: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, stride, padding=1)
        self.norm1 = nn.BatchNorm2d(CHANNELS) if normalizes else nn.Identity()
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(CHANNELS) if normalizes else nn.Identity()
        whole = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1, stride), nn.BatchNorm2d(CHANNELS))
        self.shortcut = whole if projects or stride > 1 else nn.Identity()
        self.function = getattr(torch, function)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.function(self.norm1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.function(y)


class Net(nn.Module):
    def __init__(self, blocks: list[tuple[int, bool, bool, str]], *, pools: bool, ends: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(
            Block(stride, projects=projects, normalizes=normalizes, function=function)
            for stride, projects, normalizes, function in blocks
        )
        self.pools, self.ends = pools, ends
        side = SIDE // (2 if pools else 1)
        for stride, *_ in blocks:
            side = -(-side // stride)
        self.output = nn.Linear(CHANNELS if ends == "mean" else CHANNELS * side**2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        if self.pools:
            x = functional.max_pool2d(x, 2)
        for block in self.blocks:
            x = block(x)
        if self.ends == "mean":
            x = x.mean(dim=(2, 3))
        elif self.ends == "view":
            x = x.view(x.size(0), -1)
        else:
            x = torch.flatten(x, 1)
        return self.output(x)


@st.composite
def nets(draw: st.DrawFn) -> MakeModule:
    block = st.tuples(st.integers(1, 2), st.booleans(), st.booleans(), st.sampled_from(["relu", "tanh", "sigmoid"]))
    blocks = draw(st.lists(block, max_size=3))
    pools, ends = draw(st.booleans()), draw(st.sampled_from(["mean", "view", "flatten"]))
    return lambda: Net(blocks, pools=pools, ends=ends)


def check(make: MakeModule, shape: tuple[int, ...]) -> None:
    """Outputs, gradients and statistics in training, and outputs in evaluation, in float64."""
    layers = followed(make(), shape)
    assert layers is not None
    slots = [slot for layer in layers for slot in layer.slots()]
    module = make().double()
    module.load_state_dict(draw(make, 1), strict=False)
    weights = {slot.name: draw(make, 1)[slot.name].unsqueeze(0).double() for slot in slots}
    gradients = {slot.name: torch.zeros_like(weights[slot.name]) for slot in slots}
    inputs = torch.randn(1, 6, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bound = Chain(layers, weights, gradients, wanted=False, spare=False)
        found = bound.forward(inputs.clone()).clone()
        bound.backward(2 * found, keep=0)
    expected = module(inputs[0])
    expected.square().sum().backward()
    assert torch.allclose(found[0], expected, atol=1e-9)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(gradients[name][0], parameter.grad, atol=1e-9), name
    for name, tensor in weights.items():
        assert torch.allclose(tensor[0], module.state_dict()[name], atol=1e-9), name
    outputs = inputs
    for layer in layers:
        outputs = layer.apply(outputs, weights, False)
    assert torch.allclose(outputs[0], module.eval()(inputs[0]), atol=1e-9)


@given(nets())
@settings(max_examples=25, deadline=None)
def test_residual_nets_of_functions_and_modules(make: MakeModule) -> None:
    check(make, IMAGES)


FEATURES: dict[str, Callable[[Doing, Tensor], Tensor]] = {
    "gelu": lambda m, x: functional.gelu(m.two(m.one(x))),
    "softplus": lambda m, x: functional.softplus(m.one(x)) + m.two(x),
    "silu": lambda m, x: torch.add(m.two(x), functional.silu(m.one(x).tanh())),
    "nested": lambda m, x: x + (m.one(x) + functional.elu(m.two(x)).relu()),
    "doubled": lambda m, x: m.two(torch.sigmoid(m.one(x) + x) + x),
    "twice itself": lambda m, x: m.two(m.one(x + x)),
}


@pytest.mark.parametrize("name", FEATURES)
def test_functions_on_features(name: str) -> None:
    check(lambda: Doing(FEATURES[name], one=nn.Linear(4, 4), two=nn.Linear(4, 4)), (4,))


LEFT_ALONE: dict[str, tuple[Callable[[Doing, Tensor], Tensor], dict[str, nn.Module]]] = {
    "decides by numbers": (lambda m, x: m.one(x) if x.sum() > 0 else x, {"one": nn.Linear(4, 4)}),
    "multiplies": (lambda m, x: x * m.one(x), {"one": nn.Linear(4, 4)}),
    "concatenates": (lambda m, x: torch.cat([x, m.one(x)], dim=1), {"one": nn.Linear(4, 4)}),
    "adds a number": (lambda m, x: m.one(x) + 1, {"one": nn.Linear(4, 4)}),
    "twice the same weights": (lambda m, x: m.one(m.one(x)), {"one": nn.Linear(4, 4)}),
    "weights that are not used": (lambda m, x: m.one(x), {"one": nn.Linear(4, 4), "two": nn.Linear(4, 4)}),
    "another softplus": (lambda m, x: functional.softplus(m.one(x), beta=2), {"one": nn.Linear(4, 4)}),
    "an unknown layer": (lambda m, x: m.one(x), {"one": nn.Bilinear(4, 4, 4)}),
    "a mean over examples": (lambda m, x: m.one(x) + x.mean(dim=0), {"one": nn.Linear(4, 4)}),
    "no layer for such settings": (lambda m, x: m.one(x), {"one": nn.Softplus(beta=3)}),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_modules_are_left_alone(name: str) -> None:
    code, parts = LEFT_ALONE[name]
    assert followed(Doing(code, **parts), (4,)) is None


def test_frozen_weights_are_left_alone() -> None:
    module = Doing(lambda m, x: m.one(x), one=nn.Linear(4, 4))
    module.one.bias.requires_grad_(False)
    assert followed(module, (4,)) is None


def test_what_depends_on_the_mode_is_found_out_by_trying() -> None:
    def make() -> nn.Module:
        return Doing(lambda m, x: m.one(x) if m.training else torch.relu(m.one(x)), one=nn.Linear(4, 2))

    assert followed(make(), (4,)) is not None
    network = Network.from_module(make, input_shape=(4,), outputs=2)
    assert len(network.layers) == 1
    assert network.evaluate(network.initialize([5]), torch.randn(50, 4)).min() == 0


def test_a_network_of_a_followed_module_has_its_layers_and_its_weights() -> None:
    make: MakeModule = lambda: Net([(2, True, True, "relu")], pools=True, ends="mean")
    network = Network.from_module(make, input_shape=IMAGES, outputs=2)
    assert any(isinstance(layer, Residual) for layer in network.layers)
    assert network.mode == "looped"
    assert network.together(4) > 1
    weights = network.initialize([3, 4])
    module = make().eval()
    for replica, seed in enumerate((3, 4)):
        own = {name: tensor[replica] for name, tensor in weights.items()}
        module.load_state_dict(own, strict=False)
        inputs = torch.randn(5, *IMAGES, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            assert torch.allclose(network.evaluate(weights, inputs)[replica], module(inputs), atol=1e-5)


def test_the_parts_of_nested_residuals() -> None:
    def code(m: Doing, x: Tensor) -> Tensor:
        return m.two(x + m.one(x + torch.relu(x)))

    parts = parts_of(Doing(code, one=nn.Linear(4, 4), two=nn.Linear(4, 4)))
    assert parts is not None
    outer, last = parts
    assert isinstance(outer, Branches)
    assert isinstance(last, Named)
    assert last.name == "two"
    assert outer.shortcut == ()
    inner, one = outer.body
    assert isinstance(inner, Branches)
    assert isinstance(one, Named)
    assert one.name == "one"


def test_a_hundred_residuals_are_followed_in_one_walk() -> None:
    """Each sum asked anew for those before it would take 2^100 steps."""

    def code(m: Doing, x: Tensor) -> Tensor:
        for _ in range(100):
            x = x + torch.tanh(x)
        return m.one(x)

    parts = parts_of(Doing(code, one=nn.Linear(4, 4)))
    assert parts is not None
    assert len(parts) == 101
