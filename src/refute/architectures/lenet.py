"""LeNet-300-100 and smaller ones: two hidden dense layers of different widths (LeCun et al. 1998, section III)."""

import math

from refute.architectures.layers import Activation, Dense, Flatten, Layer
from refute.architectures.network import Network
from refute.errors import UnknownNameError, did_you_mean

WIDTHS = {"300-100": (300, 100), "128-64": (128, 64), "32-16": (32, 16)}


def lenet(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    variant: str = "300-100",
    law: str = "he-normal",
    bias: bool = True,
) -> Network:
    """Two hidden dense layers with relu, then a dense output layer.

    >>> lenet((1, 28, 28), 10).parameters()
    266610
    """
    if variant not in WIDTHS:
        raise UnknownNameError(f"lenet has no variant '{variant}'; {did_you_mean(variant, tuple(WIDTHS))}")
    features = math.prod(input_shape)
    layers: list[Layer] = [Flatten()]
    for number, width in enumerate(WIDTHS[variant], 1):
        layers += [Dense(f"dense{number}", features, width, law, bias), Activation("relu")]
        features = width
    layers.append(Dense("output", features, classes, law, bias))
    return Network(f"lenet-{variant}", tuple(layers), input_shape, classes)


BUILD = lenet
