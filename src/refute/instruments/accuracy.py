"""Accuracy: the share of examples whose largest output is that of their label."""

import torch
from torch import Tensor

from refute.architectures import Network, Readout, Weights
from refute.datasets import Data

BATCH = 1000
"""Training examples of every replica gathered at a time."""


def accuracy(
    network: Network, weights: Weights, inputs: Tensor, labels: Tensor, *, readout: Readout | None = None
) -> Tensor:
    """Accuracy of every replica on shared examples or on its own, in [0, 1], shape (replica,).

    Definition: mean_i 1[argmax_c f_c(x_i) = y_i].

    Args:
        network: what is evaluated.
        weights: of the whole cohort.
        inputs: (example, *input_shape), shared by all replicas, or (replica, example, *input_shape).
        labels: (example,), or (replica, example).
        readout: scale and centre of a lazily trained net.
    """
    outputs = network.evaluate(weights, inputs)
    if readout is not None:
        outputs = readout.of(network, outputs, inputs)
    return (outputs.argmax(dim=-1) == labels).double().mean(dim=-1)


def training_accuracy(network: Network, weights: Weights, data: Data, *, readout: Readout | None = None) -> Tensor:
    """Accuracy of every replica on its own training subset and (possibly noisy) labels, in [0, 1], shape (replica,)."""
    replicas, examples = data.index.shape
    correct = torch.zeros(replicas, dtype=torch.float64, device=data.inputs.device)
    for positions in torch.split(torch.arange(examples, device=data.inputs.device), BATCH):
        inputs, labels = data.batch(positions.expand(replicas, -1))
        outputs = network.evaluate(weights, inputs)
        if readout is not None:
            outputs = readout.of(network, outputs, inputs)
        correct += (outputs.argmax(dim=-1) == labels).sum(dim=-1)
    return correct / examples
