"""Autoencoders: chains of dense layers or of 3x3 convolutions whose output has the shape of the input."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from refute.architectures.initialization import draw
from refute.architectures.layers import Activation, Convolution, Dense, Flatten, Layer, Residual
from refute.architectures.layers.slopes import LeakyRelu, Selu
from refute.architectures.network import Network
from refute.errors import UsageError

LEAKY_SLOPE = 0.2


def autoencoder(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    kind: str = "dense",
    depth: int = 3,
    width: int = 128,
    activation: str = "leaky-relu",
    output: str = "identity",
    skip: bool = False,
    bias: bool = True,
    law: str = "torch-default",
) -> Network:
    """`depth` weight layers with `width` units (or channels) between them; outputs are the pixels, flattened.

    Convolutions have stride 1 and zero padding and no biases (Radhakrishnan et al. 2018, section 4). The law
    "torch-default" draws biases too, uniform between -+ 1 / sqrt(fan in), as torch.nn.Linear does; with other laws they
    start at 0.

    Args:
        input_shape: of one example; (channel, height, width) for convolutions.
        classes: number of outputs, which must be that of the input's numbers.
        kind: "dense" or "conv".
        depth: weight layers; 1 is a single map without activation.
        width: units or channels of hidden layers.
        activation: "leaky-relu" (slope 0.2), "selu", "linear", or a name of `layers.elementwise.FUNCTIONS`.
        output: function of the last layer's outputs, such as "sigmoid".
        skip: whether the net is x + h(x), the chain being h.
        bias: whether dense layers have biases.
        law: initialization of the kernels.

    Raises:
        UsageError: outputs unlike the inputs, an unknown kind, no layer, or flattened images for convolutions.

    >>> autoencoder((64,), 64, depth=3, width=16).kernels
    ('dense1.weight', 'dense2.weight', 'output.weight')
    """
    if classes != math.prod(input_shape):
        raise UsageError(f"an autoencoder for inputs {input_shape} has {math.prod(input_shape)} outputs, not {classes}")
    if kind not in ("dense", "conv") or depth < 1:
        raise UsageError(f"an autoencoder is dense or conv with depth 1 or more, kind {kind!r}, depth {depth} came")
    if kind == "conv" and len(input_shape) != 3:
        raise UsageError(
            f"a conv autoencoder needs images (channel, height, width), input shape {input_shape} came; don't flatten"
        )
    features = classes if kind == "dense" else input_shape[0]
    sizes = [features, *[width] * (depth - 1), features]
    body: list[Layer] = []
    for index in range(1, depth + 1):
        if index > 1 and activation != "linear":
            body.append(_activation(activation))
        name = "output" if index == depth else f"{kind}{index}"
        before, after = sizes[index - 1 : index + 1]
        dense = Dense(name, before, after, law, bias)
        body.append(dense if kind == "dense" else Convolution(name, before, after, law=law, bias=False))
    if output != "identity":
        body.append(Activation(output))
    whole: tuple[Layer, ...] = (Residual(tuple(body), activation="identity"),) if skip else tuple(body)
    layers = (Flatten(), *whole) if kind == "dense" else (*whole, Flatten())
    name = f"autoencoder-{kind}-{depth}x{width}-{activation}{'-skip' if skip else ''}"
    network = Network(name, layers, input_shape, classes)
    drawn = _drawn_like_torch(network) if law == "torch-default" else None
    return Network(name, layers, input_shape, classes, drawn)


def _activation(name: str) -> Layer:
    match name:
        case "leaky-relu":
            return LeakyRelu(LEAKY_SLOPE)
        case "selu":
            return Selu()
        case _:
            return Activation(name)


def _drawn_like_torch(network: Network) -> Callable[[int], Mapping[str, Tensor]]:
    def drawn(seed: int) -> Mapping[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        tensors: dict[str, Tensor] = {}
        for slot in network.slots:  # a bias follows its kernel
            if slot.kernel:
                kernel = draw(slot.law, slot.shape, generator)
                bound = 1 / math.sqrt(kernel[0].numel())
                tensors[slot.name] = kernel
            else:
                tensors[slot.name] = (torch.rand(slot.shape, generator=generator) * 2 - 1) * bound
        return tensors

    return drawn


BUILD = autoencoder
