"""Plain conv nets: 3x3 convolutions, then hidden dense layers; no normalization.

"2", "4" and "6" are Conv-2, Conv-4 and Conv-6 of Frankle & Carbin (2019, figure 2).
"""

import math
from dataclasses import dataclass

from refute.architectures.layers import Activation, Convolution, Dense, Flatten, Layer, MaxPool
from refute.architectures.network import Network
from refute.errors import UnknownNameError, UsageError, did_you_mean


@dataclass(frozen=True)
class Plan:
    """Channels of the convolutions of each stage, units of the hidden dense layers, and what halves the image.

    `strided`: the last convolution of a stage has stride 2; else a 2x2 maximum follows the stage.
    """

    stages: tuple[tuple[int, ...], ...]
    dense: tuple[int, ...]
    strided: bool = False


PLANS = {
    "2": Plan(((64, 64),), (256, 256)),
    "4": Plan(((64, 64), (128, 128)), (256, 256)),
    "6": Plan(((64, 64), (128, 128), (256, 256)), (256, 256)),
    "small": Plan(((8, 8),), (64,)),
    "strided": Plan(((8,), (16,)), (32,), strided=True),
    "strided-wide": Plan(((24,), (48,)), (128,), strided=True),
}


def convnet(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    variant: str = "small",
    law: str = "he-normal",
    bias: bool = True,
) -> Network:
    """The conv net of a plan; `input_shape` is (channel, height, width).

    >>> convnet((1, 14, 14), 10).kernels
    ('conv1.weight', 'conv2.weight', 'dense1.weight', 'output.weight')
    >>> convnet((3, 32, 32), 10, variant="6").parameters()
    2262602
    """
    if len(input_shape) != 3:
        raise UsageError(
            f"convnet needs images (channel, height, width), input shape {input_shape} came; don't flatten"
        )
    if variant not in PLANS:
        raise UnknownNameError(f"convnet has no variant '{variant}'; {did_you_mean(variant, tuple(PLANS))}")
    plan = PLANS[variant]
    channels, height, width = input_shape
    layers: list[Layer] = []
    index = 0
    for stage in plan.stages:
        for place, size in enumerate(stage, 1):
            index += 1
            stride = 2 if plan.strided and place == len(stage) else 1
            layers.append(Convolution(f"conv{index}", channels, size, stride=stride, law=law, bias=bias))
            layers.append(Activation("relu"))
            channels = size
        if not plan.strided:
            layers.append(MaxPool(2))
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    layers.append(Flatten())
    features = channels * height * width
    for number, units in enumerate(plan.dense, 1):
        layers += [Dense(f"dense{number}", features, units, law, bias), Activation("relu")]
        features = units
    layers.append(Dense("output", features, classes, law, bias))
    return Network(f"convnet-{variant}", tuple(layers), input_shape, classes)


BUILD = convnet
