"""What all instruments share: on what they measure, what they hand back, and how they refuse what can't be measured.

An instrument is a function `name(network, weights, ...)` that measures a whole cohort and returns a frozen dataclass of
tensors that lead with the axis replica. Such a `Measurement` carries `flags`: why a replica's numbers are not to be
trusted. `network` may also be a plain nn.Module, measured with its own weights as a cohort of one replica.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.losses import Loss

Flags = Mapping[str, Tensor]
"""Reason -> bool (replica,): whose numbers are not to be trusted for that reason. All false when nothing is wrong."""


class Measurement(Protocol):
    """What an instrument returns."""

    @property
    def flags(self) -> Flags: ...


def trusted(measurement: Measurement) -> Tensor:
    """Replicas that no flag is raised for, bool (replica,)."""
    raised = list(measurement.flags.values())
    return ~torch.stack(raised).any(dim=0)


def subject(network: Network | torch.nn.Module, weights: Weights | None, inputs: Tensor) -> tuple[Network, Weights]:
    """The network and weights to measure; of a plain module a copy with its own weights, as one replica.

    Args:
        network: a network with `weights`, or a module without.
        weights: of the cohort; None for a module.
        inputs: examples as the instrument gets them, (example, *input_shape); a module's input shape is read off them.

    Raises:
        UsageError: a network came without weights, or a module with some.
        ShapeError: weights are not finite.
    """
    if isinstance(network, torch.nn.Module):
        if weights is not None:
            raise UsageError("weights are for a Network; a module is measured with its own: leave them out")
        module = copy.deepcopy(network)
        was_training = network.training
        with torch.no_grad():
            outputs = module.eval()(inputs[:1])
        network = Network.from_module(
            lambda: copy.deepcopy(module.train(was_training)),
            input_shape=tuple(inputs.shape[1:]),
            outputs=outputs.shape[-1],
            name=type(module).__name__,
            input_dtype=inputs.dtype if inputs.is_floating_point() else None,
        )
        weights = network.initialize([0], device=str(inputs.device))
    if weights is None:
        raise UsageError(f"weights of {network.name} are missing: a Network has none of its own")
    if not bool(weights.finite().all()):
        bad = (~weights.finite()).nonzero().flatten().tolist()
        raise ShapeError(f"weights must be finite, those of replicas {bad} are not: leave diverged replicas out")
    return network, weights


def check_examples(network: Network, weights: Weights, inputs: Tensor, labels: Tensor | None = None) -> None:
    """Refuse examples that do not fit: `inputs` (example, *input_shape), or the same after a replica axis.

    Raises:
        ShapeError: no examples, a wrong shape, numbers that are not finite, or labels that do not fit inputs.
    """
    shape = tuple(inputs.shape)
    shared = shape[1:] == network.input_shape
    own = shape[2:] == network.input_shape and shape[:1] == (weights.replicas,)
    if not shared and not own:
        wanted = ", ".join(map(str, network.input_shape))
        raise ShapeError(
            f"inputs must be (example, {wanted}), or ({weights.replicas} replicas, example, {wanted}); {shape} came"
        )
    if inputs.numel() == 0:
        raise ShapeError(f"inputs must hold at least one example, {shape} came")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise ShapeError("inputs must be finite: some numbers are nan or inf")
    if labels is None:
        return
    leading = shape[:1] if shared else shape[:2]
    if tuple(labels.shape[: len(leading)]) != leading:
        raise ShapeError(f"labels must be {leading} like the inputs, {tuple(labels.shape)} came")


def own_examples(weights: Weights, network: Network, inputs: Tensor) -> Tensor:
    """Inputs with the replica axis, (replica, example, *input_shape); a view when they are shared."""
    if tuple(inputs.shape[1:]) == network.input_shape:
        return inputs.unsqueeze(0).expand(weights.replicas, *inputs.shape)
    return inputs


def loss_function(
    network: Network,
    weights: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> Callable[[Tensor], Tensor]:
    """flat (replica, parameter) -> mean loss of each replica (replica,), differentiable as often as the layers are.

    The sum over replicas has block-diagonal derivatives: one backward pass gives the gradient of every replica.

    Args:
        network: what is measured.
        weights: where its buffers come from (running statistics; never changed).
        inputs: (example, *input_shape) or (replica, example, *input_shape).
        labels: (example,) or (replica, example); values instead of labels for losses that take them.
        loss: name or value, see `refute.losses`.
        training: normalize with the batch's own statistics instead of the running ones.
    """
    check_examples(network, weights, inputs, labels)
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    x = own_examples(weights, network, inputs)
    shared = tuple(inputs.shape[1:]) == network.input_shape
    y = labels.unsqueeze(0).expand(weights.replicas, *labels.shape) if shared else labels

    def mean_loss(flat: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in weights.buffers.items()}
        outputs = network(Weights(weights.slots, flat, buffers), x, training=training)
        return chosen.each(outputs, y).mean(dim=1)

    return mean_loss
