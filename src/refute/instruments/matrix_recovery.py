"""Matrices that meet linear measurements <A_i, X> = b_i: of least nuclear and of least Frobenius norm.

    X_nuc = argmin |X|_*, the sum of singular values (of positive semidefinite X the trace)
    X_F   = argmin |X|_F = A^T (A A^T)^+ b

X_nuc by the alternating direction method of multipliers (Boyd et al. 2011, section 6), one thresholding of eigenvalues
or singular values a step. Weak duality says how far it is from the optimum: every y with A^T y <= I (semidefinite) or
|A^T y|_2 <= 1 gives b . y <= |X_nuc|_* (Recht, Fazel & Parrilo 2010, section 2.4).
Source: specification implicit-bias-low-nuclear-norm; Gunasekar et al. 2017 (arXiv 1705.09280), section 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.interface import Flags
from refute.instruments.layer_norms import ranks_of

RELAXATION = 1.6
"""Over-relaxation (Boyd et al. 2011, section 3.4.3: 1.5 to 1.8)."""
CHECK_EVERY = 50
RESIDUAL_RATIO = 5.0
"""Primal over dual residual at which the penalty is doubled or halved (section 3.4.1, there 10)."""
CONSISTENT = 1e-8


@dataclass(frozen=True)
class Interpolant:
    """`matrix` (replica, row, column) float64; `nuclear` (replica,): its nuclear norm; `bound` (replica,): what no
    matrix that meets the measurements is below; `gap` (nuclear - bound) / nuclear; `residual` |A(X) - b| / |b|. Flags:
    "not converged" (gap or residual above the tolerance), "measurements contradict each other"."""

    matrix: Tensor
    nuclear: Tensor
    bound: Tensor
    gap: Tensor
    residual: Tensor
    flags: Flags


@dataclass(frozen=True)
class MatrixRecovery:
    """Of found matrices, float64 (replica,): `excess` |X|_* / |X_nuc|_* - 1; `error` |X - X*|_F / |X*|_F, nan without
    a truth; `effective_rank` exp(entropy of singular values); `residual` |A(X) - b| / |b|. Flags: "measurements not
    met" (residual above 0.001: the excess means nothing yet), "reference not converged"."""

    excess: Tensor
    error: Tensor
    effective_rank: Tensor
    residual: Tensor
    flags: Flags


def measured(maps: Tensor, matrices: Tensor) -> Tensor:
    """<A_i, X>, (replica, measurement); maps (measurement, row, column) or (replica, measurement, row, column).

    >>> measured(torch.eye(2)[None], torch.tensor([[[1.0, 5.0], [5.0, 2.0]]])).tolist()
    [[3.0]]
    """
    return (maps * matrices.unsqueeze(1)).sum(dim=(2, 3))


def frobenius_interpolant(maps: Tensor, values: Tensor) -> Tensor:
    """X_F, the matrix of least Frobenius norm that meets the measurements, (replica, row, column) float64.

    Args:
        maps: A_i (measurement, row, column) or (replica, measurement, row, column).
        values: b (replica, measurement).

    Raises:
        ShapeError: shapes that do not fit, or numbers that are not finite.

    >>> frobenius_interpolant(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[5.0]])).round(decimals=6).tolist()
    [[[0.6, 0.8]]]
    """
    rows, b = _check(maps, values)
    least: Tensor = torch.linalg.pinv(rows) @ b.unsqueeze(2)
    return least.view(len(b), *maps.shape[-2:])


def nuclear_norm_interpolant(
    maps: Tensor, values: Tensor, *, semidefinite: bool = True, iterations: int = 5000, tolerance: float = 1e-6
) -> Interpolant:
    """X_nuc, the matrix of least nuclear norm that meets the measurements.

    Args:
        maps: A_i (measurement, row, column) or (replica, measurement, row, column).
        values: b (replica, measurement).
        semidefinite: among symmetric positive semidefinite matrices only; A_i must then be symmetric.
        iterations: at most.
        tolerance: of gap and residual, at which it ends.

    Raises:
        ShapeError: shapes that do not fit, numbers that are not finite, or A_i that are not symmetric.

    >>> corner = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.5], [0.5, 0.0]]])  # X_11 = 1, X_12 = 1
    >>> nuclear_norm_interpolant(corner, torch.tensor([[1.0, 1.0]])).matrix.round(decimals=4).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """
    rows, b = _check(maps, values)
    shape = (len(b), *maps.shape[-2:])
    if semidefinite and (shape[1] != shape[2] or not torch.allclose(maps, maps.mT)):
        raise ShapeError("maps must be symmetric to measure semidefinite matrices: use (A + A^T) / 2")
    inverse = torch.linalg.pinv(rows)
    least = (inverse @ b.unsqueeze(2)).squeeze(2)
    size = b.norm(dim=1).clamp(min=1e-300)
    contradict = ((rows @ least.unsqueeze(2)).squeeze(2) - b).norm(dim=1) / size > CONSISTENT
    penalty = 1 / least.norm(dim=1, keepdim=True).clamp(min=1e-300)
    z, u = least.clone(), torch.zeros_like(least)
    x, bound = least, torch.full_like(size, -torch.inf)
    found = least
    for step in range(1, iterations + 1):
        at = z - u
        x = at - (inverse @ (rows @ at.unsqueeze(2))).squeeze(2) + least
        mixed = RELAXATION * x + (1 - RELAXATION) * z
        before, z = z, _threshold((mixed + u).view(shape), 1 / penalty.unsqueeze(2), semidefinite).flatten(1)
        u = u + mixed - z
        if step % CHECK_EVERY and step < iterations:
            continue
        dual = (inverse.mT @ (penalty * u).unsqueeze(2)).squeeze(2)
        bound = torch.maximum(bound, _bound(rows, b, dual, shape, semidefinite))
        found = z
        nuclear = ranks_of(found.view(shape)).nuclear
        off = ((rows @ found.unsqueeze(2)).squeeze(2) - b).norm(dim=1) / size
        if bool((((nuclear - bound).abs() <= tolerance * nuclear) & (off <= tolerance) | contradict).all()):
            break
        primal, change = (x - z).norm(dim=1, keepdim=True), (z - before).norm(dim=1, keepdim=True)
        factor = torch.where(
            primal > RESIDUAL_RATIO * change, 2.0, torch.where(change > RESIDUAL_RATIO * primal, 0.5, 1.0)
        )
        penalty, u = penalty * factor, u / factor
    matrix = found.view(shape)
    nuclear = ranks_of(matrix).nuclear
    off = ((rows @ found.unsqueeze(2)).squeeze(2) - b).norm(dim=1) / size
    gap = (nuclear - bound) / nuclear.clamp(min=1e-300)
    return Interpolant(
        matrix,
        nuclear,
        bound,
        gap,
        off,
        {
            "not converged": ~((gap.abs() <= tolerance) & (off <= tolerance)) & ~contradict,
            "measurements contradict each other": contradict,
        },
    )


def matrix_recovery(
    matrices: Tensor, maps: Tensor, values: Tensor, reference: Interpolant, truth: Tensor | None = None
) -> MatrixRecovery:
    """How near found matrices are to the least nuclear norm and to the truth.

    Args:
        matrices: X (replica, row, column).
        maps, values: the measurements, see `nuclear_norm_interpolant`.
        reference: X_nuc of the same measurements.
        truth: X* (replica, row, column), where it is known.

    Raises:
        ShapeError: shapes that do not fit, or numbers that are not finite.
    """
    _check(maps, values)
    if matrices.shape != reference.matrix.shape or (truth is not None and truth.shape != matrices.shape):
        raise ShapeError(
            f"matrices and truth must be {tuple(reference.matrix.shape)} like the reference, {tuple(matrices.shape)} "
            f"and {None if truth is None else tuple(truth.shape)} came"
        )
    x = matrices.double()
    ranks = ranks_of(x)
    off = (measured(maps.double(), x) - values.double()).norm(dim=1) / values.double().norm(dim=1)
    error = torch.full_like(off, torch.nan)
    if truth is not None:
        error = (x - truth.double()).flatten(1).norm(dim=1) / truth.double().flatten(1).norm(dim=1)
    raised = torch.stack(list(reference.flags.values())).any(dim=0)
    return MatrixRecovery(
        ranks.nuclear / reference.nuclear - 1,
        error,
        ranks.effective_rank,
        off,
        {"measurements not met": ~(off <= 1e-3), "reference not converged": raised},
    )


def _threshold(matrices: Tensor, amount: Tensor, semidefinite: bool) -> Tensor:
    """Eigenvalues (0 where below `amount`) or singular values less `amount`."""
    if semidefinite:
        values, vectors = torch.linalg.eigh((matrices + matrices.mT) / 2)
        kept = (values - amount.squeeze(2)).clamp(min=0)
        found: Tensor = (vectors * kept.unsqueeze(1)) @ vectors.mT
        return found
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    shrunk: Tensor = (left * (values - amount.squeeze(2)).clamp(min=0).unsqueeze(1)) @ right
    return shrunk


def _bound(rows: Tensor, b: Tensor, dual: Tensor, shape: tuple[int, ...], semidefinite: bool) -> Tensor:
    """b . y of the multipliers, made small enough to be allowed."""
    matrix = (rows.mT @ dual.unsqueeze(2)).view(shape)
    if semidefinite:
        largest = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[:, -1]
    else:
        largest = torch.linalg.matrix_norm(matrix, 2)
    found: Tensor = (b * dual).sum(dim=1) / largest.clamp(min=1)
    return found


def _check(maps: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """A as rows (replica, measurement, row x column), b; float64."""
    if maps.ndim not in (3, 4) or values.ndim != 2 or maps.numel() == 0 or maps.shape[-3] != values.shape[1]:
        raise ShapeError(
            "maps must be ([replica,] measurement, row, column) and values (replica, measurement), "
            f"{tuple(maps.shape)} and {tuple(values.shape)} came"
        )
    if maps.ndim == 4 and len(maps) != len(values):
        raise ShapeError(f"maps and values must be of as many replicas, {len(maps)} and {len(values)} came")
    if not bool(torch.isfinite(maps).all() & torch.isfinite(values).all()):
        raise ShapeError("maps and values must be finite, some numbers are nan or inf")
    rows = maps.double().flatten(-2)
    return rows.expand(len(values), *rows.shape[-2:]), values.double()
