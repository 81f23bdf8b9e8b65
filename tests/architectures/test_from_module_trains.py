"""Modules as users give them: `Network.from_module` and `train` do what the plain module does when trained alone.

Random architectures and chosen ones, for every way that a module can take: first convolutions taken together with what
is behind them, fused layers, residual blocks that are followed, modules that are folded, modules that are looped.
"""

from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as functional
from drawn import (
    Dropping,
    InWindows,
    Mean,
    OverChannels,
    Part,
    Positions,
    Recurrent,
    Residual,
    SelfAttention,
    part,
    wrapped,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from trained_alone import CLASSES, SEEDS, TOKENS, TOLERANCE, check

from refute.architectures import Network
from refute.architectures.layers import fused, stemmed
from refute.architectures.layers.renamed import bare

TIMES = 5

Shape = tuple[int, ...]


class Stage(nn.Module):
    """A convolution and what is behind it, as functions."""

    def __init__(self, channels: int, to: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, to, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(to)

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.norm(self.convolution(x)), inplace=True), 2, ceil_mode=True)


class Block(nn.Module):
    """A residual block of convolutions."""

    def __init__(self, channels: int, to: int, stride: int, function: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, to, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(to)
        self.conv2 = nn.Conv2d(to, to, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(to)
        changes = channels != to or stride > 1
        projection = nn.Sequential(nn.Conv2d(channels, to, 1, stride, bias=False), nn.BatchNorm2d(to))
        self.shortcut = projection if changes else nn.Identity()
        self.function = getattr(torch, function)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += self.shortcut(x)
        return self.function(y)


class Centred(nn.Module):
    """Examples of a batch act on one another: it must be looped."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@dataclass(frozen=True, repr=False)
class Architecture:
    parts: tuple[Part, ...]
    input_shape: Shape
    tokens: bool = False

    def __repr__(self) -> str:
        return f"{self.input_shape}: {', '.join(text for text, _ in self.parts)}"

    def make(self) -> nn.Module:
        return nn.Sequential(*(make() for _, make in self.parts))


@dataclass
class Drawing:
    """Parts drawn so far, and the shape of what comes out of them."""

    input_shape: Shape
    tokens: bool = False
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = self.input_shape

    def add(self, *parts: Part) -> None:
        self.parts += parts
        inputs = torch.zeros(2, *self.input_shape, dtype=torch.int64 if self.tokens else torch.float32)
        with torch.no_grad():
            self.shape = tuple(self.done().make().eval()(inputs).shape[1:])

    def done(self) -> Architecture:
        return Architecture(tuple(self.parts), self.input_shape, self.tokens)


ACTIVATION: st.SearchStrategy[type[nn.Module]] = st.sampled_from(
    (nn.ReLU, nn.ReLU, nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.ELU, nn.LeakyReLU)
)
ORDERS = (
    ("norm", "act", "pool"), ("norm", "pool", "act"), ("act", "norm", "pool"), ("pool", "norm", "act"),
    ("act", "pool"), ("pool", "act"), ("norm", "act"), ("act", "norm"), ("act",), ("pool",), ("norm",),
)  # fmt: skip
"""Of what is behind a convolution."""


def dense(draw: st.DrawFn, net: Drawing, most: int = 2) -> None:
    """Stages of known layers on vectors, and the outputs."""
    for _ in range(draw(st.integers(0, most))):
        (width,), to = net.shape, draw(st.integers(3, 6))
        match draw(st.sampled_from(("plain", "normalized", "residual"))):
            case "plain":
                net.add(part(nn.Linear, width, to, bias=draw(st.booleans())), part(draw(ACTIVATION)))
            case "normalized":
                norm = part(nn.BatchNorm1d, to, affine=draw(st.booleans()))
                inner = (part(nn.Linear, width, to), norm, part(draw(ACTIVATION)))
                net.add(wrapped(nn.Sequential, *inner))
            case _:
                inner = (part(nn.Linear, width, width), part(draw(ACTIVATION)), part(nn.Linear, width, width))
                net.add(wrapped(Residual, *inner), part(draw(ACTIVATION)))
    net.add(part(nn.Linear, *net.shape, CLASSES))


def convolution(draw: st.DrawFn, net: Drawing) -> None:
    """A convolution and what is behind it."""
    channels, side = net.shape[0], min(net.shape[1:])
    to, bias = draw(st.sampled_from((16, 16, 3))), draw(st.booleans())
    size, stride, padding = draw(st.sampled_from(((3, 1, 1), (3, 1, 1), (5, 2, 2), (3, 1, 0), (2, 2, 0))))
    if side < size:
        size, stride, padding = 3, 1, 1
    net.add(part(nn.Conv2d, channels, to, size, stride, padding, bias=bias))
    for kind in draw(st.sampled_from(ORDERS)):
        if kind == "norm":
            net.add(part(nn.BatchNorm2d, to, affine=draw(st.booleans())))
        elif kind == "act":
            net.add(part(draw(ACTIVATION)))
        elif min(net.shape[1:]) > 1:
            net.add(part(nn.MaxPool2d, 2, ceil_mode=draw(st.booleans())))


def readout(draw: st.DrawFn, net: Drawing) -> None:
    """From maps to vectors."""
    net.add(*((part(nn.AdaptiveAvgPool2d, 1), part(nn.Flatten)) if draw(st.booleans()) else (part(nn.Flatten),)))


def image(draw: st.DrawFn) -> Drawing:
    return Drawing((draw(st.sampled_from((1, 3))), draw(st.integers(4, 9)), draw(st.integers(4, 9))))


@st.composite
def dense_nets(draw: st.DrawFn) -> Architecture:
    net = Drawing((4,))
    dense(draw, net, most=4)
    return net.done()


@st.composite
def convolutional_nets(draw: st.DrawFn) -> Architecture:
    net = image(draw)
    for _ in range(draw(st.integers(1, 2))):
        convolution(draw, net)
    readout(draw, net)
    dense(draw, net)
    return net.done()


@st.composite
def residual_nets(draw: st.DrawFn) -> Architecture:
    net = image(draw)
    if draw(st.booleans()):
        net.add(part(Stage, net.shape[0], draw(st.sampled_from((4, 16)))))
    for _ in range(draw(st.integers(1, 2))):
        function = draw(st.sampled_from(("relu", "relu", "tanh")))
        net.add(part(Block, net.shape[0], draw(st.sampled_from((3, 4))), draw(st.integers(1, 2)), function))
    readout(draw, net)
    dense(draw, net, most=1)
    return net.done()


@st.composite
def other_nets(draw: st.DrawFn) -> Architecture:
    """With layers that refute does not have itself."""
    kind = draw(st.sampled_from(("vectors", "images", "times", "tokens")))
    net = Drawing((6,)) if kind == "vectors" else image(draw) if kind == "images" else Drawing((TIMES, 4))
    if kind == "images":
        convolution(draw, net)
        channels = net.shape[0]
        choices = [
            part(nn.GroupNorm, 1, channels),
            part(nn.AvgPool2d, 2, ceil_mode=True),
            part(nn.Conv2d, channels, channels, 3, padding=1, groups=channels),
            part(nn.Dropout2d, 0.3),
        ]
        net.add(draw(st.sampled_from(choices)), part(draw(ACTIVATION)))
        readout(draw, net)
    elif kind != "vectors":
        if kind == "tokens":
            net = Drawing((TIMES,), tokens=True)
            net.add(part(nn.Embedding, TOKENS, 4))
        sequence(draw, net)
    drops = [part(nn.Dropout, 0.3), part(Dropping, 0.3)]
    norms = [part(nn.LayerNorm, net.shape), part(nn.GroupNorm, 1, *net.shape)] if net.shape[0] > 2 else []
    net.add(draw(st.sampled_from(drops + norms)))
    dense(draw, net)
    return net.done()


def sequence(draw: st.DrawFn, net: Drawing) -> None:
    for _ in range(draw(st.integers(1, 2))):
        width = net.shape[-1]
        options = {"num_layers": draw(st.integers(1, 2)), "time_first": draw(st.booleans())}
        attention = {"causal": draw(st.booleans()), "weighted": draw(st.booleans()), "dropout": 0.0}
        choices = [
            part(Recurrent, draw(st.sampled_from((nn.LSTM, nn.GRU))), width, 4, **options),
            part(SelfAttention, width, 2, **attention),
            wrapped(Residual, part(nn.Linear, width, 6), part(nn.ReLU), part(nn.Linear, 6, width)),
            wrapped(OverChannels, part(nn.BatchNorm1d, width)),
            part(nn.LayerNorm, width),
            part(Positions, TIMES, width),
            wrapped(InWindows, part(Dropping, 0.3)),
        ]
        net.add(draw(st.sampled_from(choices)))
    net.add(part(Mean))


def network_of(architecture: Architecture) -> Network:
    dtype = torch.int32 if architecture.tokens else None
    shape = architecture.input_shape
    return Network.from_module(architecture.make, input_shape=shape, outputs=CLASSES, input_dtype=dtype)


def ways(network: Network) -> list[str]:
    """The kinds of layers that it is trained with."""
    return [type(bare(layer)).__name__ for layer in stemmed(fused(network.layers))]


def check_all(architecture: Architecture, *, known: bool) -> None:
    """`known`: refute has all of its layers itself."""
    network = network_of(architecture)
    assert known == ("Folded" not in ways(network))
    assert "Looped" not in ways(network)
    for dtype in TOLERANCE:
        check(architecture.make, network, dtype, tokens=architecture.tokens, kinks=dtype == torch.float32)


MODEST = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@given(dense_nets())
@MODEST
def test_dense_nets(architecture: Architecture) -> None:
    check_all(architecture, known=True)


@given(convolutional_nets())
@MODEST
def test_convolutional_nets(architecture: Architecture) -> None:
    check_all(architecture, known=True)


@given(residual_nets())
@MODEST
def test_residual_nets(architecture: Architecture) -> None:
    check_all(architecture, known=True)


@given(other_nets())
@MODEST
def test_nets_with_layers_that_refute_does_not_have(architecture: Architecture) -> None:
    check_all(architecture, known=False)


FIRST, WIDE = part(nn.Conv2d, 1, 16, 3, padding=1), part(nn.Conv2d, 3, 16, 3, padding=1, bias=False)
NORM, RELU, POOL, FLATTEN = part(nn.BatchNorm2d, 16), part(nn.ReLU), part(nn.MaxPool2d, 2), part(nn.Flatten)
CEILED, AVERAGE = part(nn.MaxPool2d, 2, ceil_mode=True), part(nn.AdaptiveAvgPool2d, 1)
END = ["Flatten", "Dense"]


def out(width: int) -> Part:
    return part(nn.Linear, width, CLASSES)


CHOSEN: dict[str, tuple[Shape, tuple[Part, ...], list[str]]] = {
    "stem": ((1, 8, 6), (FIRST, NORM, RELU, POOL, FLATTEN, out(192)), ["Stem", *END]),
    "stem, odd height": ((1, 7, 6), (FIRST, NORM, RELU, POOL, FLATTEN, out(144)), ["Stem", *END]),
    "stem, odd width, rounded up": ((1, 6, 5), (FIRST, RELU, CEILED, FLATTEN, out(144)), ["Stem", *END]),
    "stem, maximum first": ((1, 6, 6), (FIRST, POOL, NORM, RELU, FLATTEN, out(144)), ["Stem", "Fused", *END]),
    "fused": ((3, 6, 5), (WIDE, NORM, POOL, RELU, FLATTEN, out(96)), ["Convolution", "Fused", *END]),
    "fused twice": (
        (3, 8, 8),
        (WIDE, RELU, CEILED, part(nn.Conv2d, 16, 16, 3, padding=1), NORM, RELU, AVERAGE, FLATTEN, out(16)),
        ["Convolution", "Fused", "Convolution", "Fused", "GlobalAveragePool", *END],
    ),
    "fused vectors": (
        (4,),
        (part(nn.Linear, 4, 6), part(nn.BatchNorm1d, 6), RELU, out(6)),
        ["Dense", "Fused", "Dense"],
    ),
    "stage and blocks": (
        (1, 9, 8),
        (part(Stage, 1, 16), part(Block, 16, 16, 1, "relu"), part(Block, 16, 3, 2, "tanh"), AVERAGE, FLATTEN, out(3)),
        ["Stem", "Residual", "Activation", "Residual", "Activation", "GlobalAveragePool", *END],
    ),
    "folded convolutions": ((3, 6, 6), (WIDE, part(nn.GroupNorm, 4, 16), RELU, POOL, FLATTEN, out(144)), ["Folded"]),
    "folded LSTM": ((TIMES, 3), (part(Recurrent, nn.LSTM, 3, 4, time_first=False), part(Mean), out(4)), ["Folded"]),
    "dropout as layer and function": ((4,), (part(nn.Linear, 4, 4), part(Dropping, 0.5), out(4)), ["Folded"]),
    "dropout in as many windows as replicas": (
        (len(SEEDS), 4),
        (part(nn.Linear, 4, 4), wrapped(InWindows, part(Dropping, 0.5)), part(Mean), out(4)),
        ["Folded"],
    ),
    "looped": ((4,), (part(nn.Linear, 4, 6), part(nn.BatchNorm1d, 6), RELU, part(Centred), out(6)), ["Looped"]),
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CHOSEN)
def test_every_way(name: str, dtype: torch.dtype) -> None:
    shape, parts, expected = CHOSEN[name]
    architecture = Architecture(parts, shape)
    network = network_of(architecture)
    assert ways(network) == expected
    check(architecture.make, network, dtype, tokens=architecture.tokens)
