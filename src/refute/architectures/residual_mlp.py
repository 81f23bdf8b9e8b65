"""Residual multi-layer perceptrons: a dense stem, then blocks x + f(x), then a dense output layer."""

import math

from refute.architectures.layers import Activation, BatchNorm, Dense, Flatten, Layer, Residual
from refute.architectures.network import Network


def residual_mlp(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    blocks: int = 6,
    width: int = 96,
    normalization: str = "none",
    law: str = "he-normal",
) -> Network:
    """relu stem of `width` units, `blocks` residual blocks of two dense layers each, dense output.

    >>> list(residual_mlp((64,), 10, blocks=2).units)
    ['stem', 'block1', 'block2', 'output']
    """

    def normalized(name: str) -> tuple[Layer, ...]:
        return () if normalization == "none" else (BatchNorm(name, width, affine=normalization == "batch"),)

    layers: list[Layer] = [Flatten(), Dense("stem", math.prod(input_shape), width, law), *normalized("stem")]
    layers.append(Activation("relu"))
    for index in range(1, blocks + 1):
        first, second = f"block{index}.dense1", f"block{index}.dense2"
        body = (
            Dense(first, width, width, law),
            *normalized(first),
            Activation("relu"),
            Dense(second, width, width, law),
            *normalized(second),
        )
        layers.append(Residual(body))
    layers.append(Dense("output", width, classes, law))
    return Network(f"residual-mlp-{blocks}x{width}", tuple(layers), input_shape, classes)


BUILD = residual_mlp
