"""VGG-like nets: 3x3 convolutions in stages with pooling between them, then dense layers.

Simonyan & Zisserman 2015; "11", "13" and "16" are the usual variants for 32x32 images (one dense output layer).
"""

import math

from refute.architectures.layers import Activation, BatchNorm, Convolution, Dense, Flatten, Layer, MaxPool
from refute.architectures.network import Network
from refute.errors import UsageError

STAGES: dict[str, tuple[tuple[int, ...], ...]] = {
    "small": ((8, 8), (16, 16)),
    "11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "13": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    "16": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}


def vgg(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    variant: str = "small",
    multiplier: float = 1.0,
    dense: int = 0,
    normalization: str = "none",
    bias: bool = True,
    law: str = "he-normal",
) -> Network:
    """Stages of 3x3 convolutions, each stage followed by a 2x2 maximum; `dense` > 0 adds a hidden dense layer.

    `input_shape` is (channel, height, width); `multiplier` scales the number of channels. A variant with more stages
    than the image can be halved stops pooling at 1x1.

    >>> vgg((1, 14, 14), 10).kernels
    ('conv1.weight', 'conv2.weight', 'conv3.weight', 'conv4.weight', 'output.weight')
    """
    if len(input_shape) != 3:
        raise UsageError(f"vgg needs images (channel, height, width), input shape {input_shape} came; don't flatten")
    channels, height, width = input_shape
    layers: list[Layer] = []
    index = 0
    for stage in STAGES[variant]:
        for planned in stage:
            index += 1
            size = max(1, round(planned * multiplier))
            layers.append(Convolution(f"conv{index}", channels, size, law=law, bias=bias))
            if normalization != "none":
                layers.append(BatchNorm(f"conv{index}", size, affine=normalization == "batch"))
            layers.append(Activation("relu"))
            channels = size
        if min(height, width) > 1:
            layers.append(MaxPool(2))
            height, width = math.ceil(height / 2), math.ceil(width / 2)
    layers.append(Flatten())
    features = channels * height * width
    if dense:
        layers.append(Dense("dense", features, dense, law, bias))
        if normalization != "none":
            layers.append(BatchNorm("dense", dense, affine=normalization == "batch"))
        layers.append(Activation("relu"))
        features = dense
    layers.append(Dense("output", features, classes, law, bias))
    return Network(f"vgg-{variant}", tuple(layers), input_shape, classes)


BUILD = vgg
