"""Lanczos eigenvalues against dense decompositions, and against each other in other packings."""

import numpy as np
import pytest
import torch
from small_nets import case, dense_gauss_newton, dense_hessians
from torch import nn

from refute import architectures
from refute.errors import ShapeError, UsageError
from refute.instruments.eigenvalues import eigenvalues
from refute.instruments.interface import trusted
from refute.instruments.lanczos import lanczos
from refute.randomness import stream

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)
EXACT = torch.linalg.eigvalsh(dense_hessians(MADE))


def test_both_ends_are_those_of_the_dense_hessian() -> None:
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=4, smallest=3, tolerance=1e-9)
    assert torch.allclose(found.values[:, :4], EXACT.flip(1)[:, :4], atol=1e-10)
    assert torch.allclose(found.values[:, 4:], EXACT[:, :3].flip(1), atol=1e-10)
    assert bool(trusted(found).all())
    lengths = found.vectors.norm(dim=2)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-12)


def test_residuals_are_those_of_the_dense_hessian_and_bound_the_error() -> None:
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=3, tolerance=1e-2)
    images = found.vectors @ dense_hessians(MADE)
    residuals = (images - found.values.unsqueeze(2) * found.vectors).norm(dim=2)
    assert torch.allclose(found.residuals, residuals, atol=1e-12)
    nearest = (found.values.unsqueeze(2) - EXACT.unsqueeze(1)).abs().amin(dim=2)
    assert bool((nearest <= residuals + 1e-12).all())
    assert bool((residuals <= 2e-2 * found.values[:, :1]).all())


@pytest.mark.parametrize("matrix", ["gauss-newton", "residual"])
def test_other_matrices(matrix: str) -> None:
    dense = dense_gauss_newton(MADE)
    dense = dense if matrix == "gauss-newton" else dense_hessians(MADE) - dense
    exact = torch.linalg.eigvalsh(dense)
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, smallest=1, matrix=matrix, tolerance=1e-8)  # type: ignore[arg-type]
    assert torch.allclose(found.values, exact[:, [-1, 0]], atol=1e-8)


def test_preconditioned_eigenvalues() -> None:
    preconditioner = torch.rand(MADE.weights.flat.shape, dtype=torch.float64) + 0.5
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, scale=preconditioner.rsqrt(), tolerance=1e-8)
    exact = torch.linalg.eigvals(dense_hessians(MADE) / preconditioner.unsqueeze(2)).real.amax(dim=1)
    assert torch.allclose(found.values[:, 0], exact, atol=1e-8)


def test_packing_changes_nothing_and_seeds_only_the_way() -> None:
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds)
    alone = eigenvalues(MADE.network, MADE.weights.take(slice(2, 3)), MADE.inputs, MADE.labels, seeds=MADE.seeds[2:])
    assert int(found.steps[2]) == int(alone.steps[0])
    assert torch.allclose(found.values[2:], alone.values, rtol=1e-10)
    assert torch.allclose(found.vectors[2:], alone.vectors, atol=1e-8)
    other = eigenvalues(*ARGUMENTS, seeds=[1, 2, 3], tolerance=1e-8)
    assert torch.allclose(other.values[:, 0], EXACT[:, -1], atol=1e-8)


def test_a_warm_start_takes_fewer_products_and_still_finds_a_hidden_eigenvector() -> None:
    cold = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=2, tolerance=1e-6)
    warm = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, start=cold.vectors[:, 0])
    assert bool((warm.steps < cold.steps).all())
    hidden = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, start=cold.vectors[:, 1], tolerance=1e-6)
    assert torch.allclose(hidden.values[:, 0], EXACT[:, -1], rtol=1e-6)


def test_too_few_steps_are_flagged() -> None:
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=3, steps=5, tolerance=1e-6)
    assert found.flags["not converged"].all()
    assert not trusted(found).any()


def test_a_small_eigenvalue_whose_residual_hides_its_sign_is_flagged() -> None:
    loose = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=20, smallest=0, steps=22, tolerance=1.0)
    assert torch.equal(loose.flags["sign uncertain"], (loose.residuals > loose.values.abs()).any(dim=1))
    assert loose.flags["sign uncertain"].any()


def test_a_replica_whose_numbers_overflow_is_flagged_and_harms_no_other() -> None:
    network = architectures.build("mlp", (2,), 2, depth=0)
    weights = network.initialize([0, 1])
    inputs = torch.stack([torch.eye(2), 1e30 * torch.eye(2)])
    labels = torch.tensor([[0, 1], [0, 1]])
    found = eigenvalues(network, weights, inputs, labels, seeds=[0, 1], loss="squared")
    assert found.flags["not finite"].tolist() == [False, True]
    assert trusted(found).tolist() == [True, False]
    alone = eigenvalues(network, weights.take(slice(0, 1)), inputs[0], labels[0], seeds=[0], loss="squared")
    assert torch.allclose(found.values[:1], alone.values)


def test_a_surface_that_curves_down_is_flagged() -> None:
    network = architectures.build("mlp", (2,), 2, depth=0)
    weights, inputs = network.initialize([0]), torch.eye(2)
    found = eigenvalues(network, weights, inputs, torch.tensor([0, 1]), seeds=[0], loss="hinge")
    assert found.flags["largest not positive"].all()


def test_single_precision_is_enough_for_a_tolerance_of_a_thousandth() -> None:
    found = eigenvalues(*ARGUMENTS, seeds=MADE.seeds, dtype=torch.float32)
    assert found.values.dtype == torch.float32
    assert torch.allclose(found.values[:, 0].double(), EXACT[:, -1], rtol=1e-4)
    assert bool(trusted(found).all())


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"seeds must be 3, one per replica, 1 came"):
        eigenvalues(*ARGUMENTS, seeds=[0])
    with pytest.raises(UsageError, match=r"largest [+] smallest must be 1 to"):
        eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=0)
    with pytest.raises(UsageError, match=r"steps must be more than the 4"):
        eigenvalues(*ARGUMENTS, seeds=MADE.seeds, largest=4, steps=4)
    with pytest.raises(ShapeError, match=r"start must be"):
        eigenvalues(*ARGUMENTS, seeds=MADE.seeds, start=torch.ones(3, 2))


@pytest.mark.parametrize("rank", [0, 2, 8])
def test_the_process_goes_on_when_the_krylov_space_is_exhausted(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    frame = torch.linalg.qr(torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)).Q
    exact = torch.zeros(8, dtype=torch.float64)
    exact[:rank] = torch.tensor([3.0, 3.0, -1.0, 2.0, 5.0, 0.5, 0.25, 7.0], dtype=torch.float64)[:rank]
    matrices = frame @ torch.diag(exact) @ frame.transpose(1, 2)
    start = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    generators = [stream(0, "a"), stream(1, "a")]
    found = lanczos(lambda v, _: (matrices @ v.unsqueeze(2)).squeeze(2), start, steps=20, generators=generators)
    for row in range(2):
        values, _ = found.eigen(row)
        assert np.allclose(values, exact.sort().values, atol=1e-12)
        inner = found.basis[row] @ found.basis[row].T
        assert torch.allclose(inner, torch.eye(8, dtype=torch.float64), atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of a library that curvlinops imports
def test_scipy_and_curvlinops_agree_on_the_top_eigenvalue() -> None:
    curvlinops = pytest.importorskip("curvlinops")
    linalg = pytest.importorskip("scipy.sparse.linalg")
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    inputs, labels = torch.randn(9, 4), torch.arange(9) % 3
    found = eigenvalues(module, None, inputs, labels, seeds=[0], largest=2, tolerance=1e-9, dtype=torch.float64)
    parameters, data = list(module.double().parameters()), [(inputs.double(), labels)]
    operator = curvlinops.HessianLinearOperator(module, nn.CrossEntropyLoss(), parameters, data).to_scipy()
    top = linalg.eigsh(operator, k=2, which="LA", return_eigenvectors=False)
    assert np.allclose(found.values[0].flip(0), top, atol=1e-10)
