"""Layer rotation: how far each weight layer has turned from its initial direction."""

import torch
from torch import Tensor

from refute.architectures import Weights


def layer_rotation(start: Weights, end: Weights) -> Tensor:
    """Cosine distance of every kernel between two points of training, in [0, 2], shape (replica, layer).

    Definition: d_l = 1 - <w_l, w_l'> / (||w_l|| ||w_l'||), w_l the flattened kernel; biases and normalization
    parameters excluded, layers input side first. Computed in float64.
    Source: Carbonnelle & De Vleeschouwer 2019, section 2.
    """
    kernels = [slot.name for slot in start.slots if slot.kernel]
    distances = []
    for name in kernels:
        a, b = start[name].flatten(1).double(), end[name].flatten(1).double()
        distances.append(1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)))
    return torch.stack(distances, dim=1)
