"""Trace and Frobenius norm of the Hessian, or another curvature matrix, from products with random probes.

Hutchinson 1990: with independent entries of mean 0 and variance 1, E[v^T A v] = tr A and E[|A v|^2] = |A|_F^2. Hutch++
(Meyer, Musco, Musco & Woodruff 2021, algorithm 1) takes the trace inside the range of A times a third of the probes
exactly and estimates the rest, which pays where a few eigenvalues make up the trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.hessian import Curvature, Matrix, curvature
from refute.instruments.interface import Flags
from refute.instruments.probes import UNCERTAIN, Probes, check_seeds, drawn, standard_error
from refute.losses import Loss
from refute.randomness import stream

Method = Literal["hutchinson", "hutch++"]


@dataclass(frozen=True)
class Trace:
    """tr A of every replica, (replica,), and its standard error over probes.

    `frobenius` (replica,): |A|_F from the same products, and `frobenius_error`, its standard error (delta method); nan
    for Hutch++, whose probes are not independent. Flags: "uncertain" (standard error above a tenth of |trace|), "one
    probe" (no standard error), "not finite".
    """

    value: Tensor
    standard_error: Tensor
    frobenius: Tensor
    frobenius_error: Tensor
    flags: Flags


def trace(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    products: int = 30,
    method: Method = "hutchinson",
    kind: Probes = "rademacher",
    matrix: Matrix = "hessian",
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    scale: Tensor | None = None,
) -> Trace:
    """Trace of every replica's curvature matrix.

    Args:
        network, weights, inputs, labels, loss, training, dtype, chunk, scale: see `hessian.curvature`.
        seeds: one per replica, of which its probes come.
        products: matrix-vector products to spend on a replica; Hutch++ spends a third each on the range, the trace
            inside it and the rest.
        method: "hutchinson" or "hutch++".
        kind: "rademacher" (least variance) or "gaussian".
        matrix: "hessian", "gauss-newton" or "residual".

    Raises:
        ShapeError: seeds that do not fit; see also `hessian.curvature`.
        UsageError: too few products, or an unknown method or kind.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> inputs, values = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    >>> trace(net, None, inputs, values, seeds=[0], loss="squared").value.item()  # diagonal: no variance
    5.0
    """
    at = curvature(
        network, weights, inputs, labels, loss=loss, training=training, dtype=dtype, chunk=chunk, scale=scale
    )
    return estimate_trace(at, seeds=seeds, products=products, method=method, kind=kind, matrix=matrix)


def estimate_trace(
    at: Curvature,
    *,
    seeds: Sequence[int],
    products: int = 30,
    method: Method = "hutchinson",
    kind: Probes = "rademacher",
    matrix: Matrix = "hessian",
) -> Trace:
    """`trace` at a `Curvature` that is already there; the arguments are the same."""
    check_seeds(seeds, at.replicas)
    least = 1 if method == "hutchinson" else 3
    if products < least:
        raise UsageError(f"products must be at least {least} for {method}, {products} came")
    generators = [stream(seed, "probes") for seed in seeds]
    with torch.no_grad():
        if method == "hutchinson":
            return _hutchinson(at, generators, products, kind, matrix)
        if method == "hutch++":
            return _hutch_plus_plus(at, generators, products, kind, matrix)
    raise UsageError(f'method must be "hutchinson" or "hutch++", {method!r} came')


def _hutchinson(
    at: Curvature, generators: Sequence[torch.Generator], products: int, kind: Probes, matrix: Matrix
) -> Trace:
    traces, squares = [], []
    for _ in range(products):
        probe = drawn(kind, at.gradient, generators)
        image = at.product(probe, matrix)
        traces.append((probe * image).sum(dim=1))
        squares.append(image.square().sum(dim=1))
    each, square = torch.stack(traces, dim=1), torch.stack(squares, dim=1)
    frobenius = square.mean(dim=1).sqrt()
    error = standard_error(square) / (2 * frobenius.clamp(min=torch.finfo(frobenius.dtype).tiny))
    return _result(each.mean(dim=1), standard_error(each), frobenius, error, products)


def _hutch_plus_plus(
    at: Curvature, generators: Sequence[torch.Generator], products: int, kind: Probes, matrix: Matrix
) -> Trace:
    rest = products // 3
    inside = min((products - rest) // 2, at.parameters)
    sketch = torch.stack([drawn(kind, at.gradient, generators) for _ in range(inside)], dim=1)
    frame = torch.linalg.qr(at.product(sketch, matrix).transpose(1, 2)).Q.transpose(1, 2).contiguous()
    exact = (frame * at.product(frame, matrix)).sum(dim=(1, 2))
    each = []
    for _ in range(rest):
        probe = drawn(kind, at.gradient, generators)
        for _ in range(2):
            inside = (frame @ probe.unsqueeze(2)).transpose(1, 2)
            probe = probe - (inside @ frame).squeeze(1)
        each.append((probe * at.product(probe, matrix)).sum(dim=1))
    outside = torch.stack(each, dim=1)
    unknown = torch.full_like(exact, torch.nan)
    return _result(exact + outside.mean(dim=1), standard_error(outside), unknown, unknown, rest)


def _result(value: Tensor, error: Tensor, frobenius: Tensor, frobenius_error: Tensor, probes: int) -> Trace:
    flags = {
        "uncertain": error > UNCERTAIN * value.abs(),
        "one probe": torch.full_like(value, probes < 2, dtype=torch.bool),
        "not finite": ~torch.isfinite(value),
    }
    return Trace(value, error, frobenius, frobenius_error, flags)
