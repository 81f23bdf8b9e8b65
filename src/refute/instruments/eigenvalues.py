"""Largest and smallest eigenvalues of the loss's Hessian, or another curvature matrix, with a residual for each.

A Ritz pair (lambda, v) with residual r = |A v - lambda v|, |v| = 1, has an eigenvalue of A within r of lambda (Parlett
1998, theorem 4.5.1). Lanczos needs far fewer products for that than power iteration.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import Curvature, Matrix, curvature
from refute.instruments.interface import Flags
from refute.instruments.lanczos import lanczos
from refute.instruments.probes import check_seeds, drawn
from refute.losses import Loss
from refute.randomness import stream

WARM_SHARE = 0.05
"""Length of the random part of a start of length 1: without it an eigenvector that the start lacks stays hidden."""


@dataclass(frozen=True)
class Eigenvalues:
    """Extreme eigenvalues of every replica.

    `values` (replica, eigenvalue), descending: the largest ones, then the smallest ones; `vectors` (replica,
    eigenvalue, parameter), of length 1; `residuals` (replica, eigenvalue), |A v - lambda v|: an eigenvalue lies within
    that of the value; `steps` (replica,): products that a replica took. Flags: "not converged" (a residual above twice
    tolerance x largest |value|), "sign uncertain" (a residual above its own |value|: ask for a smaller tolerance),
    "largest not positive" (the loss curves up in no direction), "not finite".
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    steps: Tensor
    flags: Flags


def eigenvalues(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    largest: int = 1,
    smallest: int = 0,
    matrix: Matrix = "hessian",
    tolerance: float = 1e-3,
    steps: int = 200,
    start: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    scale: Tensor | None = None,
) -> Eigenvalues:
    """Largest (algebraic) and smallest eigenvalues of every replica by Lanczos with full reorthogonalization.

    lambda_1 of "hessian" is the sharpness of Cohen et al. 2021; lambda_min says whether the surface is convex. The K
    largest in modulus are among the K largest and the K smallest.

    Args:
        network, weights, inputs, labels, loss, training, dtype, chunk, scale: see `hessian.curvature`.
        seeds: one per replica, of which its random start comes.
        largest: how many of the largest.
        smallest: how many of the smallest. Copies of a multiple eigenvalue, such as the 0 of a Gauss-Newton matrix, are
            found about once.
        matrix: "hessian", "gauss-newton" or "residual".
        tolerance: every wanted residual is to be below this share of the replica's largest |eigenvalue|. Of a simple
            eigenvalue the error is then about tolerance^2 x |lambda|^2 / gap. A smallest eigenvalue that is itself
            below this share needs a smaller tolerance: 1e-6 for lambda_min of nets that fit.
        steps: products at most; memory is replica x steps x parameter.
        start: direction(s) to begin with, (replica, parameter), such as the last measurement's first vector; a random
            part is added, so that what was not on top then can be found.

    Raises:
        ShapeError: seeds or start that do not fit; see also `hessian.curvature`.
        UsageError: no eigenvalue is asked for, or more than there are.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> inputs, values = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    >>> found = eigenvalues(net, None, inputs, values, seeds=[0], largest=1, smallest=1, loss="squared")
    >>> [round(value, 4) for value in found.values[0].tolist()]  # of mean x x^T
    [4.5, 0.5]
    """
    at = curvature(
        network, weights, inputs, labels, loss=loss, training=training, dtype=dtype, chunk=chunk, scale=scale
    )
    return extremes(
        at,
        seeds=seeds,
        largest=largest,
        smallest=smallest,
        matrix=matrix,
        tolerance=tolerance,
        steps=steps,
        start=start,
    )


def extremes(
    at: Curvature,
    *,
    seeds: Sequence[int],
    largest: int = 1,
    smallest: int = 0,
    matrix: Matrix = "hessian",
    tolerance: float = 1e-3,
    steps: int = 200,
    start: Tensor | None = None,
) -> Eigenvalues:
    """`eigenvalues` at a `Curvature` that is already there; the arguments are the same."""
    check_seeds(seeds, at.replicas)
    wanted = largest + smallest
    if min(largest, smallest) < 0 or wanted < 1 or wanted > at.parameters:
        raise UsageError(
            f"largest + smallest must be 1 to {at.parameters} (the parameters), {largest} + {smallest} came"
        )
    if steps < min(at.parameters, wanted + 1):
        raise UsageError(f"steps must be more than the {wanted} eigenvalues, {steps} came")
    generators = [stream(seed, "lanczos") for seed in seeds]
    begin = drawn("gaussian", at.gradient, generators)
    if start is not None:
        if start.shape != begin.shape:
            raise ShapeError(f"start must be {tuple(begin.shape)} like the weights, {tuple(start.shape)} came")
        begin = begin / begin.norm(dim=1, keepdim=True) * WARM_SHARE
        begin = begin + start.to(begin) / start.norm(dim=1, keepdim=True).clamp(min=torch.finfo(begin.dtype).tiny)

    def converged(_: Tensor, residuals: Tensor, size: Tensor) -> Tensor:
        if residuals.shape[1] < wanted:
            return torch.zeros_like(size, dtype=torch.bool)
        chosen = torch.cat([residuals[:, residuals.shape[1] - largest :], residuals[:, :smallest]], dim=1)
        return (chosen <= tolerance * size.unsqueeze(1)).all(dim=1)

    def product(vectors: Tensor, wanted_rows: Tensor) -> Tensor:
        return at.product(vectors, matrix, rows=wanted_rows)

    with torch.no_grad():
        found = lanczos(product, begin, steps=steps, generators=generators, converged=converged)
        values, vectors, sizes = [], [], []
        for replica in range(at.replicas):
            ritz, inner = found.eigen(replica)
            order = [*range(len(ritz) - 1, len(ritz) - 1 - largest, -1), *range(smallest - 1, -1, -1)]
            values.append(ritz[order])
            vectors.append(inner[:, order].T @ found.basis[replica, : len(ritz)])
            sizes.append(ritz.abs().amax())
        value, vector, size = torch.stack(values), torch.stack(vectors), torch.stack(sizes)
        residuals = (at.product(vector, matrix) - value.unsqueeze(2) * vector).norm(dim=2)
    finite = torch.isfinite(value).all(dim=1) & torch.isfinite(residuals).all(dim=1)
    flags = {
        "not converged": ~(residuals <= 2 * tolerance * size.unsqueeze(1)).all(dim=1),
        "sign uncertain": (residuals > value.abs()).any(dim=1),
        "largest not positive": (value[:, 0] <= 0) & (largest > 0),
        "not finite": ~finite,
    }
    return Eigenvalues(value, vector, residuals, found.steps, flags)
