"""Nets for inputs in [0, 1] that standardize them first: an MLP or a small conv net, with batch, layer or no norm.

With the same seed, nets that differ in their normalization alone begin with the same linear maps.
"""

import math
from dataclasses import replace

from refute.architectures.layers import Activation, BatchNorm, Convolution, Dense, Flatten, Layer
from refute.architectures.layers.standardization import LayerNorm, Standardize
from refute.architectures.mlp import mlp
from refute.architectures.network import Network
from refute.architectures.vgg import vgg
from refute.errors import UnknownNameError, UsageError, did_you_mean

BODIES = ("mlp", "conv", "vgg-11", "vgg-16")
NORMALIZATIONS = ("none", "batch", "layer")
CHANNELS = (16, 32)
"""Of the small conv net's two 3x3 convolutions of stride 2."""
UNITS = 64
"""Of its hidden dense layer."""


def normalized(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    body: str = "mlp",
    depth: int = 3,
    width: int = 128,
    normalization: str = "none",
    mean: tuple[float, ...] = (0.0,),
    deviation: tuple[float, ...] = (1.0,),
) -> Network:
    """`body` after a fixed standardization; normalization stands between linear map and activation.

    body: "mlp" (`depth` hidden layers of `width` units), "conv" (conv16-conv32, 3x3 of stride 2, then 64 units), or
    "vgg-11", "vgg-16". normalization: "none", "batch", or, of an MLP, "layer". `mean`, `deviation`: of each channel.

    >>> normalized((1, 8, 8), 10, depth=1, normalization="layer").kernels
    ('dense1.weight', 'output.weight')
    """
    if body not in BODIES:
        raise UnknownNameError(f"there is no body '{body}'; {did_you_mean(body, BODIES)}")
    if normalization not in NORMALIZATIONS:
        raise UnknownNameError(
            f"there is no normalization '{normalization}'; {did_you_mean(normalization, NORMALIZATIONS)}"
        )
    if len(mean) != len(deviation) or len(mean) not in (1, input_shape[0]) or min(deviation) <= 0:
        raise UsageError(
            f"mean and deviation must be numbers above 0 (deviation), one or one per channel; {mean}, {deviation} came"
        )
    if normalization == "layer" and body != "mlp":
        raise UsageError(f'normalization "layer" is for the body "mlp", {body!r} came')
    if body == "conv":
        network = _conv(input_shape, classes, normalization)
    elif body == "mlp":
        plain = mlp(input_shape, classes, depth=depth, width=width, normalization="none")
        network = replace(plain, layers=_between(plain.layers, normalization))
    else:
        network = vgg(input_shape, classes, variant=body.split("-")[1], normalization=normalization)
    return Network(
        f"normalized-{body}-{normalization}", (Standardize(mean, deviation), *network.layers), input_shape, classes
    )


def _between(layers: tuple[Layer, ...], normalization: str) -> tuple[Layer, ...]:
    """Normalization after every dense layer but the last."""
    found: list[Layer] = []
    for layer in layers:
        found.append(layer)
        if isinstance(layer, Dense) and layer is not layers[-1] and normalization != "none":
            kind = BatchNorm if normalization == "batch" else LayerNorm
            found.append(kind(layer.name, layer.outputs))
    return tuple(found)


def _conv(input_shape: tuple[int, ...], classes: int, normalization: str) -> Network:
    if len(input_shape) != 3:
        raise UsageError(f'the body "conv" needs images (channel, height, width), {input_shape} came: do not flatten')
    channels, height, width = input_shape
    layers: list[Layer] = []
    for index, size in enumerate(CHANNELS, 1):
        layers.append(Convolution(f"conv{index}", channels, size, stride=2))
        layers += [BatchNorm(f"conv{index}", size)] if normalization == "batch" else []
        layers.append(Activation("relu"))
        channels, height, width = size, math.ceil(height / 2), math.ceil(width / 2)
    layers += [Flatten(), Dense("dense1", channels * height * width, UNITS)]
    layers += [BatchNorm("dense1", UNITS)] if normalization == "batch" else []
    layers += [Activation("relu"), Dense("output", UNITS, classes)]
    return Network("conv", tuple(layers), input_shape, classes)


BUILD = normalized
