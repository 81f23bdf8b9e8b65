"""Profiles, barriers and crossings."""

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.architectures import estimate_statistics
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.objective import objective
from refute.instruments.paths import (
    Profile,
    barrier,
    crossings,
    disagreement,
    interpolated,
    line_profile,
    linear_barrier,
)

MADE = case(activation="tanh")
OTHER = MADE.weights.clone()
OTHER.flat.copy_(MADE.weights.flat.flip(0) + 0.1)


def test_a_profile_is_the_loss_and_error_at_each_point() -> None:
    found = line_profile(MADE.network, MADE.weights, OTHER, MADE.inputs, MADE.labels, points=5)
    for place, fraction in enumerate(found.fractions.tolist()):
        flat = (1 - fraction) * MADE.weights.flat + fraction * OTHER.flat
        outputs = MADE.network.evaluate(type(OTHER)(OTHER.slots, flat), MADE.inputs)
        for replica in range(3):
            loss = torch.nn.functional.cross_entropy(outputs[replica], MADE.labels)
            assert found.losses[replica, place].item() == pytest.approx(loss.item(), abs=1e-13)
            wrong = (outputs[replica].argmax(dim=1) != MADE.labels).double().mean()
            assert found.errors[replica, place].item() == pytest.approx(wrong.item(), abs=1e-13)
    common = MADE.labels.bincount().max().item()
    assert found.chance.tolist() == pytest.approx([1 - common / 20] * 3)


@pytest.mark.parametrize(("kind", "expected", "at"), [("mean", 4.0, 0.5), ("maximum", 3.0, 0.5), ("chord", 4.0, 0.5)])
def test_heights_of_a_known_profile(kind: str, expected: float, at: float) -> None:
    losses = torch.tensor([[1.0, 4.5, 6.0, 4.0, 3.0]]).double()
    profile = Profile(torch.linspace(0, 1, 5).double(), losses, losses / 10, torch.tensor([0.55]).double(), {})
    found = barrier(profile, kind=kind)  # type: ignore[arg-type]
    assert (found.loss.item(), found.loss_at.item()) == (expected, at)
    assert found.error.item() == pytest.approx(expected / 10)
    assert found.flags["at chance"].all()


def test_convex_losses_have_no_barrier() -> None:
    network = architectures.build("mlp", (3,), 3, depth=0)
    one, two = (cast(network.initialize(seeds), torch.float64) for seeds in ([0, 1], [2, 3]))
    inputs, labels = torch.randn(9, 3).double(), torch.arange(9) % 3
    for kind in ("maximum", "chord"):
        found = linear_barrier(network, one, two, inputs, labels, kind=kind)  # type: ignore[arg-type]
        assert found.loss.tolist() == pytest.approx([0, 0], abs=1e-14)
        assert bool((found.loss >= 0).all())


def test_two_copies_of_a_net_with_units_exchanged_have_a_barrier() -> None:
    """The same function at both ends; in between units of opposite meaning cancel."""
    made = case(activation="tanh", depth=1, width=2, replicas=1)
    made.weights["dense1.weight"][0].copy_(torch.tensor([[9.0, 0, 0, 0], [-9.0, 0, 0, 0]]))
    made.weights["dense1.bias"].zero_()
    made.weights["output.weight"][0].copy_(torch.tensor([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0]]))
    made.weights["output.bias"].zero_()
    swapped = made.weights.clone()
    swapped["dense1.weight"].copy_(made.weights["dense1.weight"].flip(1))
    swapped["output.weight"].copy_(made.weights["output.weight"].flip(2))
    labels = (made.inputs[:, 0] < 0).long()
    found = linear_barrier(made.network, made.weights, swapped, made.inputs, labels, points=31)
    ends = found.profile.losses[:, [0, -1]]
    assert torch.allclose(ends[:, 0], ends[:, 1])
    assert found.loss.item() > 0.5
    assert found.error.item() > 0.3
    assert found.loss_at.item() == pytest.approx(0.5)
    assert disagreement(made.network, made.weights, swapped, made.inputs).item() == 0


@pytest.mark.parametrize("family", ["mlp", "vgg"])
def test_batch_statistics_are_estimated_anew_at_every_point(family: str) -> None:
    made = case(family, normalization="batch", replicas=2, examples=12)
    settled = estimate_statistics(made.network, made.weights, made.inputs.expand(2, *made.inputs.shape))
    other = settled.clone()
    other.flat.copy_(settled.flat.flip(0) * 1.5)
    found = line_profile(made.network, settled, other, made.inputs, made.labels, points=4, statistics=made.inputs)
    stale = line_profile(made.network, settled, other, made.inputs, made.labels, points=4)
    for place, fraction in enumerate(found.fractions.tolist()):
        here = interpolated(settled, other, fraction)
        here = estimate_statistics(made.network, here, made.inputs.expand(2, *made.inputs.shape).contiguous())
        expected = objective(made.network, here, made.inputs, made.labels).losses(here.flat)
        assert torch.allclose(found.losses[:, place], expected, atol=1e-12)
    assert not torch.allclose(stale.losses[:, -1], found.losses[:, -1])


def test_crossings_of_a_path_through_a_known_landscape() -> None:
    """L = (w - 1)^2 / 2 of one weight: a step across the minimum has a valley, no step has a barrier."""
    network = architectures.build("mlp", (1,), 1, depth=0, bias=False)
    start = cast(network.initialize([0]), torch.float64)
    snapshots = []
    for w in (3.0, 2.0, -0.5, 1.2):
        weights = start.clone()
        weights.flat.fill_(w)
        snapshots.append(weights)
    found = crossings(network, snapshots, torch.ones(1, 1).double(), torch.ones(1, 1).double(), loss="squared")
    assert found.valley.tolist() == [[False, True, True]]
    assert not found.crossed.any()
    assert found.convexity.tolist() == [[1.0, 1.0, 1.0]]
    assert found.barrier.abs().max().item() == 0
    assert bool(trusted(found).all())


def test_a_barrier_on_a_segment_is_crossed() -> None:
    made = case(activation="tanh", depth=1, width=2, replicas=1)
    made.weights["dense1.weight"][0].copy_(torch.tensor([[9.0, 0, 0, 0], [-9.0, 0, 0, 0]]))
    made.weights["output.weight"][0].copy_(torch.tensor([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0]]))
    swapped = made.weights.clone()
    for name, axis in (("dense1.weight", 1), ("dense1.bias", 1), ("output.weight", 2)):
        swapped[name].copy_(made.weights[name].flip(axis))
    labels = (made.inputs[:, 0] < 0).long()
    found = crossings(made.network, [made.weights, made.weights, swapped], made.inputs, labels)
    assert found.crossed.tolist() == [[False, True]]
    high = crossings(made.network, [made.weights, swapped], made.inputs, labels, absolute=100.0)
    assert not high.crossed.any()


def test_values_have_a_loss_profile_and_no_errors() -> None:
    values = torch.randn(20, 3).double()
    found = linear_barrier(MADE.network, MADE.weights, OTHER, MADE.inputs, values, loss="squared")
    assert found.error.isnan().all()
    assert bool(trusted(found).all())


def test_packing_changes_nothing() -> None:
    rows = slice(1, 2)
    found = line_profile(MADE.network, MADE.weights, OTHER, MADE.inputs, MADE.labels)
    alone = line_profile(MADE.network, MADE.weights.take(rows), OTHER.take(rows), MADE.inputs, MADE.labels)
    assert torch.allclose(found.losses[rows], alone.losses, atol=1e-14)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="both ends must be weights of one network"):
        interpolated(MADE.weights, OTHER.take(slice(0, 2)), 0.5)
    with pytest.raises(UsageError, match="points must be at least 2"):
        line_profile(MADE.network, MADE.weights, OTHER, MADE.inputs, MADE.labels, points=1)
    wide = line_profile(MADE.network, MADE.weights, OTHER, MADE.inputs, MADE.labels, points=4, low=-1, high=2)
    assert wide.flags["few points"].all()
    with pytest.raises(UsageError, match="a barrier needs a profile from 0 to 1"):
        barrier(wide)
    with pytest.raises(UsageError, match="kind must be"):
        linear_barrier(MADE.network, MADE.weights, OTHER, MADE.inputs, MADE.labels, kind="max")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="2 snapshots and 3 points"):
        crossings(MADE.network, [MADE.weights], MADE.inputs, MADE.labels)
    with pytest.raises(ShapeError, match="inputs must be"):
        disagreement(MADE.network, MADE.weights, OTHER, MADE.inputs[:, :2])
