"""Attractors: linear maps and fixed points in closed form, Jacobians by autograd, basins on the line."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor, nn

from refute import architectures
from refute.architectures import Network, Weights
from refute.architectures.layers import Activation, Dense
from refute.errors import ShapeError, UsageError
from refute.instruments.attractors import arnoldi_radius, contraction, jacobians, recovery
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_maps(matrices: Tensor) -> tuple[Network, Weights]:
    """The cohort x -> A_r x."""
    size = matrices.shape[-1]
    network = Network("linear", (Dense("output", size, size, bias=False),), (size,), size)
    return network, Weights(network.slots, matrices.flatten(1))


def about(point: Tensor, ratio: float) -> tuple[Network, Weights]:
    """x -> point + ratio (x - point)."""
    size = len(point)
    network = Network("affine", (Dense("output", size, size),), (size,), size)
    flat = torch.cat([(ratio * torch.eye(size).double()).flatten(), (1 - ratio) * point])
    return network, Weights(network.slots, flat[None])


def drawn_case(*, kind: str = "dense", replicas: int = 3) -> tuple[Network, Weights, Tensor]:
    shape = (7,) if kind == "dense" else (1, 3, 3)
    network = architectures.build("autoencoder", shape, math.prod(shape), kind=kind, depth=3, width=6)
    weights = cast(network.initialize(range(replicas)), torch.float64)
    weights.flat.mul_(2)
    return network, weights, torch.randn(replicas, 4, *shape, generator=generator(5), dtype=torch.float64)


# --- contraction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_jacobians_are_autograds(kind: str) -> None:
    network, weights, inputs = drawn_case(kind=kind)
    found = jacobians(network, weights, inputs)
    for replica in range(3):
        alone = weights.take(slice(replica, replica + 1))
        for example, x in enumerate(inputs[replica]):
            expected = torch.autograd.functional.jacobian(lambda v, alone=alone: network(alone, v[None, None])[0, 0], x)
            torch.testing.assert_close(found[replica, example], expected.flatten(1), rtol=1e-12, atol=1e-14)


def test_jacobian_of_one_tanh_layer_is_in_closed_form() -> None:
    """f = tanh(W x): df/dx = diag(1 - f^2) W."""
    network = Network("tanh", (Dense("output", 4, 4, bias=False), Activation("tanh")), (4,), 4)
    matrix = torch.randn(4, 4, generator=generator(1), dtype=torch.float64)
    inputs = torch.randn(3, 4, generator=generator(2), dtype=torch.float64)
    found = jacobians(network, Weights(network.slots, matrix.reshape(1, -1)), inputs)[0]
    expected = (1 - torch.tanh(inputs @ matrix.T).square()).unsqueeze(2) * matrix
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("method", ["exact", "arnoldi"])
def test_linear_maps_have_the_radius_of_their_matrix(method) -> None:
    turn = torch.tensor([[0.0, -0.9], [0.9, 0.0]]).double()  # a complex pair of modulus 0.9
    shear = torch.tensor([[0.5, 8.0], [0.0, 0.25]]).double()
    network, weights = linear_maps(torch.stack([turn, shear, torch.eye(2).double()]))
    inputs = torch.tensor([[1.0, 2.0], [-3.0, 0.5]]).double()
    found = contraction(network, weights, inputs, method=method, seeds=[0, 1, 2])
    torch.testing.assert_close(found.radius, torch.tensor([0.9, 0.5, 1.0]).double()[:, None].expand(3, 2))
    norms = torch.linalg.matrix_norm(torch.stack([turn, shear, torch.eye(2).double()]), ord=2)
    torch.testing.assert_close(found.norm, norms[:, None].expand(3, 2))
    assert found.error[2].abs().max() == 0
    assert trusted(found).all()


def test_a_projector_is_no_attractor_but_a_contraction_about_a_fixed_point_is() -> None:
    point = torch.tensor([2.0, 1.0, -1.0]).double()
    projector = torch.outer(point, point) / point.square().sum()
    shrink = projector - 0.5 * projector  # 0 is its only fixed point
    network, weights = linear_maps(torch.stack([projector, shrink]))
    found = contraction(network, weights, point[None])
    assert found.attractors.tolist() == [0.0, 0.0]
    assert found.attracts(radius=1 + 1e-9).tolist() == [[True], [False]]
    assert contraction(*about(point, 0.98), point[None]).attractors.item() == 1
    assert contraction(*about(point, 0.995), point[None]).attractors.item() == 0


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_arnoldi_agrees_with_the_exact_method(kind: str) -> None:
    network, weights, inputs = drawn_case(kind=kind)
    exact = contraction(network, weights, inputs)
    found = contraction(network, weights, inputs, method="arnoldi", seeds=[3, 4, 5])
    torch.testing.assert_close(found.radius, exact.radius, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.norm, exact.norm, rtol=1e-8, atol=1e-10)
    assert (exact.norm >= exact.radius - 1e-12).all()


def test_arnoldi_converges_long_before_all_dimensions_and_says_when_it_has_not() -> None:
    size = 200
    frame = torch.linalg.qr(torch.randn(size, size, generator=generator(1), dtype=torch.float64)).Q
    values = torch.linspace(0, 0.8, size, dtype=torch.float64)
    values[-1] = 1.3
    matrix = frame @ torch.diag(values) @ frame.T
    start = torch.randn(1, size, generator=generator(2), dtype=torch.float64)
    radius, residual = arnoldi_radius(lambda v: v @ matrix.T, start, steps=40)
    assert radius.item() == pytest.approx(1.3, abs=1e-8)
    assert residual.item() < 1e-6
    network, weights = linear_maps(matrix[None])
    few = contraction(network, weights, start, method="arnoldi", seeds=[0], steps=3)
    assert few.flags["not converged"].item()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_radius_scales_with_the_map_and_ignores_the_basis(scale: float, seed: int) -> None:
    matrix = torch.randn(4, 4, generator=generator(seed), dtype=torch.float64)
    basis = torch.randn(4, 4, generator=generator(seed + 1), dtype=torch.float64) + 3 * torch.eye(4)
    similar = basis @ matrix @ torch.linalg.inv(basis)
    network, weights = linear_maps(torch.stack([matrix, scale * matrix, similar]))
    radius = contraction(network, weights, torch.ones(1, 4).double()).radius[:, 0]
    assert radius[1].item() == pytest.approx(scale * radius[0].item(), rel=1e-9)
    assert radius[2].item() == pytest.approx(radius[0].item(), rel=1e-6)


def test_packing_changes_nothing() -> None:
    network, weights, inputs = drawn_case()
    for method in ("exact", "arnoldi"):
        whole = contraction(network, weights, inputs, method=method, seeds=[3, 4, 5])
        one = contraction(network, weights.take(slice(1, 2)), inputs[1:2], method=method, seeds=[4])
        torch.testing.assert_close(one.radius, whole.radius[1:2], rtol=1e-12, atol=1e-12)
    whole_run = recovery(network, weights, inputs, inputs, steps=50)
    alone = recovery(network, weights.take(slice(1, 2)), inputs[1:2], inputs[1:2], steps=50)
    torch.testing.assert_close(alone.ends, whole_run.ends[1:2], rtol=1e-9, atol=1e-9)
    assert torch.equal(alone.fate, whole_run.fate[1:2])


# --- iteration ----------------------------------------------------------------------------------------------------


def tanh_map(slope: float) -> tuple[Network, Weights]:
    """x -> tanh(slope x) on the line."""
    network = Network("tanh", (Dense("output", 1, 1, bias=False), Activation("tanh")), (1,), 1)
    return network, Weights(network.slots, torch.tensor([[slope]]).double())


def test_two_basins_on_the_line() -> None:
    """x = tanh(2 x) has the attractors +-0.9575 and a source at 0: the sign of the start decides."""
    fixed = brentq(lambda x: math.tanh(2 * x) - x, 0.5, 1.0, xtol=1e-15)
    starts = torch.tensor([[-3.0], [-0.01], [0.01], [0.5], [3.0]]).double()
    found = recovery(*tanh_map(2.0), starts, torch.tensor([[-fixed], [fixed]], dtype=torch.float64), tolerance=1e-12)
    assert found.basins.tolist() == [[0.4, 0.6]]
    assert found.nearest.tolist() == [[0, 0, 1, 1, 1]]
    assert found.recovered.item() == 1
    assert found.reached.item() == 1
    assert found.distance.max() < 1e-10
    assert trusted(found).all()
    only = recovery(*tanh_map(2.0), starts, torch.tensor([[fixed]]).double())
    assert only.recovered.item() == pytest.approx(0.6)
    assert only.share("spurious fixed point").item() == pytest.approx(0.4)
    assert only.standard_error.item() == pytest.approx(math.sqrt(0.6 * 0.4 / 5))


def test_steps_and_approach_follow_the_geometric_series() -> None:
    """x -> x* + q (x - x*): the distance is q^k that of the start, the change (1 - q) of it."""
    point = torch.tensor([3.0, 4.0]).double()
    start = point + torch.tensor([5.0, 0.0]).double()
    found = recovery(*about(point, 0.5), start[None], point[None], steps=100, tolerance=1e-6, moments=(0, 1, 3, 90))
    torch.testing.assert_close(found.approach[0, :3], torch.tensor([1.0, 0.5, 0.125]).double())
    assert found.approach[0, 3].item() == found.distance.item()
    # the change 2.5 q^k falls below 1e-6 x |x| = 5e-6
    assert found.steps.item() == math.ceil(math.log(2.5 / 5e-6, 2)) + 1


def test_cycles_divergence_and_undecided_starts_are_told_apart() -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()  # period 4
    grow = 2 * torch.eye(2).double()
    slow = 0.9999 * torch.eye(2).double()
    network, weights = linear_maps(torch.stack([turn, grow, slow]))
    starts, far = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[50.0, 50.0]]).double()
    found = recovery(network, weights, starts, far, steps=30)
    assert [found.share(fate).tolist() for fate in ("cycle", "diverged", "undecided")] == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    assert found.flags["undecided"].tolist() == [False, False, True]
    assert found.steps.tolist() == [[30], [10], [30]]


def test_flags_of_examples_that_overlap_and_starts_that_still_move() -> None:
    network, weights = linear_maps(0.9999 * torch.eye(2).double()[None])
    examples = torch.tensor([[1.0, 0.0], [1.05, 0.0]]).double()
    found = recovery(network, weights, examples, examples, steps=5)
    assert found.flags["examples overlap"].item()
    assert found.flags["recovered but moving"].item()


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ShapeError, match="as many outputs as inputs"):
        contraction(nn.Linear(4, 3), None, torch.zeros(1, 4))
    network, weights = linear_maps(torch.eye(2).double()[None])
    inputs = torch.ones(1, 2).double()
    with pytest.raises(UsageError, match="did you mean 'exact'"):
        contraction(network, weights, inputs, method="exakt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give seeds"):
        contraction(network, weights, inputs, method="arnoldi")
    with pytest.raises(ShapeError, match="seeds must be 1"):
        contraction(network, weights, inputs, method="arnoldi", seeds=[1, 2])
    with pytest.raises(ShapeError, match="starts must be"):
        recovery(network, weights, torch.ones(1, 3).double(), inputs)
    with pytest.raises(ShapeError, match="examples must hold"):
        recovery(network, weights, inputs, inputs[:0])
    with pytest.raises(UsageError, match="steps must be"):
        recovery(network, weights, inputs, inputs, steps=0)
    with pytest.raises(UsageError, match="moments"):
        recovery(network, weights, inputs, inputs, steps=5, moments=(6,))
    with pytest.raises(UsageError, match="did you mean 'recovered'"):
        recovery(network, weights, inputs, inputs).share("recoverd")
    with pytest.raises(ShapeError, match="weights must be finite"):
        contraction(*linear_maps(torch.full((1, 2, 2), math.nan).double()), inputs)


def test_an_overflow_is_flagged() -> None:
    layers = (Dense("a", 2, 2, bias=False), Activation("identity"), Dense("output", 2, 2, bias=False))
    network = Network("huge", layers, (2,), 2)
    weights = Weights(network.slots, torch.full((1, 8), 1e200, dtype=torch.float64))
    found = contraction(network, weights, torch.ones(1, 2).double())
    assert found.flags["not finite"].item()
    assert found.radius.isnan().all()
