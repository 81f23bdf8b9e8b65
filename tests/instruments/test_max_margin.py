"""Largest margins: closed forms in the plane, an independent support vector machine, duality, and what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.svm import SVC

from refute.errors import ShapeError, UsageError
from refute.instruments.max_margin import margin_alignment, max_margin, max_margin_infinity


def cloud(seed: int, examples: int = 60, features: int = 8, apart: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    labels = torch.where(torch.arange(examples) % 2 == 0, 1.0, -1.0)
    points[:, 0] += apart * labels
    return labels.unsqueeze(1) * torch.cat([points, torch.ones(examples, 1)], dim=1)


def test_two_points_in_the_plane() -> None:
    """z = (1, 3) and (1, -1): w = (1, 0) meets both margins and nothing shorter does; L-infinity the same."""
    z = torch.tensor([[[1.0, 3.0], [1.0, -1.0]]])
    found = max_margin(z)
    assert found.direction[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-12)
    assert found.margin.item() == pytest.approx(1.0)
    assert max_margin_infinity(z).item() == pytest.approx(1.0)
    assert max_margin_infinity(torch.tensor([[[2.0, -3.0], [4.0, -1.0]]])).item() == pytest.approx(5.0)


def test_one_example_points_at_itself() -> None:
    found = max_margin(torch.tensor([[[3.0, 4.0]]]))
    assert found.direction[0].tolist() == pytest.approx([3 / 25, 4 / 25])
    assert found.margin.item() == pytest.approx(5.0)
    assert found.supports.tolist() == [1]


@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_a_support_vector_machine(seed: int) -> None:
    """scikit-learn's on x with labels, no intercept of its own: z and -z are the two classes."""
    z = cloud(seed, apart=4.0)
    found = max_margin(z.unsqueeze(0))
    both, labels = np.vstack([z.numpy(), -z.numpy()]), np.repeat([1, -1], len(z))
    machine = SVC(kernel="linear", C=1e8, tol=1e-10).fit(both, labels)
    assert found.direction[0].numpy() == pytest.approx(machine.coef_[0], abs=1e-5)
    assert (z @ found.direction[0]).min().item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_infinity_margin_is_the_shortest_point_of_the_hull(seed: int) -> None:
    """Duality: max over |w|_inf <= 1 of min_n z_n.w = min over the convex hull of |z|_1; bounds from both sides."""
    z = cloud(seed, examples=12, features=3, apart=4.0)
    found = max_margin_infinity(z.unsqueeze(0)).item()
    best = max(
        (z @ torch.sign(torch.randn(4, generator=torch.Generator().manual_seed(k))).double()).min() for k in range(200)
    )
    assert found >= best.item() - 1e-9
    start = np.full(len(z), 1 / len(z))
    hull = minimize(
        lambda a: np.sqrt((z.numpy().T @ a) ** 2 + 1e-12).sum(),
        start,
        bounds=[(0, 1)] * len(z),
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found == pytest.approx(hull.fun, rel=1e-3)


def test_many_examples_enter_as_they_violate() -> None:
    z = cloud(5, examples=400, apart=5.0).unsqueeze(0)
    whole, piecewise = max_margin(z), max_margin(z, added=7)
    assert torch.allclose(whole.direction, piecewise.direction, atol=1e-8)
    assert torch.equal(whole.supports, piecewise.supports)


def test_what_is_not_separable_is_flagged() -> None:
    z = torch.stack([torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])])
    found = max_margin(z)
    assert found.flags["not separable"].tolist() == [True, False]
    assert math.isnan(found.margin[0])
    assert max_margin_infinity(z).tolist() == pytest.approx([0.0, 1.0])
    assert max_margin(torch.zeros(1, 2, 2)).flags["not separable"].item()
    flipped = cloud(0, examples=200, features=4, apart=0.2)
    assert max_margin(flipped.unsqueeze(0)).flags["not separable"].item()


def test_alignment_of_the_solution_and_of_others() -> None:
    z = torch.stack([cloud(seed, apart=4.0) for seed in range(3)])
    best = max_margin(z)
    at_best = margin_alignment(z, 7 * best.direction, best)
    assert torch.allclose(at_best.gap, torch.zeros(3).double(), atol=1e-8)
    assert at_best.degrees.max() < 1e-5
    against = margin_alignment(z, -best.direction, best)
    assert (against.gap > 2 - 1e-9).all()
    assert torch.allclose(against.degrees, torch.full((3,), 180.0).double())
    other = torch.randn(3, z.shape[2], generator=torch.Generator().manual_seed(1))
    found = margin_alignment(z, other, best)
    cosine = torch.cosine_similarity(other.double(), best.direction, dim=1)
    assert torch.allclose(found.degrees, torch.rad2deg(torch.acos(cosine)))
    assert (found.gap >= 0).all()
    assert (found.infinity_margin <= max_margin_infinity(z)).all()


def test_scale_and_packing_change_nothing() -> None:
    z = torch.stack([cloud(seed, apart=4.0) for seed in range(3)])
    found = max_margin(z)
    assert torch.allclose(max_margin(1e-3 * z).direction, 1e3 * found.direction)
    for row in range(3):
        assert torch.equal(max_margin(z[row : row + 1]).direction[0], found.direction[row])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="example"):
        max_margin(torch.zeros(2, 3))
    with pytest.raises(UsageError, match="finite"):
        max_margin_infinity(torch.full((1, 2, 2), math.nan))
    z = torch.ones(1, 2, 2)
    with pytest.raises(ShapeError, match="weights"):
        margin_alignment(z, torch.ones(2), max_margin(z))
