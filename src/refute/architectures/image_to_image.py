"""Nets that put out an image of the size of their input: dense, convolutional, or a residual around convolutions."""

import math

from refute.architectures.layers import Activation, Convolution, Dense, Flatten, Layer, Residual
from refute.architectures.network import Network
from refute.errors import UsageError


def image_to_image(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    kind: str = "conv",
    depth: int = 5,
    width: int = 16,
    size: int = 3,
    law: str = "torch-default",
    bias: bool = True,
) -> Network:
    """`depth` maps with relu between them and none at the end; outputs are the pixels, flattened.

    kind: "dense" (hidden layers of `width` units), "conv" (hidden maps of `width` channels, kernels of `size`, zeros
    around the image), or "residual" (x + h(x), h as conv with a last kernel of standard deviation 0.001).

    >>> net = image_to_image((1, 8, 8), 64, kind="conv", depth=3, width=4)
    >>> net.kernels, net.outputs
    (('conv1.weight', 'conv2.weight', 'conv3.weight'), 64)
    """
    if kind not in ("dense", "conv", "residual") or depth < 1:
        raise UsageError(f"kind must be dense, conv or residual and depth 1 or more; {kind} and {depth} came")
    if len(input_shape) != 3 or outputs != math.prod(input_shape):
        raise UsageError(
            f"image_to_image needs images (channel, height, width) and as many outputs; {input_shape}, {outputs} came"
        )
    layers: list[Layer] = [Flatten()] if kind == "dense" else []
    channels = outputs if kind == "dense" else input_shape[0]
    last = channels
    for index in range(1, depth + 1):
        end = index == depth
        units = last if end else width
        drawn = "normal:0.001" if end and kind == "residual" else law
        if kind == "dense":
            layers.append(Dense(f"dense{index}", channels, units, drawn, bias))
        else:
            layers.append(Convolution(f"conv{index}", channels, units, size=size, law=drawn, bias=bias))
        layers += [] if end else [Activation("relu")]
        channels = units
    if kind == "residual":
        layers = [Residual(tuple(layers), activation="identity")]
    layers += [] if kind == "dense" else [Flatten()]
    return Network(f"image-to-image-{kind}-{depth}x{width}", tuple(layers), input_shape, outputs)


BUILD = image_to_image
