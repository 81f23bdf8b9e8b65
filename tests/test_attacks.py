"""Attacks on linear models, where the best attack is known, and the balls and boxes they must stay in."""

import itertools
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refute.attacks import FGSM, PGD, Attack
from refute.errors import ShapeError, UsageError

Norm = Literal["linf", "l2"]
REPLICAS, BATCH, SHAPE = 3, 4, (1, 2, 3)


def streams(seeds: range) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class Linear:
    """The loss w . x of each example, w per replica."""

    def __init__(self, replicas: slice = slice(None), scale: float = 1.0) -> None:
        drawn = torch.randn(REPLICAS, 1, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.slopes = scale * drawn[replicas]

    def gradient(self, inputs: Tensor) -> Tensor:
        return self.slopes.expand(inputs.shape)

    def loss(self, inputs: Tensor) -> Tensor:
        return (self.slopes * inputs).flatten(2).sum(dim=2)


def inputs(low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(REPLICAS, BATCH, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return low + (high - low) * drawn


RADII = torch.tensor([0.1, 0.5, 0.0])
SPREAD = RADII.view(-1, 1, 1, 1, 1).double()


@pytest.mark.parametrize("attack", [FGSM(RADII), PGD(RADII), PGD(RADII, random_start=False, steps=3)], ids=repr)
def test_the_worst_of_a_cube_is_its_corner(attack: Attack) -> None:
    model = Linear()
    found = attack.perturb(inputs(), model.gradient, model.loss, streams(range(REPLICAS)))
    torch.testing.assert_close(found, inputs() + SPREAD * model.slopes.sign())


def test_the_worst_of_a_ball_lies_along_the_gradient() -> None:
    model = Linear()
    found = PGD(RADII, "l2", 10 * RADII).perturb(inputs(), model.gradient, model.loss, streams(range(REPLICAS)))
    length = model.slopes.flatten(2).norm(dim=2).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(model.loss(found), model.loss(inputs() + SPREAD * model.slopes / length))


@pytest.mark.parametrize("attack", [FGSM(0.3, 0.0, 1.0), PGD(0.3, low=0.0, high=1.0)], ids=repr)
def test_the_worst_of_a_cube_in_a_box(attack: Attack) -> None:
    model = Linear()
    found = attack.perturb(inputs(), model.gradient, model.loss, streams(range(REPLICAS)))
    torch.testing.assert_close(found, (inputs() + 0.3 * model.slopes.sign()).clamp(0, 1))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["linf", "l2"]),
    st.floats(0.0, 2.0),
    st.floats(0.001, 3.0),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 1000),
)
def test_attacks_stay_in_the_ball_and_the_box(
    norm: Norm, epsilon: float, size: float, steps: int, restarts: int, boxed: bool, seed: int
) -> None:
    model = Linear(scale=1e-3 if seed % 2 else 100.0)
    low, high = (-0.2, 0.7) if boxed else (None, None)
    given = inputs(-0.2, 0.7).float()
    before = given.clone()
    attack = PGD(epsilon, norm, size, steps, restarts, low=low, high=high)
    found = attack.perturb(given, lambda x: model.gradient(x).float(), model.loss, streams(range(seed, seed + 3)))
    assert torch.equal(given, before)
    assert found.dtype == torch.float32
    away = (found - given).flatten(2)
    radius = away.abs().amax(dim=2) if norm == "linf" else away.norm(dim=2)
    assert (radius <= epsilon * (1 + 1e-5) + 1e-6).all()
    if boxed:
        assert found.min() >= -0.2
        assert found.max() <= 0.7


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball(norm: Norm) -> None:
    centre = torch.zeros(1, 20_000, 2)
    flat = lambda x: torch.zeros_like(x)
    found = PGD(2.0, norm, steps=1).perturb(centre, flat, lambda x: x.sum(dim=2), streams(range(1)))[0]
    radii = found.abs().amax(dim=1) if norm == "linf" else found.norm(dim=1)
    # uniform in two dimensions: a share r^2 lies within r times the radius
    for share in (0.1, 0.25, 0.5, 0.9):
        assert (radii <= 2.0 * share**0.5).double().mean().item() == pytest.approx(share, abs=0.015)
    assert found.mean(dim=0).abs().max() < 0.05


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_packing_changes_nothing(norm: Norm) -> None:
    model = Linear()
    attack = PGD(RADII, norm, RADII / 3, steps=2, restarts=2)
    together = attack.perturb(inputs(), model.gradient, model.loss, streams(range(REPLICAS)))
    for replica in range(REPLICAS):
        only = slice(replica, replica + 1)
        single = Linear(only)
        alone = attack.take(only).perturb(
            inputs()[only], single.gradient, single.loss, streams(range(replica, replica + 1))
        )
        torch.testing.assert_close(alone[0], together[replica])


def test_each_example_keeps_its_worst_restart() -> None:
    """A loss with a narrow and a high peak: one attempt climbs whichever is near."""
    peaks = torch.tensor([-0.8, 0.8], dtype=torch.float64)
    heights = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        return (heights * torch.exp(-20 * (x - peaks) ** 2)).sum(dim=2)

    def gradient(x: Tensor) -> Tensor:
        return (-40 * (x - peaks) * heights * torch.exp(-20 * (x - peaks) ** 2)).sum(dim=2, keepdim=True)

    start = torch.zeros(2, 50, 1, dtype=torch.float64)
    means = []
    for restarts in (1, 3, 12):
        attack = PGD(1.0, step_size=0.02, steps=40, restarts=restarts)
        found = attack.perturb(start, gradient, loss, streams(range(2)))
        means.append(loss(found).mean().item())
    assert means[0] < means[1] < means[2]
    assert means[2] == pytest.approx(2.0, abs=0.02)
    assert means[0] < 1.7


def test_fgsm_is_one_step_of_pgd() -> None:
    model = Linear()
    step = PGD(0.2, step_size=0.2, steps=1, random_start=False)
    arguments = (inputs(), model.gradient, model.loss, streams(range(REPLICAS)))
    assert torch.equal(FGSM(0.2).perturb(*arguments), step.perturb(*arguments))
    only = slice(1, 3)
    assert torch.equal(FGSM(RADII).take(only).epsilon, RADII[only])  # type: ignore[arg-type]
    assert FGSM(0.2).take(only) == FGSM(0.2)


def test_a_gradient_of_zeros_leaves_the_input() -> None:
    for norm in ("linf", "l2"):
        attack = PGD(0.5, norm, random_start=False)  # type: ignore[arg-type]
        assert torch.equal(attack.perturb(inputs(), torch.zeros_like, Linear().loss, streams(range(3))), inputs())


def test_misuse_is_refused() -> None:
    model = Linear()
    arguments = (model.gradient, model.loss, streams(range(REPLICAS)))
    for attack in (PGD(0.1, low=0.0, high=0.5), FGSM(0.1, low=0.5)):
        with pytest.raises(UsageError, match="needs inputs in that range"):
            attack.perturb(inputs(), *arguments)
    with pytest.raises(ShapeError, match=r"epsilon must be a number or 3 numbers, \(2,\) came"):
        PGD(torch.ones(2)).perturb(inputs(), *arguments)
    with pytest.raises(ShapeError, match="3 replicas need as many generators, but 1 came"):
        PGD(0.1).perturb(inputs(), model.gradient, model.loss, streams(range(1)))
    for wrong, match in (
        ({"norm": "l1"}, '"linf" or "l2"'),
        ({"steps": 0}, "at least 1"),
        ({"restarts": 2, "random_start": False}, "set random_start"),
    ):
        with pytest.raises(UsageError, match=match):
            PGD(0.1, **wrong)  # type: ignore[arg-type]


def test_corners_of_a_small_cube_are_none_worse() -> None:
    """By exhaustion over the 2^6 corners, which hold the maximum of a linear loss."""
    model = Linear()
    found = model.loss(PGD(0.2).perturb(inputs(), model.gradient, model.loss, streams(range(REPLICAS))))
    corners = torch.tensor(list(itertools.product((-0.2, 0.2), repeat=6)), dtype=torch.float64).view(-1, *SHAPE)
    losses = torch.stack([model.loss(inputs() + corner) for corner in corners])
    torch.testing.assert_close(found, losses.amax(dim=0))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_do_not_depend_on_packing(norm: Norm) -> None:
    """Bit for bit, with numbers of examples that do not fill the last of a processor's vectors; many, as it is rare."""
    examples, replicas = 20, 1000
    inputs = torch.zeros(replicas, examples, 64)
    attack = PGD(0.5, norm, 0.0, steps=1)
    together = attack.perturb(inputs, torch.ones_like, torch.zeros_like, streams(range(replicas)))
    for replica in range(replicas):
        part = slice(replica, replica + 1)
        alone = attack.perturb(inputs[part], torch.ones_like, torch.zeros_like, streams(range(replica, replica + 1)))
        assert torch.equal(alone, together[part])
