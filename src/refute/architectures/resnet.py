"""Residual conv nets for small images, with or without BatchNorm (He et al. 2016, section 4.2; "18" as for 32x32)."""

from refute.architectures.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    GlobalAveragePool,
    Layer,
    Residual,
)
from refute.architectures.network import Network
from refute.errors import UsageError

STAGES: dict[str, tuple[tuple[int, int], ...]] = {
    "small": ((8, 1), (16, 1), (32, 1)),
    "18": ((64, 2), (128, 2), (256, 2), (512, 2)),
    "34": ((64, 3), (128, 4), (256, 6), (512, 3)),
}
"""(channels, blocks) of each stage; every stage after the first halves the image."""


def resnet(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    variant: str = "small",
    multiplier: float = 1.0,
    normalization: str = "batch",
    law: str = "he-normal",
) -> Network:
    """A 3x3 stem, stages of basic blocks (two 3x3 convolutions and a shortcut), average pool, dense output.

    >>> list(resnet((3, 32, 32), 10).units)
    ['stem', 'block1', 'block2', 'block3', 'output']
    """
    if len(input_shape) != 3:
        raise UsageError(f"resnet needs images (channel, height, width), input shape {input_shape} came; don't flatten")
    bias = normalization == "none"

    def normalized(name: str, size: int) -> tuple[Layer, ...]:
        return () if normalization == "none" else (BatchNorm(name, size, affine=normalization == "batch"),)

    channels = max(1, round(STAGES[variant][0][0] * multiplier))
    layers: list[Layer] = [Convolution("stem", input_shape[0], channels, law=law, bias=bias)]
    layers += [*normalized("stem", channels), Activation("relu")]
    index = 0
    for stage, (planned, blocks) in enumerate(STAGES[variant]):
        size = max(1, round(planned * multiplier))
        for block in range(blocks):
            index += 1
            stride = 2 if stage > 0 and block == 0 else 1
            first, second, skip = (f"block{index}.{part}" for part in ("conv1", "conv2", "shortcut"))
            body = (
                Convolution(first, channels, size, stride=stride, law=law, bias=bias),
                *normalized(first, size),
                Activation("relu"),
                Convolution(second, size, size, law=law, bias=bias),
                *normalized(second, size),
            )
            changed = stride != 1 or channels != size
            shortcut = (
                (Convolution(skip, channels, size, size=1, stride=stride, law=law, bias=bias), *normalized(skip, size))
                if changed
                else ()
            )
            layers.append(Residual(body, shortcut))
            channels = size
    layers += [GlobalAveragePool(), Dense("output", channels, classes, law)]
    return Network(f"resnet-{variant}", tuple(layers), input_shape, classes)


BUILD = resnet
