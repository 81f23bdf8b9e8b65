"""The mean loss of a cohort as a function of its weights: what instruments that move the weights evaluate."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.hessian import cast, examples_of
from refute.instruments.interface import check_examples, subject
from refute.losses import Loss


@dataclass(frozen=True)
class Objective:
    """Losses and gradients at any weights (replica, parameter), in passes that stay in cache.

    `inputs` (replica, example, *input_shape), `labels` (replica, example, ...); buffers come from `weights` and are
    never changed. Losses are summed in float64.
    """

    network: Network
    weights: Weights
    inputs: Tensor
    labels: Tensor
    loss: Loss
    training: bool

    @property
    def examples(self) -> int:
        return self.inputs.shape[1]

    @property
    def together(self) -> bool:
        """Whether examples must go through together."""
        return self.training and self.network.mixes

    def parts(self, size: int) -> list["Objective"]:
        """The same for each batch of `size` examples in their order; the last one may be smaller."""
        if size < 1:
            raise UsageError(f"a batch must hold at least 1 example, {size} came")
        pieces = zip(torch.split(self.inputs, size, dim=1), torch.split(self.labels, size, dim=1), strict=True)
        return [replace(self, inputs=inputs, labels=labels) for inputs, labels in pieces]

    def take(self, replicas: slice) -> "Objective":
        """Some of the replicas."""
        own = (self.weights.take(replicas), self.inputs[replicas], self.labels[replicas])
        return Objective(self.network, *own, self.loss, self.training)

    def at(self, weights: Weights) -> "Objective":
        """The same with the buffers (and the starting point) of other weights."""
        return replace(self, weights=cast(weights, self.weights.flat.dtype))

    @torch.no_grad()
    def losses(self, flat: Tensor) -> Tensor:
        """Mean loss of each replica, float64 (replica,)."""
        return self._mean(flat, lambda outputs, labels: self.loss.each(outputs, labels))

    @torch.no_grad()
    def accuracy(self, flat: Tensor) -> Tensor:
        """Share of examples told right, in [0, 1], float64 (replica,); of labels only."""
        return self._mean(flat, right)

    def _mean(self, flat: Tensor, of_each: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        total = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
        for rows in self._groups(len(flat)):
            for x, y in self._chunks(rows):
                total[rows] += of_each(self._outputs(flat[rows], rows, x).double(), y).double().sum(dim=1)
        return total / self.examples

    def gradient(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss, float64 (replica,), and its gradient (replica, parameter)."""
        total = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
        gradient = torch.zeros_like(flat)
        for rows in self._groups(len(flat)):
            for x, y in self._chunks(rows):
                with torch.enable_grad():
                    leaf = flat[rows].detach().clone().requires_grad_()
                    each = self.loss.each(self._outputs(leaf, rows, x), _typed(y, flat))
                    (found,) = torch.autograd.grad(each.sum() / self.examples, leaf, materialize_grads=True)
                gradient[rows] += found
                total[rows] += each.detach().double().sum(dim=1)
        return total / self.examples, gradient

    def _outputs(self, flat: Tensor, rows: slice, inputs: Tensor) -> Tensor:
        buffers = {name: buffer[rows].clone() for name, buffer in self.weights.buffers.items()}
        return self.network(Weights(self.weights.slots, flat, buffers), inputs, training=self.training)

    def _groups(self, replicas: int) -> list[slice]:
        size = 1 if self.network.mode == "looped" else replicas
        return [slice(first, first + size) for first in range(0, replicas, size)]

    def _chunks(self, rows: slice) -> list[tuple[Tensor, Tensor]]:
        size = self.examples if self.together else self.network.evaluation_batch
        return list(
            zip(torch.split(self.inputs[rows], size, dim=1), torch.split(self.labels[rows], size, dim=1), strict=True)
        )


def objective(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> Objective:
    """The loss of a cohort as a function of its weights; the arguments are those of `hessian.curvature`."""
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    weights = cast(weights, dtype or weights.flat.dtype)
    x, y = examples_of(network, weights, inputs, labels)
    y = y.double() if y.is_floating_point() else y
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    return Objective(network, weights, x, y, chosen, training)


def right(outputs: Tensor, labels: Tensor) -> Tensor:
    """Whether each example is told right, (replica, example): the largest output, or the sign of a single one."""
    if labels.is_floating_point():
        raise UsageError("an accuracy needs class labels, values came: look at the loss only")
    if outputs.shape[-1] == 1:
        return (outputs.squeeze(-1) > 0) == (labels > 0)
    return outputs.argmax(dim=-1) == labels


def _typed(labels: Tensor, like: Tensor) -> Tensor:
    return labels.to(like.dtype) if labels.is_floating_point() else labels
