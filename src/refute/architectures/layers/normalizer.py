"""A batch normalization in arrays, for the compiled loops of `kernels`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from refute.architectures.layers import kernels
from refute.architectures.layers.arrays import as_replicas, lanes_of, rows_of
from refute.architectures.layers.interface import Layer, Tensors
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.normalization import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, BatchNorm
from refute.architectures.layers.renamed import bare, own_tensors
from refute.architectures.products import put


class Normalizer:
    """A batch normalization, x -> scale x + offset; its tensors as arrays (replica, channel), the same memory."""

    def __init__(self, layer: Layer, weights: Tensors, gradients: Tensors) -> None:
        weights, gradients = own_tensors(layer, weights), own_tensors(layer, gradients)
        layer = bare(layer)
        assert isinstance(layer, BatchNorm)
        own = {slot.name.rpartition(".")[2]: weights[slot.name].detach().numpy() for slot in layer.slots()}
        self.running_mean, self.running_variance = own["running_mean"], own["running_variance"]
        self.gamma, self.beta = own.get("gamma", np.ones(())), own.get("beta", np.zeros(()))
        self.targets = [gradients[f"{layer.name}.{name}"] for name in ("gamma", "beta") if name in own and gradients]
        nothing: Array = np.empty(0)
        self.mean, self.inverse = nothing, nothing  # (replica, channel), 1 / sqrt(variance + epsilon)
        self.scale, self.offset = nothing, nothing

    def settle(self, rows: Array, *, training: bool) -> None:
        """Find scale and offset: by the moments of these rows, which running statistics follow, or by the latter."""
        if not training:
            self.settle_by(self.running_mean, self.running_variance, rows.dtype)
            return
        first: Array = np.ascontiguousarray(rows[:, 0, : self.running_mean.shape[1]])
        total, squares = np.empty(first.shape), np.empty(first.shape)
        kernels.moments(rows, first, total, squares)
        self.settle_by_sums(first, total, squares, rows.size // self.running_mean.size)

    @np.errstate(all="ignore")  # replicas that diverge
    def settle_by_sums(self, first: Array, total: Array, squares: Array, count: int) -> None:
        """By the sums of x - first and (x - first)^2 over `count` values of each channel, (replica, channel)."""
        lead = total / count
        mean, variance = first + lead, np.maximum(squares / count - lead * lead, 0)
        self.running_mean += BATCH_NORM_MOMENTUM * (mean - self.running_mean)
        unbiased = variance * np.divide(count, count - 1)
        self.running_variance += BATCH_NORM_MOMENTUM * (unbiased - self.running_variance)
        self.settle_by(mean, variance, first.dtype)

    @np.errstate(all="ignore")
    def settle_by(self, mean: Array, variance: Array, dtype: Any) -> None:
        """By moments (replica, channel)."""
        inverse = 1 / np.sqrt(variance.astype(np.float64) + BATCH_NORM_EPSILON)
        scale = self.gamma * inverse
        found = mean, scale, self.beta - mean * scale, inverse
        self.mean, self.scale, self.offset, self.inverse = (each.astype(dtype) for each in found)

    def outputs(self, inputs: Array, *, rectify: bool) -> Tensor:
        """scale x + offset of what `in_memory` gives, its positive part if `rectify`; (replica, batch, ...)."""
        found, rows = np.empty_like(inputs), rows_of(inputs)
        scale, offset = lanes_of(rows, self.scale, self.offset)
        kernels.transform(rows, scale, offset, rectify, rows_of(found))
        return as_replicas(found)

    def backward(self, rows: Array, of_rows: Array, *, rectify: bool, keep: float) -> tuple[Array, Array]:
        """Put the gradients of gamma and beta in place.

        If `rectify`, `of_rows`, the gradient d of `outputs`, is set to 0 where it does not pass. Gives the sums of d
        and of d (x - mean), (replica, channel).
        """
        total, product = np.empty(self.mean.shape), np.empty(self.mean.shape)
        mean, scale, offset = lanes_of(rows, self.mean, self.scale, self.offset)
        kernels.of_weights(rows, of_rows, mean, scale, offset, rectify, total, product)
        for target, found in zip(self.targets, (product * self.inverse, total), strict=False):
            put(target, torch.from_numpy(found.astype(self.mean.dtype)).view(target.shape), keep=keep)
        return total, product

    def through_moments(self, total: Array, product: Array, count: int) -> tuple[Array, Array]:
        """What the moments of `count` rows pass on: d - share - slope (x - mean), before the scale."""
        found = total / count, product * np.square(self.inverse, dtype=np.float64) / count
        share, slope = (each.astype(self.mean.dtype) for each in found)
        return share, slope
