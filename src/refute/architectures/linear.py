"""Linear nets: a product of `depth` weight matrices, no biases (depth 1 is a linear model)."""

import math

from refute.architectures.layers import Dense, Flatten, Layer
from refute.architectures.network import Network


def linear(
    input_shape: tuple[int, ...], classes: int, *, depth: int = 2, width: int = 32, law: str = "lecun-normal"
) -> Network:
    """y = W_depth ... W_1 x with `width` units between the matrices (Saxe et al. 2014).

    >>> linear((64,), 10, depth=3).kernels
    ('dense1.weight', 'dense2.weight', 'dense3.weight')
    """
    sizes = [math.prod(input_shape), *[width] * (depth - 1), classes]
    layers: list[Layer] = [Flatten()]
    layers += [Dense(f"dense{i + 1}", sizes[i], sizes[i + 1], law, bias=False) for i in range(depth)]
    return Network(f"linear-{depth}x{width}", tuple(layers), input_shape, classes)


BUILD = linear
