"""Least nuclear norm against a linear program, closed forms, optimality conditions and known recoveries."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from refute.errors import ShapeError
from refute.instruments.matrix_recovery import (
    frobenius_interpolant,
    matrix_recovery,
    measured,
    nuclear_norm_interpolant,
)


def sensing(seed: int, *, size: int = 8, rank: int = 1, count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric Gaussian maps and a semidefinite truth of Frobenius norm 1."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, size, size, generator=generator, dtype=torch.float64)
    half = torch.randn(size, rank, generator=generator, dtype=torch.float64)
    truth = half @ half.T
    return (maps + maps.mT) / (2 * math.sqrt(count)), truth / truth.norm()


def packed(replicas: int, **options: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    both = [sensing(seed, **options) for seed in range(replicas)]
    maps, truth = torch.stack([one for one, _ in both]), torch.stack([two for _, two in both])
    return maps, truth, measured(maps, truth)


def test_diagonal_measurements_against_linear_programming() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.diag_embed(torch.randn(5, 12, generator=generator, dtype=torch.float64))
    truth = torch.diag(torch.rand(12, generator=generator, dtype=torch.float64) * (torch.arange(12) % 3 == 0))
    values = measured(maps, truth[None])
    rows = torch.diagonal(maps, dim1=1, dim2=2).numpy()
    for semidefinite in (True, False):
        found = nuclear_norm_interpolant(maps, values, semidefinite=semidefinite)
        if semidefinite:
            solved = linprog(np.ones(12), A_eq=rows, b_eq=values[0].numpy(), bounds=[(0, None)] * 12)
        else:
            both = np.hstack([rows, -rows])
            solved = linprog(np.ones(24), A_eq=both, b_eq=values[0].numpy(), bounds=[(0, None)] * 24)
        assert not found.flags["not converged"].any()
        assert abs(found.nuclear.item() / solved.fun - 1) < 2e-6


def test_enough_measurements_give_the_truth() -> None:
    maps, truth, values = packed(3, count=25)
    found = nuclear_norm_interpolant(maps, values)
    assert not any(raised.any() for raised in found.flags.values())
    assert (found.matrix - truth).abs().max() < 1e-4
    told = matrix_recovery(found.matrix, maps, values, found, truth)
    assert told.error.max() < 1e-4
    assert told.excess.abs().max() < 1e-12
    assert (told.effective_rank - 1).abs().max() < 1e-2


def test_few_measurements_give_less_than_the_truth_and_the_bound_holds() -> None:
    """Below the window of recovery X_nuc is another matrix of smaller trace: no feasible one may beat the bound."""
    maps, truth, values = packed(3, rank=2, count=12)
    found = nuclear_norm_interpolant(maps, values)
    assert (found.nuclear < torch.diagonal(truth, dim1=1, dim2=2).sum(dim=1) * (1 - 1e-4)).all()
    assert (found.gap.abs() < 1e-6).all()
    assert (torch.linalg.eigvalsh(found.matrix) > -1e-9).all()
    generator = torch.Generator().manual_seed(5)
    for _ in range(20):
        other = torch.randn(3, 8, 8, generator=generator, dtype=torch.float64)
        least = frobenius_interpolant(maps, values - measured(maps, other + other.mT))
        feasible = other + other.mT + least
        assert (torch.linalg.svdvals(feasible).sum(dim=1) >= found.bound * (1 - 1e-9)).all()


def test_completion_in_closed_form() -> None:
    """X_12 = X_21 = 1, X_22 = 0 observed: least nuclear norm 2 at X_11 = 0, and no semidefinite matrix at all."""
    maps = torch.zeros(3, 2, 2, dtype=torch.float64)
    maps[0, 0, 1] = maps[1, 1, 0] = maps[2, 1, 1] = 1
    found = nuclear_norm_interpolant(maps, torch.tensor([[1.0, 1.0, 0.0]]), semidefinite=False)
    torch.testing.assert_close(found.matrix[0], torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), rtol=0, atol=1e-5)
    assert abs(found.nuclear.item() - 2) < 1e-5
    symmetric = (maps + maps.mT) / 2
    none = nuclear_norm_interpolant(symmetric[1:], torch.tensor([[1.0, 0.0]]), iterations=500)
    assert none.flags["not converged"].all()


def test_rectangular_matrices() -> None:
    """One entry of each row observed: least nuclear norm against its dual bound, and against the Frobenius one."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(size, 1, generator=generator, dtype=torch.float64) for size in (5, 7))
    truth = left @ right.T
    seen = torch.rand(5, 7, generator=generator) < 0.7
    maps = torch.eye(35, dtype=torch.float64).view(35, 5, 7)[seen.flatten()]
    values = measured(maps, truth[None])
    found = nuclear_norm_interpolant(maps, values, semidefinite=False)
    least = frobenius_interpolant(maps, values)
    assert not found.flags["not converged"].any()
    assert found.nuclear < torch.linalg.svdvals(least).sum()
    assert found.nuclear <= torch.linalg.svdvals(truth).sum() * (1 + 1e-6)
    assert least.norm() <= found.matrix.norm() * (1 + 1e-6)


def test_frobenius_against_least_squares() -> None:
    maps, _, values = packed(2)
    found = frobenius_interpolant(maps, values)
    for replica in range(2):
        expected = np.linalg.lstsq(maps[replica].flatten(1).numpy(), values[replica].numpy(), rcond=None)[0]
        torch.testing.assert_close(found[replica].flatten(), torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_scale_and_packing_change_nothing_else() -> None:
    maps, _, values = packed(3, count=15, rank=2)
    found = nuclear_norm_interpolant(maps, values)
    scaled = nuclear_norm_interpolant(maps, 100 * values)
    torch.testing.assert_close(scaled.nuclear, 100 * found.nuclear, rtol=1e-5, atol=0)
    alone = nuclear_norm_interpolant(maps[1:2], values[1:2])
    torch.testing.assert_close(alone.nuclear, found.nuclear[1:2], rtol=2e-6, atol=0)


def test_contradictions_and_unmet_measurements_are_flagged() -> None:
    twice = torch.eye(2).expand(2, 2, 2)
    found = nuclear_norm_interpolant(twice, torch.tensor([[1.0, 2.0], [1.0, 1.0]]))
    assert found.flags["measurements contradict each other"].tolist() == [True, False]
    maps, truth, values = packed(2)
    told = matrix_recovery(1.1 * truth, maps, values, nuclear_norm_interpolant(maps, values))
    assert told.flags["measurements not met"].all()
    torch.testing.assert_close(told.residual, torch.full((2,), 0.1).double())
    assert torch.isnan(told.error).all()


def test_refusals_name_what_is_wrong() -> None:
    maps, _, values = packed(2)
    with pytest.raises(ShapeError, match="must be symmetric"):
        nuclear_norm_interpolant(maps + torch.ones(8, 8).triu(1), values)
    with pytest.raises(ShapeError, match="maps must be"):
        frobenius_interpolant(maps, values[:, :3])
    with pytest.raises(ShapeError, match="as many replicas"):
        frobenius_interpolant(maps, values[:1])
    with pytest.raises(ShapeError, match="finite"):
        frobenius_interpolant(maps / 0, values)
    with pytest.raises(ShapeError, match="like the reference"):
        matrix_recovery(torch.ones(2, 3, 3), maps, values, nuclear_norm_interpolant(maps, values))
