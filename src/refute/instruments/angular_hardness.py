"""Angular visual hardness: the angle between an example's features and its class's weights, among those of all classes.

    theta_c = arccos <z, w_c> / (|z| |w_c|),    AVH = theta_y / sum_c theta_c

z the inputs of the last layer, w_c its kernel's rows, y the label. In [0, 1]: 0 is perfect, 1 / C if all angles agree.

Source: Chen et al. 2020 (arXiv 1912.02279), definition 1; the specification angular-visual-hardness.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.features import LastLayer, check_features, own_labels
from refute.instruments.interface import Flags

CLIP = 1e-7
"""Cosines are clipped to 1 - 1e-7 in size (specification)."""
VANISHING = 1e-8
"""Features shorter than this have no angle: AVH is 1 / C (specification)."""
NEAR = 0.05
"""Share of the whole way at which a curve has reached its plateau (specification)."""


@dataclass(frozen=True)
class AngularHardness:
    """`value` (replica, example): AVH; `angles` (replica, example, class), radians; `length` (replica, example): |z|;
    `vanishing` (replica,) int64: examples without an angle. Multiply `value` by the number of classes to compare data
    sets. Flags: "features vanish" (of some example), "a class has no direction" (a row of the kernel is 0: nan)."""

    value: Tensor
    angles: Tensor
    length: Tensor
    vanishing: Tensor
    flags: Flags


def angular_hardness(last: LastLayer, labels: Tensor, *, with_bias: bool = False) -> AngularHardness:
    """AVH of every example, float64; unchanged by rescaling features, rows of the kernel, or both.

    Args:
        last: of `features.last_layer(network, weights, inputs)`.
        labels: (replica, example) or (example,).
        with_bias: angles between (z, 1) and (w_c, b_c) instead, which depend on the features' scale.

    Raises:
        ShapeError: labels that do not fit.

    >>> last = LastLayer(torch.tensor([[[1.0, 0.0]]]), torch.eye(2)[None], None, torch.zeros(1, 1, 2))
    >>> round(angular_hardness(last, torch.tensor([1])).value.item(), 3)
    1.0
    """
    own = own_labels(labels, last.features)
    check_features(last.features, own)
    z, kernel = last.features.double(), last.kernel.double()
    classes = kernel.shape[1]
    if not 0 <= int(own.min()) <= int(own.max()) < classes:
        raise ShapeError(f"labels must be 0 to {classes - 1}, {int(own.min())} to {int(own.max())} came")
    length = z.norm(dim=2)
    if with_bias:
        bias = torch.zeros_like(kernel[:, :, 0]) if last.bias is None else last.bias.double()
        z = torch.cat([z, torch.ones_like(z[:, :, :1])], dim=2)
        kernel = torch.cat([kernel, bias.unsqueeze(2)], dim=2)
    gone = z.norm(dim=2) < VANISHING
    unit = z / z.norm(dim=2, keepdim=True).clamp(min=VANISHING)
    rows = kernel.norm(dim=2, keepdim=True)
    cosines = unit @ (kernel / rows).transpose(1, 2)
    angles = torch.arccos(cosines.clamp(-1 + CLIP, 1 - CLIP))
    share = angles.gather(2, own.unsqueeze(2)).squeeze(2) / angles.sum(dim=2)
    value = share.masked_fill(gone, 1 / classes)
    flags = {"features vanish": gone.any(dim=1), "a class has no direction": (rows == 0).flatten(1).any(dim=1)}
    return AngularHardness(value, angles, length, gone.sum(dim=1), flags)


def plateau_time(curves: Tensor, *, near: float = NEAR) -> Tensor:
    """First time t / T at which |X(t) - X(T)| <= 0.05 |X(0) - X(T)|, in [0, 1], float64 (replica,).

    0 for a curve that ends where it began. A curve that comes near, leaves and returns has reached it at first.

    Args:
        curves: X (replica, time), equally spaced, from 0 to T; 2 times or more.
        near: share of the whole way.

    Raises:
        ShapeError: other axes, or nan.

    >>> plateau_time(torch.tensor([[10.0, 5.0, 0.2, 0.1, 0.0]])).tolist()
    [0.5]
    """
    if curves.ndim != 2 or curves.shape[1] < 2 or bool(torch.isnan(curves).any()):
        raise ShapeError(f"curves must be (replica, time) of 2 times or more without nan, {tuple(curves.shape)} came")
    x = curves.double()
    reached = (x - x[:, -1:]).abs() <= near * (x[:, :1] - x[:, -1:]).abs()
    return reached.to(torch.int8).argmax(dim=1).double() / (x.shape[1] - 1)
