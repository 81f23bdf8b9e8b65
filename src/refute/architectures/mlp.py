"""Multi-layer perceptrons: fully connected chains, with or without BatchNorm."""

import math

from refute.architectures.layers import Activation, BatchNorm, Dense, Flatten, Layer
from refute.architectures.network import Network


def mlp(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 4,
    width: int = 128,
    activation: str = "relu",
    normalization: str = "none",
    bias: bool = True,
    law: str = "he-normal",
    output_law: str | None = None,
) -> Network:
    """`depth` hidden layers of `width` units, then a dense output layer.

    normalization: "none", "batch", or "batch-affine-free" (no gain and shift), between map and activation.

    >>> mlp((1, 14, 14), 10, depth=2, width=32).kernels
    ('dense1.weight', 'dense2.weight', 'output.weight')
    """
    features = math.prod(input_shape)
    layers: list[Layer] = [Flatten()]
    for index in range(1, depth + 1):
        layers.append(Dense(f"dense{index}", features, width, law, bias))
        if normalization != "none":
            layers.append(BatchNorm(f"dense{index}", width, affine=normalization == "batch"))
        layers.append(Activation(activation))
        features = width
    layers.append(Dense("output", features, classes, output_law or law, bias))
    return Network(f"mlp-{depth}x{width}", tuple(layers), input_shape, classes)


BUILD = mlp
