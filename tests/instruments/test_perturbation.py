"""Worst and average rises in balls around the weights."""

import pytest
import torch
from small_nets import case, dense_hessians

from refute import architectures
from refute.algorithms import SAM
from refute.algorithms.sgd import SGD
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import cast, curvature
from refute.instruments.interface import trusted
from refute.instruments.objective import objective
from refute.instruments.perturbation import average_sharpness, perturbation_scale, sam_sharpness

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)


def bowl(scales: tuple[float, ...] = (1.0, 2.0, 3.0)):  # type: ignore[no-untyped-def]
    """At its minimum, with Hessian diag(scale^2 / 3)."""
    network = architectures.build("mlp", (3,), 1, depth=0, bias=False)
    weights = cast(network.initialize([0]), torch.float64)
    inputs = torch.diag(torch.tensor(scales, dtype=torch.float64))
    return network, weights, inputs, inputs @ weights.flat[0].unsqueeze(1)


def test_the_worst_rise_over_a_bowl_is_half_its_largest_eigenvalue() -> None:
    network, weights, inputs, values = bowl()
    off = weights.clone()
    off.flat.add_(1e-6)
    found = sam_sharpness(network, off, inputs, values, rho=0.2, steps=200, starts=3, seeds=[0], loss="squared")
    assert found.value.item() == pytest.approx(0.5 * 9 / 3 * 0.2**2, rel=1e-3)


def test_the_worst_rise_over_a_box_is_at_a_corner() -> None:
    network, weights, inputs, values = bowl()
    off = weights.clone()
    off.flat.add_(1e-9)
    found = sam_sharpness(network, off, inputs, values, rho=0.2, norm="linf", steps=20, loss="squared")
    assert found.value.item() == pytest.approx(0.5 * (1 + 4 + 9) / 3 * 0.2**2, rel=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_one_step_is_where_sam_looks(adaptive: bool) -> None:
    """The same point as the training algorithm's, found from its own gradient."""
    at, function = curvature(*ARGUMENTS), objective(*ARGUMENTS)
    weights = MADE.weights.clone()
    visited = []
    gradient = at.gradient.clone()
    algorithm = SAM(SGD(), rho=0.1, adaptive=adaptive)
    algorithm.direction(weights, gradient, algorithm.start(weights), None, lambda: visited.append(weights.flat.clone()))
    found = sam_sharpness(*ARGUMENTS, rho=0.1, scale="elementwise" if adaptive else "none")
    assert torch.allclose(found.value, function.losses(visited[0]) - function.losses(MADE.weights.flat), rtol=1e-10)


@pytest.mark.parametrize("scale", ["none", "elementwise", "filter", "layer"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_ascent_finds_more_than_one_step_and_than_any_random_point(scale: str, norm: str) -> None:
    rho = 0.3 if scale == "none" else 0.1
    rho = rho / 5 if norm == "linf" else rho
    found = sam_sharpness(*ARGUMENTS, rho=rho, norm=norm, scale=scale, steps=30, starts=2, seeds=MADE.seeds)  # type: ignore[arg-type]
    assert bool((found.value >= found.one_step).all())
    function, units = objective(*ARGUMENTS), perturbation_scale(MADE.weights, scale)  # type: ignore[arg-type]
    for _ in range(100):
        z = torch.randn_like(units)
        z = rho * (z.sign() if norm == "linf" else z / z.norm(dim=1, keepdim=True))
        assert bool((function.losses(MADE.weights.flat + units * z) - found.loss <= found.value).all())


def test_the_average_over_a_bowl_is_half_its_trace() -> None:
    hessian = torch.tensor([1.0, 4.0, 9.0]).double() / 3
    network, weights, inputs, values = bowl()
    found = average_sharpness(network, weights, inputs, values, seeds=[0], sigma=0.1, draws=4000, loss="squared")
    assert abs(found.value.item() - 0.5 * 0.01 * hessian.sum()) < 4 * found.standard_error.item()
    adaptive = average_sharpness(
        network, weights, inputs, values, seeds=[0], sigma=0.1, draws=4000, scale="elementwise", shift=0, loss="squared"
    )
    expected = 0.5 * 0.01 * (hessian * weights.flat[0].square()).sum()
    assert abs(adaptive.value.item() - expected.item()) < 4 * adaptive.standard_error.item()


def test_the_average_over_a_small_ball_is_half_the_trace_of_the_hessian() -> None:
    found = average_sharpness(*ARGUMENTS, seeds=MADE.seeds, rho=0.02, draws=4000)
    trace = torch.diagonal(dense_hessians(MADE), dim1=1, dim2=2).sum(dim=1)
    expected = 0.5 * 0.02**2 / MADE.weights.flat.shape[1] * trace
    assert bool(((found.value - expected).abs() < 4 * found.standard_error + 1e-3 * expected).all())


def test_m_sharpness_is_the_mean_over_batches() -> None:
    found = sam_sharpness(*ARGUMENTS, rho=0.1, batch=8)
    parts = [
        sam_sharpness(MADE.network, MADE.weights, MADE.inputs[rows], MADE.labels[rows], rho=0.1).value * share
        for rows, share in ((slice(0, 8), 0.4), (slice(8, 16), 0.4), (slice(16, 20), 0.2))
    ]
    assert torch.allclose(found.value, sum(parts), rtol=1e-10)  # type: ignore[arg-type]
    assert bool((found.value > sam_sharpness(*ARGUMENTS, rho=0.1).value).all())


def test_scales() -> None:
    made = case("vgg", examples=2, replicas=2)
    filters = perturbation_scale(made.weights, "filter", shift=0.0)
    layers = perturbation_scale(made.weights, "layer", shift=0.0)
    first = 0
    for slot in made.weights.slots:
        tensor = made.weights[slot.name]
        size = tensor[0].numel()
        own, whole = filters[:, first : first + size], layers[:, first : first + size]
        first += size
        assert torch.allclose(whole, tensor.flatten(1).norm(dim=1, keepdim=True))
        for replica in range(2):
            if slot.kernel:
                expected = torch.stack([w.norm().expand_as(w) for w in tensor[replica]])
            else:
                expected = tensor[replica].abs()
            assert torch.allclose(own[replica], expected.flatten())


def test_flags() -> None:
    network, weights, inputs, values = bowl()
    still = sam_sharpness(network, weights, inputs, values, rho=0.1, loss="squared")
    assert still.flags["gradient vanishes"].all()
    assert bool(trusted(sam_sharpness(*ARGUMENTS, rho=0.1)).all())
    assert average_sharpness(*ARGUMENTS, seeds=MADE.seeds, rho=0.1, draws=2).flags["uncertain"].all()
    assert sam_sharpness(*ARGUMENTS, rho=5e3).value.isfinite().all()


def test_packing_changes_nothing() -> None:
    rows = slice(1, 2)
    alone = (MADE.network, MADE.weights.take(rows), MADE.inputs, MADE.labels)
    for found, expected in (
        (
            sam_sharpness(*ARGUMENTS, rho=0.1, steps=5, starts=2, seeds=MADE.seeds).value,
            sam_sharpness(*alone, rho=0.1, steps=5, starts=2, seeds=MADE.seeds[rows]).value,
        ),
        (
            average_sharpness(*ARGUMENTS, rho=0.1, seeds=MADE.seeds).value,
            average_sharpness(*alone, rho=0.1, seeds=MADE.seeds[rows]).value,
        ),
    ):
        assert torch.allclose(found[rows], expected, rtol=1e-9)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="rho must be above 0"):
        sam_sharpness(*ARGUMENTS, rho=0)
    with pytest.raises(UsageError, match="seeds must be given"):
        sam_sharpness(*ARGUMENTS, rho=0.1, steps=3, starts=2)
    with pytest.raises(UsageError, match='norm must be "l2" or "linf"'):
        sam_sharpness(*ARGUMENTS, rho=0.1, norm="l1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="kind must be"):
        sam_sharpness(*ARGUMENTS, rho=0.1, scale="row")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1 example"):
        sam_sharpness(*ARGUMENTS, rho=0.1, batch=-1)
    with pytest.raises(UsageError, match="exactly one of rho and sigma"):
        average_sharpness(*ARGUMENTS, seeds=MADE.seeds)
    with pytest.raises(UsageError, match="draws even"):
        average_sharpness(*ARGUMENTS, seeds=MADE.seeds, rho=0.1, draws=3)
    with pytest.raises(ShapeError, match="seeds must be 3"):
        average_sharpness(*ARGUMENTS, seeds=[1], rho=0.1)
