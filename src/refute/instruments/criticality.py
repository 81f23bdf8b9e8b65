"""Layer criticality: what one layer's own training is worth, by putting it back to other values.

Source: Zhang, Bengio & Singer 2019, "Are All Layers Created Equal?", section 2 (re-initialization, re-randomization).
"""

import torch
from torch import Tensor

from refute.architectures import Network, Readout, Weights
from refute.instruments.accuracy import accuracy


def reset_accuracy(
    network: Network,
    trained: Weights,
    donor: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    readout: Readout | None = None,
) -> Tensor:
    """Test accuracy after ONE layer takes the donor's values, for each layer in turn, in [0, 1], (replica, layer).

    Definition: Acc(d) = accuracy of the net with theta_d <- donor_d and every other layer as trained. A layer is a
    unit of `network.units`: kernel with bias and normalization (statistics included), or a whole residual block.

    Args:
        network: what is evaluated.
        trained: weights at the end of training.
        donor: where the layer's values come from: initial weights, a checkpoint, or a fresh draw.
        inputs: (example, *input_shape), shared by all replicas.
        labels: (example,).
        readout: scale and centre of a lazily trained net.
    """
    after = [
        accuracy(network, trained.replaced(names, donor), inputs, labels, readout=readout)
        for names in network.units.values()
    ]
    return torch.stack(after, dim=1)


def joint_reset_accuracy(
    network: Network,
    trained: Weights,
    donor: Weights,
    chosen: Tensor,
    inputs: Tensor,
    labels: Tensor,
    *,
    readout: Readout | None = None,
) -> Tensor:
    """Accuracy after ALL chosen layers of a replica take the donor's values at once, in [0, 1], shape (replica,).

    `chosen` is bool (replica, layer): each replica has its own set.
    """
    changed = trained.clone()
    for layer, names in enumerate(network.units.values()):
        for name in names:
            changed[name][chosen[:, layer]] = donor[name][chosen[:, layer]]
    return accuracy(network, changed, inputs, labels, readout=readout)


def norm_matched(network: Network, draw: Weights, trained: Weights) -> Weights:
    """A copy of a fresh draw in which every kernel has the Frobenius norm of the trained one."""
    matched = draw.clone()
    for name in network.kernels:
        shape = (-1, *[1] * (draw[name].ndim - 1))
        ratio = trained[name].flatten(1).norm(dim=1) / draw[name].flatten(1).norm(dim=1)
        matched[name].mul_(ratio.view(shape))
    return matched


def layer_distances(network: Network, start: Weights, end: Weights) -> dict[str, Tensor]:
    """How far each layer has moved, by three measures, each (replica, layer).

    "rms": ||theta_T - theta_0||_2 / sqrt(n); "maximum": ||theta_T - theta_0||_inf;
    "relative": ||theta_T - theta_0||_2 / ||theta_0||_2. Trained tensors only.
    """
    trained = {slot.name for slot in network.slots if not slot.buffer}
    rms, maximum, relative = [], [], []
    for names in network.units.values():
        before = torch.cat([start[name].flatten(1) for name in names if name in trained], dim=1)
        after = torch.cat([end[name].flatten(1) for name in names if name in trained], dim=1)
        change = after - before
        rms.append(change.norm(dim=1) / before.shape[1] ** 0.5)
        maximum.append(change.abs().amax(dim=1))
        relative.append(change.norm(dim=1) / before.norm(dim=1))
    return {
        "rms": torch.stack(rms, dim=1),
        "maximum": torch.stack(maximum, dim=1),
        "relative": torch.stack(relative, dim=1),
    }
