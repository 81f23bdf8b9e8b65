"""Products of a vector with the Hessian or the Gauss-Newton matrix of the loss, for every replica of a cohort at once.

With L the mean loss, f the network's outputs and J_i the Jacobian of f at example i by the weights:

    hessian       A = d^2 L / d theta^2 = G + H
    gauss-newton  G = mean_i J_i^T S_i J_i, S_i the Hessian of the loss of example i by the outputs
    residual      H = mean_i sum_k (d loss_i / d f_k) d^2 f_k / d theta^2

Source: Pearlmutter 1994 (products by a second backward pass), Schraudolph 2002, section 3 (Gauss-Newton). The graph of
the gradient is built once and kept: a further product costs about two gradients, not four.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.architectures.network import channels_together
from refute.errors import ShapeError, UsageError, did_you_mean
from refute.instruments.interface import check_examples, own_examples, subject
from refute.losses import Loss

Matrix = Literal["hessian", "gauss-newton", "residual"]

GRAPH_BYTES = 4 * 2**20
"""Activations of one graph on a CPU, about; measured with benchmarks/curvature.py."""
PROBE_EXAMPLES = 4


@dataclass(frozen=True)
class _Graph:
    """Recorded passes of some replicas over some examples."""

    flat: Tensor
    outputs: Tensor
    each: Tensor
    gradient: Tensor

    @cached_property
    def pulled(self) -> tuple[Tensor, Tensor]:
        """A variable u like the outputs, and J^T u: its derivative by u is what gives J v."""
        dummy = torch.zeros_like(self.outputs).requires_grad_()
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(
                self.outputs, self.flat, dummy, create_graph=True, retain_graph=True, materialize_grads=True
            )
        return dummy, pulled


@dataclass(frozen=True)
class _Part:
    """Some replicas and some examples; `share` of the mean loss. `kept` is its graph, None if it is built anew."""

    network: Network
    weights: Weights
    inputs: Tensor
    labels: Tensor
    loss: Loss
    training: bool
    replicas: slice
    share: float
    kept: _Graph | None = None

    def graph(self) -> _Graph:
        if self.kept is not None:
            return self.kept
        with torch.enable_grad():
            flat = self.weights.flat.detach().clone().requires_grad_()
            buffers = {name: buffer.clone() for name, buffer in self.weights.buffers.items()}
            outputs = self.network(Weights(self.weights.slots, flat, buffers), self.inputs, training=self.training)
            each = self.loss.each(outputs, self.labels)
            (gradient,) = torch.autograd.grad(
                each.mean(dim=1).sum() * self.share, flat, create_graph=True, materialize_grads=True
            )
        return _Graph(flat, outputs, each, gradient)

    def product(self, matrix: Matrix, vectors: Tensor) -> Tensor:
        graph = self.graph()
        if matrix == "hessian":
            return _derivative(graph.gradient, graph.flat, vectors)
        gauss_newton = self._gauss_newton(graph, vectors)
        if matrix == "gauss-newton":
            return gauss_newton
        return _derivative(graph.gradient, graph.flat, vectors) - gauss_newton

    def squared_slopes(self, vectors: Tensor) -> Tensor:
        """share x mean over examples of <d loss_i / d f, J_i v>^2, (replica,)."""
        graph = self.graph()
        dummy, pulled = graph.pulled
        outputs = graph.outputs.detach().requires_grad_()
        with torch.enable_grad():
            of_outputs = self.loss.each(outputs, self.labels).sum()
            (slope,) = torch.autograd.grad(of_outputs, outputs, materialize_grads=True)
        each = (slope * _derivative(pulled, dummy, vectors)).flatten(2).sum(dim=2)
        return each.square().mean(dim=1) * self.share

    def _gauss_newton(self, graph: _Graph, vectors: Tensor) -> Tensor:
        dummy, pulled = graph.pulled
        outputs = graph.outputs.detach().requires_grad_()
        with torch.enable_grad():
            of_outputs = self.loss.each(outputs, self.labels).sum()
            (slope,) = torch.autograd.grad(of_outputs, outputs, create_graph=True, materialize_grads=True)
        curved = _derivative(slope, outputs, _derivative(pulled, dummy, vectors))
        return _derivative(graph.outputs, graph.flat, curved * (self.share / outputs.shape[1]))


@dataclass(frozen=True)
class Curvature:
    """The mean loss of every replica at its weights, with its derivatives; from `curvature`.

    `losses` (replica,); `gradient` (replica, parameter), of the scaled weights where there is a scale; `weights`: where
    it was taken.
    """

    losses: Tensor
    gradient: Tensor
    weights: Weights
    parts: tuple[_Part, ...]
    scale: Tensor | None = None

    @property
    def replicas(self) -> int:
        return len(self.gradient)

    @property
    def parameters(self) -> int:
        return self.gradient.shape[1]

    @property
    def places(self) -> dict[str, slice]:
        """Trained tensor -> where its numbers are along the axis parameter."""
        trained = [slot for slot in self.weights.slots if not slot.buffer]
        ends = list(itertools.accumulate(math.prod(slot.shape) for slot in trained))
        return {slot.name: slice(a, b) for slot, a, b in zip(trained, [0, *ends], ends, strict=False)}

    def product(self, vectors: Tensor, matrix: Matrix = "hessian", *, rows: Tensor | None = None) -> Tensor:
        """Matrix times vectors, like `vectors`: (replica, parameter), or (replica, probe, parameter), one by one.

        `rows`, bool (replica,): whose products are needed; those of others may be left at 0, which saves time.

        Raises:
            ShapeError: vectors of another shape, type or device.
            UsageError: no such matrix.
        """
        _check_vectors(vectors, self.gradient)
        if matrix not in get_args(Matrix):
            raise UsageError(f"there is no matrix {matrix!r}: {did_you_mean(matrix, get_args(Matrix))}")
        if vectors.ndim == 3:
            return torch.stack([self.product(probe, matrix, rows=rows) for probe in vectors.unbind(dim=1)], dim=1)
        scaled = vectors if self.scale is None else vectors * self.scale
        result = torch.zeros_like(vectors)
        for part in self.parts:
            if rows is None or bool(rows[part.replicas].any()):
                result[part.replicas] += part.product(matrix, scaled[part.replicas])
        return result if self.scale is None else result * self.scale

    def squared_slopes(self, vectors: Tensor) -> Tensor:
        """mean_i <grad loss_i, v>^2 (replica,), with each example's own gradient; the Fisher matrix's v^T F v."""
        _check_vectors(vectors, self.gradient)
        total = self.losses.new_zeros(self.replicas)
        for part in self.parts:
            total[part.replicas] += part.squared_slopes(vectors[part.replicas])
        return total


def curvature(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    scale: Tensor | None = None,
) -> Curvature:
    """Loss, gradient and curvature products of a cohort at its weights.

    Args:
        network: a network, or a module (then `weights` is None).
        weights: of the cohort; never changed.
        inputs: (example, *input_shape), or (replica, example, *input_shape).
        labels: (example,) or (replica, example); values for losses that take them.
        loss: name or value, see `refute.losses`; its mean over the examples is differentiated.
        training: normalize with the statistics of these examples (differentiated through) instead of the running ones.
        dtype: what is computed in; that of the weights by default. float64 costs about twice the time of float32 in
            dense nets and eight times in convolutions.
        chunk: examples to a pass. By default all at once, and the graph is kept for the next product: fast, but of the
            memory of all activations. With a number every product computes the passes anew.
        scale: D (replica, parameter): products are with D A D. 0 and 1 choose a subspace; P^(-1/2) of a preconditioner
            P gives the eigenvalues of P^(-1) A (Cohen et al. 2022); |theta| gives an adaptive curvature.

    Raises:
        ShapeError: examples, labels or scale that do not fit, weights that are not finite.
        UsageError: weights are missing, or a chunk would change what batch normalization sees.
        UnknownNameError: there is no loss of that name.

    >>> net = torch.nn.Linear(3, 2, bias=False)
    >>> at = curvature(net, None, torch.eye(3), torch.tensor([0, 1, 1]), loss="squared")
    >>> at.product(torch.ones(1, 6))  # squared loss of a linear net on 3 unit vectors: A = 1/3
    tensor([[0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333]])
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    weights = cast(weights, dtype or weights.flat.dtype)
    x, y = examples_of(network, weights, inputs, labels)
    count = x.shape[1]
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk must be at least 1 example, {chunk} came")
    if chunk is not None and chunk < count and training and network.mixes:
        raise UsageError(f"chunk must be None: batch normalization in training mode needs all {count} examples at once")
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    size = _group(network, weights, x[:1, :PROBE_EXAMPLES].clone(), count if chunk is None else min(chunk, count))
    step = count if chunk is None else chunk
    parts = tuple(
        _Part(
            network,
            weights.take(rows),
            x[rows, first : first + step],
            y[rows, first : first + step],
            chosen,
            training,
            rows,
            (min(first + step, count) - first) / count,
        )
        for rows in (slice(r, min(r + size, weights.replicas)) for r in range(0, weights.replicas, size))
        for first in range(0, count, step)
    )
    if step >= count:
        parts = tuple(replace(part, kept=part.graph()) for part in parts)
    value = torch.zeros(weights.replicas, dtype=weights.flat.dtype, device=weights.flat.device)
    gradient = torch.zeros_like(weights.flat)
    for part in parts:
        graph = part.graph()
        value[part.replicas] += graph.each.detach().mean(dim=1) * part.share
        gradient[part.replicas] += graph.gradient.detach()
    if scale is not None:
        if scale.shape != gradient.shape:
            raise ShapeError(f"scale must be {tuple(gradient.shape)} like the weights, {tuple(scale.shape)} came")
        scale = scale.to(gradient)
        gradient = gradient * scale
    return Curvature(value, gradient, weights, parts, scale)


def hessian_product(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    vectors: Tensor,
    *,
    matrix: Matrix = "hessian",
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> Tensor:
    """One product of the Hessian (or another `matrix`, see above) with vectors, like `vectors`.

    For several products at the same weights take `curvature`, whose graph serves all of them.

    Args:
        network, weights, inputs, labels, loss, training: see `curvature`.
        vectors: (replica, parameter), or (replica, probe, parameter).
        matrix: "hessian", "gauss-newton", or "residual", their difference.

    Raises: as `curvature`, and ShapeError for vectors that do not fit.
    """
    return curvature(network, weights, inputs, labels, loss=loss, training=training).product(vectors, matrix)


def cast(weights: Weights, dtype: torch.dtype) -> Weights:
    """The same weights in another floating type; buffers of whole numbers stay as they are."""
    if weights.flat.dtype == dtype and all(b.dtype == dtype for b in weights.buffers.values() if b.is_floating_point()):
        return weights
    buffers: Mapping[str, Tensor] = {
        name: buffer.to(dtype) if buffer.is_floating_point() else buffer for name, buffer in weights.buffers.items()
    }
    return Weights(weights.slots, weights.flat.detach().to(dtype), buffers)


def examples_of(network: Network, weights: Weights, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs (replica, example, *input_shape) and labels (replica, example, ...) in the weights' floating type."""
    x = inputs.to(weights.flat.dtype) if inputs.is_floating_point() else inputs
    y = labels.to(weights.flat.dtype) if labels.is_floating_point() else labels
    shared = tuple(inputs.shape[1:]) == network.input_shape
    y = y.unsqueeze(0).expand(weights.replicas, *y.shape) if shared else y
    x = channels_together(x) if network.channels_last else x
    return own_examples(weights, network, x), y


def _group(network: Network, weights: Weights, probe: Tensor, examples: int) -> int:
    """Replicas to a graph: many of small nets, so that calls cost little; few of large ones, which stay in cache."""
    if network.mode == "looped":
        return 1
    if weights.flat.device.type != "cpu":
        return weights.replicas
    return max(1, min(weights.replicas, GRAPH_BYTES // (1 + examples * network.activation_bytes(weights, probe))))


def _derivative(of: Tensor, by: Tensor, along: Tensor) -> Tensor:
    """Vector-Jacobian product; zeros where nothing depends on it. The graph stays."""
    if not of.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(of, by, along, retain_graph=True, materialize_grads=True)
    return found


def _check_vectors(vectors: Tensor, gradient: Tensor) -> None:
    replicas, parameters = gradient.shape
    fits = vectors.ndim in (2, 3) and vectors.shape[0] == replicas and vectors.shape[-1] == parameters
    if not fits or vectors.dtype != gradient.dtype:
        raise ShapeError(
            f"vectors must be ({replicas} replicas, {parameters} parameters), or the same with an axis of probes "
            f"between them, of {gradient.dtype}; {tuple(vectors.shape)} of {vectors.dtype} came"
        )
