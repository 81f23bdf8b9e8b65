"""Losses: the number that a network's outputs at one example cost, and its derivative by those outputs.

Outputs are (replica, batch, output). Targets are class labels (replica, batch) int64, or values (replica, batch,
*shape) of a floating type, flattened to outputs. A single output tells two classes apart: labels 0 and 1 stand for
y = -1 and y = +1. Where a loss has a kink, `gradient` gives the derivative of its flat side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.errors import ShapeError, UnknownNameError, did_you_mean


class ValueAndGradient(NamedTuple):
    """`each` (replica, batch): the loss of each example; `gradient`, like outputs: its derivative by the outputs."""

    each: Tensor
    gradient: Tensor


class Loss(Protocol):
    """What every loss can do. All three raise `ShapeError` if the targets do not fit the outputs or the loss."""

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, (replica, batch); autograd can differentiate it."""
        ...

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Derivative of each example's loss by its own outputs, (replica, batch, output), in closed form."""
        ...

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        """Both in one go; what they have in common is computed once."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """-log p_y with p = softmax(f) (Bishop 2006, eq. 4.108). Gradient: p_c - [c = y].

    >>> CrossEntropy().each(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64)).item()
    0.6931471824645996
    """

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -functional.log_softmax(outputs, dim=-1).gather(-1, _labels(outputs, targets)).squeeze(-1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.value_and_gradient(outputs, targets).gradient

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        # by hand: for few classes log_softmax takes four times as long on a CPU as all of this
        labels = _labels(outputs, targets)
        leads = outputs - outputs.amax(dim=-1, keepdim=True)
        at_label = leads.gather(-1, labels)
        terms = leads.exp_()
        total = terms.sum(dim=-1, keepdim=True)
        gradient = _add_at(terms.div_(total), labels, -1.0)
        return ValueAndGradient(total.log_().sub_(at_label).squeeze(-1), gradient)


@dataclass(frozen=True)
class Squared:
    """(1/2) sum_c (f_c - y_c)^2 (Bishop 2006, eq. 5.11); y is one-hot for labels. Gradient: f - y."""

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _residual(outputs, targets).square().sum(dim=-1).mul(0.5)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _residual(outputs, targets)

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        residual = _residual(outputs, targets)
        return ValueAndGradient(residual.square().sum(dim=-1).mul_(0.5), residual)


@dataclass(frozen=True)
class MeanSquared:
    """(1/C) sum_c (f_c - y_c)^2 over C outputs; y is one-hot for labels. Gradient: (2/C) (f - y)."""

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _residual(outputs, targets).square().mean(dim=-1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _residual(outputs, targets).mul_(2 / outputs.shape[-1])

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        residual = _residual(outputs, targets)
        return ValueAndGradient(residual.square().mean(dim=-1), residual.mul_(2 / outputs.shape[-1]))


@dataclass(frozen=True)
class Reconstruction:
    """(1/C) sum_c (f_c - t_c)^2 with values t as targets, never labels (Goodfellow et al. 2016, section 14.1)."""

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return MeanSquared().each(outputs, _values(targets))

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return MeanSquared().gradient(outputs, _values(targets))

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        return MeanSquared().value_and_gradient(outputs, _values(targets))


@dataclass(frozen=True)
class Hinge:
    """One output: max(0, 1 - y f) (Cortes & Vapnik 1995); several: max(0, 1 + max_{j != y} f_j - f_y).

    The latter is that of Crammer & Singer 2001. Gradient: 0 if the margin is met, otherwise -y, or +1 at the largest
    other output and -1 at y.

    >>> Hinge().each(torch.tensor([[[0.25]]]), torch.tensor([[1]])).item()
    0.75
    """

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        labels = _labels(outputs, targets)
        if outputs.shape[-1] == 1:
            return torch.relu(1 - _signs(labels, outputs) * outputs).squeeze(-1)
        rival = outputs.scatter(-1, labels, -torch.inf).max(dim=-1, keepdim=True).values
        return torch.relu(1 + (rival - outputs.gather(-1, labels))).squeeze(-1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.value_and_gradient(outputs, targets).gradient

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        labels = _labels(outputs, targets)
        if outputs.shape[-1] == 1:
            signs = _signs(labels, outputs)
            missing = torch.relu(1 - signs * outputs)
            return ValueAndGradient(missing.squeeze(-1), -signs * missing.sign())
        rival = outputs.scatter(-1, labels, -torch.inf).max(dim=-1, keepdim=True)
        missing = torch.relu(1 + (rival.values - outputs.gather(-1, labels)))
        active = missing.sign()
        gradient = torch.zeros_like(outputs).scatter_(-1, rival.indices, active).scatter_(-1, labels, -active)
        return ValueAndGradient(missing.squeeze(-1), gradient)


@dataclass(frozen=True)
class Exponential:
    """One output: exp(-y f); several: sum_{j != y} exp(f_j - f_y) (Soudry et al. 2018).

    Gradient: -y exp(-y f); or exp(f_j - f_y) at j != y, and minus their sum at y.
    """

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        labels = _labels(outputs, targets)
        if outputs.shape[-1] == 1:
            return torch.exp(-_signs(labels, outputs) * outputs).squeeze(-1)
        return torch.exp(self._leads(outputs, labels)).sum(dim=-1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.value_and_gradient(outputs, targets).gradient

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        labels = _labels(outputs, targets)
        if outputs.shape[-1] == 1:
            signs = _signs(labels, outputs)
            costs = torch.exp(-signs * outputs)
            return ValueAndGradient(costs.squeeze(-1), -signs * costs)
        terms = self._leads(outputs, labels).exp_()
        total = terms.sum(dim=-1, keepdim=True)
        return ValueAndGradient(total.squeeze(-1), terms.scatter_(-1, labels, -total))

    @staticmethod
    def _leads(outputs: Tensor, labels: Tensor) -> Tensor:
        """f_j - f_y, and minus infinity at y, so that its exponential is exactly 0: no difference loses digits."""
        return (outputs - outputs.gather(-1, labels)).scatter(-1, labels, -torch.inf)


@dataclass(frozen=True)
class Logistic:
    """log(1 + exp(-y f)) of a single output f (Bishop 2006, section 7.1.2). Gradient: -y / (1 + exp(y f))."""

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -functional.logsigmoid(self._signs(outputs, targets) * outputs).squeeze(-1)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        signs = self._signs(outputs, targets)
        return -signs * torch.sigmoid(-signs * outputs)

    def value_and_gradient(self, outputs: Tensor, targets: Tensor) -> ValueAndGradient:
        signs = self._signs(outputs, targets)
        margins = signs * outputs
        return ValueAndGradient(-functional.logsigmoid(margins).squeeze(-1), -signs * torch.sigmoid(-margins))

    @staticmethod
    def _signs(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.shape[-1] != 1:
            raise ShapeError(
                f"the logistic loss is for one output, but there are {outputs.shape[-1]}: take the cross-entropy"
            )
        return _signs(_labels(outputs, targets), outputs)


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "cross-entropy": CrossEntropy(),
        "squared": Squared(),
        "mean-squared": MeanSquared(),
        "reconstruction": Reconstruction(),
        "hinge": Hinge(),
        "exponential": Exponential(),
        "logistic": Logistic(),
    }
)


def get(name: str) -> Loss:
    """The loss called `name`. Raises `UnknownNameError`, which suggests the nearest name.

    >>> get("squared")
    Squared()
    """
    if name not in LOSSES:
        raise UnknownNameError(f"there is no loss {name!r}: {did_you_mean(name, tuple(LOSSES))}")
    return LOSSES[name]


def _labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """Class labels as an index into the outputs, (replica, batch, 1)."""
    if targets.dtype != torch.int64 or targets.shape != outputs.shape[:-1]:
        raise ShapeError(
            f"for outputs {tuple(outputs.shape)} the targets should be class labels {tuple(outputs.shape[:-1])}, "
            f"int64, but {tuple(targets.shape)}, {targets.dtype}, came"
        )
    return targets.unsqueeze(-1)


def _signs(labels: Tensor, outputs: Tensor) -> Tensor:
    """-1 for label 0 and +1 for label 1, (replica, batch, 1)."""
    return labels.to(outputs.dtype).mul_(2).sub_(1)


def _values(targets: Tensor) -> Tensor:
    if not targets.is_floating_point():
        raise ShapeError(
            f"the targets of a reconstruction should be values, not class labels, but {targets.dtype} came"
        )
    return targets


def _residual(outputs: Tensor, targets: Tensor) -> Tensor:
    """f - y, like outputs, in memory of its own; y are values, or one-hot labels (-1 and +1 for one output)."""
    if targets.is_floating_point():
        if targets.ndim < 3 or targets.flatten(2).shape != outputs.shape:
            raise ShapeError(
                f"for outputs {tuple(outputs.shape)} the targets should be as many values in each example, "
                f"but {tuple(targets.shape)} came"
            )
        return outputs - targets.flatten(2)
    labels = _labels(outputs, targets)
    if outputs.shape[-1] == 1:
        return outputs - _signs(labels, outputs)
    return _add_at(outputs.clone(), labels, -1.0)


def _add_at(values: Tensor, index: Tensor, amount: float) -> Tensor:
    """`amount` added in place at `index` (replica, batch, 1) along the last axis."""
    return values.scatter_add_(-1, index, torch.full(index.shape, amount, dtype=values.dtype, device=values.device))
