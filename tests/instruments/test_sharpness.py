"""Epsilon-sharpness against maxima known in closed form, and between its methods."""

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.objective import objective
from refute.instruments.sharpness import epsilon_sharpness
from refute.randomness import stream

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)


def separable() -> tuple[Network, Weights, torch.Tensor, torch.Tensor]:
    """A linear net on scaled unit vectors, at its minimum: a bowl with a diagonal Hessian x_i^2 / 3."""
    network = architectures.build("mlp", (3,), 1, depth=0, bias=False)
    weights = cast(network.initialize([0, 1]), torch.float64)
    inputs = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    values = inputs @ weights.flat[0].unsqueeze(1)
    weights.flat[1] = weights.flat[0]
    return network, weights, inputs, values


@pytest.mark.parametrize("method", ["ascent", "l-bfgs-b"])
def test_the_maximum_over_a_separable_bowl_is_at_a_corner_of_the_box(method: str) -> None:
    network, weights, inputs, values = separable()
    epsilon = 0.01
    found = epsilon_sharpness(
        network,
        weights,
        inputs,
        values,
        seeds=[0, 1],
        epsilon=epsilon,
        method=method,
        loss="squared",  # type: ignore[arg-type]
    )
    half = epsilon * (weights.flat.abs() + 1)
    rise = 0.5 * (inputs.square().sum(dim=1) / 3 * half.square()).sum(dim=1)
    assert torch.allclose(found.worst, rise, rtol=1e-9)
    assert torch.allclose(found.value, 100 * rise, rtol=1e-9)


def test_the_maximum_in_a_subspace_of_one_dimension_is_at_one_of_its_two_ends() -> None:
    found = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, dimension=1, epsilon=0.5, starts=12)
    function, ends = objective(*ARGUMENTS), []
    for replica, seed in enumerate(MADE.seeds):
        own_stream = stream(seed, "epsilon-sharpness")
        direction = torch.randn(MADE.weights.flat.shape[1], 1, generator=own_stream, dtype=torch.float64)[:, 0]
        own = (direction @ MADE.weights.flat[replica]) / direction.square().sum()
        alone = function.take(slice(replica, replica + 1))
        grid = torch.linspace(-1, 1, 201, dtype=torch.float64) * 0.5 * (own.abs() + 1)
        ends.append(max(alone.losses(alone.weights.flat + share * direction).item() for share in grid))
    assert torch.allclose(found.worst, torch.tensor(ends, dtype=torch.float64), rtol=1e-3)


def test_both_methods_find_about_the_same_on_a_net() -> None:
    ascent = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=1e-2)
    theirs = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=1e-2, method="l-bfgs-b", steps=30)
    assert torch.allclose(ascent.value, theirs.value, rtol=0.05)


def test_it_is_never_below_one_step_and_no_point_of_the_box_is_above_it() -> None:
    found = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=5e-2)
    assert bool((found.value >= found.one_step).all())
    function = objective(*ARGUMENTS)
    half = 5e-2 * (MADE.weights.flat.abs() + 1)
    for _ in range(200):
        corner = half * torch.randint(0, 2, half.shape).mul(2).sub(1)
        assert bool((function.losses(MADE.weights.flat + corner) <= found.worst).all())


def test_it_grows_with_the_box_and_with_the_dimension() -> None:
    values = [epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=e).value for e in (1e-3, 5e-3, 2e-2)]
    assert bool((values[0] < values[1]).all() and (values[1] < values[2]).all())
    narrow = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, dimension=2)
    wide = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, dimension=40)
    assert bool((narrow.value < wide.value).all())


def test_packing_changes_nothing() -> None:
    for dimension in (None, 3):
        found = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, dimension=dimension)
        alone = epsilon_sharpness(
            MADE.network,
            MADE.weights.take(slice(1, 2)),
            MADE.inputs,
            MADE.labels,
            seeds=MADE.seeds[1:2],
            dimension=dimension,
        )
        assert torch.allclose(found.value[1:2], alone.value, rtol=1e-8)


def test_flags() -> None:
    assert bool(trusted(epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=1e-3)).all())
    lazy = epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=1e-3, method="l-bfgs-b", steps=1, starts=1)
    assert bool((lazy.value >= lazy.one_step).all())


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="epsilon must be above 0"):
        epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, epsilon=0)
    with pytest.raises(UsageError, match="dimension must be 1 to"):
        epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, dimension=1000)
    with pytest.raises(UsageError, match='method must be "ascent" or "l-bfgs-b"'):
        epsilon_sharpness(*ARGUMENTS, seeds=MADE.seeds, method="lbfgs")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="seeds must be 3"):
        epsilon_sharpness(*ARGUMENTS, seeds=[1])
