"""Nets of constant width whose blocks have identity skips or none: the same weights, with and without them.

Plain: h <- F(h). Residual: h <- h + s F(h) with s = 1, or s = 1 / sqrt(number of blocks). F is one dense layer with
relu, or convolution, relu, convolution (He et al. 2016, without an activation after the sum).
"""

import math

from refute.architectures.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    Residual,
)
from refute.architectures.network import Network
from refute.errors import UsageError

SKIPS = ("none", "identity", "scaled")


def constant_width(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    kind: str = "dense",
    blocks: int = 16,
    width: int = 32,
    skip: str = "none",
    normalization: str = "none",
    law: str = "he-normal",
) -> Network:
    """A stem of `width` units or channels, `blocks` blocks, a dense output; `law` is that of the blocks' kernels.

    Whatever the skip, the tensors have the same names and shapes.

    >>> plain, residual = (constant_width((64,), 10, blocks=2, width=8, skip=skip) for skip in ("none", "scaled"))
    >>> plain.kernels == residual.kernels, plain.kernels
    (True, ('stem.weight', 'block1.weight', 'block2.weight', 'output.weight'))
    """
    if kind not in ("dense", "conv") or skip not in SKIPS or normalization not in ("none", "batch"):
        raise UsageError(
            f"kind must be dense or conv, skip {', '.join(SKIPS)}, normalization none or batch; "
            f"{kind}, {skip}, {normalization} came"
        )
    scale = 1 / math.sqrt(blocks) if skip == "scaled" else 1.0

    def normalized(name: str) -> tuple[Layer, ...]:
        return () if normalization == "none" else (BatchNorm(name, width),)

    if kind == "dense":
        layers: list[Layer] = [Flatten(), Dense("stem", math.prod(input_shape), width)]
    else:
        layers = [Convolution("stem", input_shape[0], width)]
    layers += [*normalized("stem"), Activation("relu")]
    for index in range(1, blocks + 1):
        name = f"block{index}"
        if kind == "dense":
            body: tuple[Layer, ...] = (Dense(name, width, width, law), *normalized(name), Activation("relu"))
        else:
            first, second = f"{name}.conv1", f"{name}.conv2"
            body = (
                Convolution(first, width, width, law=law),
                *normalized(first),
                Activation("relu"),
                Convolution(second, width, width, law=law),
                *normalized(second),
            )
        layers += body if skip == "none" else [Residual(body, activation="identity", scale=scale)]
    layers += [GlobalAveragePool()] if kind == "conv" else []
    layers.append(Dense("output", width, classes))
    return Network(f"constant-width-{kind}-{blocks}x{width}-{skip}", tuple(layers), input_shape, classes)


BUILD = constant_width
