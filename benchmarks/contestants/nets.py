"""The nets of the race: nn.Module factories, their data, and the matrix products of one training step."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TRAIN, TEST, CLASSES = 5000, 2000, 10
SIGNAL, WRONG = 0.5, 0.1
"""Size of a class's pattern relative to the noise on it, and the share of labels that are drawn anew."""
WIDTH, HEADS, INNER, TOKENS, FEATURES, TIMES = 64, 4, 256, 16, 16, 50
"""Of the transformer and the LSTM."""


@dataclass(frozen=True)
class Product:
    """One matrix product of the forward pass, for each example (rows, inner) times (inner, columns).

    `repeats`: how often in sequence, one waiting for the other (recurrence); `matrices`: pairs of matrices per example,
    both of them activations (attention), otherwise the second one is a weight for all examples; `first`: the left one
    is data and needs no gradient.
    """

    rows: int
    inner: int
    columns: int
    repeats: int = 1
    matrices: int = 0
    first: bool = False

    def flops(self, batch: int) -> "Flops":
        """Floating point operations in forward, and forward and backward, of a batch."""
        once = 2.0 * batch * self.rows * self.inner * self.columns * self.repeats * max(1, self.matrices)
        return Flops(once, once * (2 if self.first else 3))


@dataclass(frozen=True)
class Flops:
    forward: float
    step: float


@dataclass(frozen=True)
class Net:
    """One net of the race. `kind` is "dense", "conv" or "sequence"."""

    name: str
    title: str
    kind: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    outputs: int
    products: tuple[Product, ...]
    reconstructs: bool = False


def flops(net: Net, batch: int) -> Flops:
    """Of all matrix products, for one replica: a forward pass, and a training step.

    A step is forward, gradient of the weights, and gradient of the inputs except the first layer's.
    """
    each = [product.flops(batch) for product in net.products]
    return Flops(sum(f.forward for f in each), sum(f.step for f in each))


def data(net: Net) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and labels, test inputs and labels: a pattern for each class, with noise, some labels wrong.

    Patterns are coarse for images and the same at all times for sequences, so that every kind of net can learn them.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (TRAIN + TEST,), generator=generator)
    noise = torch.randn(TRAIN + TEST, *net.shape, generator=generator)
    if len(net.shape) == 3:
        coarse = torch.randn(CLASSES, net.shape[0], 4, 4, generator=generator)
        patterns = nn.functional.interpolate(coarse, size=net.shape[1:], mode="nearest")
    elif len(net.shape) == 2:
        patterns = torch.randn(CLASSES, 1, net.shape[1], generator=generator).expand(CLASSES, *net.shape)
    else:
        patterns = torch.randn(CLASSES, *net.shape, generator=generator)
    inputs = (SIGNAL * patterns[labels] + noise) / math.hypot(SIGNAL, 1.0)
    anew = torch.rand(len(labels), generator=generator) < WRONG
    labels = torch.where(anew, torch.randint(0, CLASSES, labels.shape, generator=generator), labels)
    return inputs[:TRAIN], labels[:TRAIN], inputs[TRAIN:], labels[TRAIN:]


# --- dense ----------------------------------------------------------------------------------------------------------


def mlp(*sizes: int) -> nn.Sequential:
    """Linear maps with relu between them; He's initial weights, with which deep ones learn at once."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers[f"dense{index}"] = linear
        layers[f"relu{index}"] = nn.ReLU()
    layers.popitem()
    return nn.Sequential(layers)


def _dense(name: str, *sizes: int, reconstructs: bool = False) -> Net:
    pairs = list(itertools.pairwise(sizes))
    products = tuple(Product(1, i, o, first=place == 0) for place, (i, o) in enumerate(pairs))
    title = "-".join(map(str, sizes)) if len(sizes) < 6 else f"{len(pairs)} layers, width {sizes[0]}"
    title = f"autoencoder {title}" if reconstructs else f"MLP {title}"
    return Net(name, title, "dense", lambda: mlp(*sizes), (sizes[0],), sizes[-1], products, reconstructs)


# --- convolutions ---------------------------------------------------------------------------------------------------

CHANNELS = ((1, 16), (16, 32), (32, 32))
STAGES = ((8, 8, 1), (8, 16, 2), (16, 32, 2))
"""Of the residual net: channels in, channels out, stride."""


def conv(side: int, *, batch_norm: bool) -> nn.Sequential:
    """Three 3x3 convolutions, each but the last followed by a 2x2 maximum, and a linear map."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (inputs, outputs) in enumerate(CHANNELS, 1):
        layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        if batch_norm:
            layers[f"norm{index}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{index}"] = nn.ReLU()
        if index < len(CHANNELS):
            layers[f"pool{index}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(CHANNELS[-1][1] * (side // 4) ** 2, CLASSES)
    return nn.Sequential(layers)


def _conv(side: int, batch_norm: bool) -> Net:
    pixels = (side**2, (side // 2) ** 2, (side // 4) ** 2)
    products = [
        Product(rows, 9 * i, o, first=i == 1) for rows, (i, o) in zip(pixels, CHANNELS, strict=True)
    ]  # fmt: skip
    products.append(Product(1, CHANNELS[-1][1] * pixels[-1], CLASSES))
    name = f"conv-{side}{'-bn' if batch_norm else ''}"
    title = f"conv 16-32-32 on {side}x{side}{', BatchNorm' if batch_norm else ''}"
    make = lambda: conv(side, batch_norm=batch_norm)
    return Net(name, title, "conv", make, (1, side, side), CLASSES, tuple(products))


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalization, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A convolution, three blocks, the mean over pixels, a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, STAGES[0][0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(STAGES[0][0])
        self.blocks = nn.Sequential(*(Block(*stage) for stage in STAGES))
        self.output = nn.Linear(STAGES[-1][1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.output(self.blocks(x).mean(dim=(2, 3)))


def _resnet(side: int) -> Net:
    products, pixels = [Product(side**2, 27, STAGES[0][0], first=True)], side**2
    for inputs, outputs, stride in STAGES:
        pixels //= stride**2
        products += [Product(pixels, 9 * inputs, outputs), Product(pixels, 9 * outputs, outputs)]
        products += [Product(pixels, inputs, outputs)] if stride > 1 else []
    products.append(Product(1, STAGES[-1][1], CLASSES))
    return Net("resnet-32", "ResNet 8-16-32 on 32x32", "conv", ResNet, (3, side, side), CLASSES, tuple(products))


# --- sequences ------------------------------------------------------------------------------------------------------


class LastOfLSTM(nn.Module):
    """An LSTM whose last state is read out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, WIDTH, batch_first=True)
        self.output = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(x)[0][:, -1])


def _lstm() -> Net:
    products = (
        Product(TIMES, FEATURES, 4 * WIDTH, first=True), Product(1, WIDTH, 4 * WIDTH, repeats=TIMES),
        Product(1, WIDTH, CLASSES),
    )  # fmt: skip
    return Net("lstm-64", f"LSTM {WIDTH}, {TIMES} times", "sequence", LastOfLSTM, (TIMES, FEATURES), CLASSES, products)


class Transformer(nn.Module):
    """Two encoder layers over learned positions; the mean over positions is read out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.position = nn.Parameter(0.1 * torch.randn(TOKENS, WIDTH))
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, dropout=0.0, batch_first=True) for _ in range(2))
        )
        self.output = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.layers(self.embed(x) + self.position).mean(dim=1))


def _transformer() -> Net:
    head = WIDTH // HEADS
    layer = (
        Product(TOKENS, WIDTH, 3 * WIDTH), Product(TOKENS, head, TOKENS, matrices=HEADS),
        Product(TOKENS, TOKENS, head, matrices=HEADS), Product(TOKENS, WIDTH, WIDTH), Product(TOKENS, WIDTH, INNER),
        Product(TOKENS, INNER, WIDTH),
    )  # fmt: skip
    products = (Product(TOKENS, FEATURES, WIDTH, first=True), *layer, *layer, Product(1, WIDTH, CLASSES))
    title = f"transformer, 2 layers, width {WIDTH}"
    return Net("transformer-64", title, "sequence", Transformer, (TOKENS, FEATURES), CLASSES, products)


NETS = {
    net.name: net
    for net in (
        _dense("mlp-256", 784, 256, 256, 10),
        _dense("mlp-64", 64, 64, 64, 10),
        _dense("mlp-8x96", *[96] * 8, 10),
        _dense("autoencoder", 784, 512, 784, reconstructs=True),
        _conv(28, batch_norm=False),
        _conv(28, batch_norm=True),
        _conv(8, batch_norm=False),
        _conv(8, batch_norm=True),
        _resnet(32),
        _lstm(),
        _transformer(),
    )
}
