"""Frames against counting by hand, the random walk's law, and scipy."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_nets import case
from torch import nn

from refute.errors import ShapeError, UsageError
from refute.instruments.frames import accuracy_line, clopper_pearson, frame_accuracy, pseudo_video, trajectory
from refute.instruments.warping import warp


def threshold() -> nn.Linear:
    """Says 1 where its input is above 0."""
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    return module


def test_it_counts_what_is_right_on_every_accepted_frame() -> None:
    generator = torch.Generator().manual_seed(0)
    told = torch.rand(200, 7, generator=generator) < 0.8
    accepted = torch.rand(200, 7, generator=generator) < 0.7
    frames = [(2.0 * told[:, t].float() - 1).unsqueeze(1) for t in range(7)]
    found = frame_accuracy(threshold(), None, frames, torch.ones(200).long(), accepted=accepted)
    accepted[:, 3] = True
    rows = [i for i in range(200) if accepted[i].sum() >= 3]
    assert found.kept.nonzero().flatten().tolist() == rows
    for k in range(4):
        worst = [
            all(told[i, t] or not accepted[i, t] for t in range(3 - k, 4 + k)) for i in rows
        ]  # fmt: skip
        assert found.worst[0, k].item() == pytest.approx(sum(worst) / len(rows))
        assert found.delta[0, k].item() == pytest.approx(found.original.item() - sum(worst) / len(rows))
    shares = [told[i][accepted[i]].double().mean().item() for i in rows]
    assert found.average.item() == pytest.approx(np.mean(shares))
    assert found.shift.item() == pytest.approx(found.original.item() - np.mean(shares))
    for m in range(1, 8):
        expected = []
        for i in rows:
            own = told[i][accepted[i]].tolist()
            draws = list(itertools.combinations(own, min(m, len(own))))
            expected.append(sum(all(draw) for draw in draws) / len(draws))
        assert found.worst_of[0, m - 1].item() == pytest.approx(np.mean(expected))
    assert found.delta[0, 0].item() == 0
    low, high = (bound.item() for bound in (found.low[0], found.high[0]))
    exact = stats.binomtest(round(found.worst[0, -1].item() * len(rows)), len(rows)).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high))
    assert bool(found.flags["many anchors left out"]) == (len(rows) < 180)
    assert not bool(found.flags["few anchors"])


@pytest.mark.parametrize("successes", [0, 1, 7, 10])
def test_clopper_pearson_is_that_of_scipy(successes: int) -> None:
    exact = stats.binomtest(successes, 10).proportion_ci(method="exact")
    low, high = clopper_pearson(torch.tensor([float(successes)]), 10)
    assert (low.item(), high.item()) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_the_walk_has_the_law_of_the_specification() -> None:
    path = trajectory(20000, seed=0, reach=10)
    distance = torch.arange(-10, 11).abs().sqrt()
    for column, size in enumerate((1.0, 0.25, 0.25)):
        found = path.poses[..., column].std(dim=0)
        assert torch.allclose(found, size * distance, rtol=0.03)
    assert torch.allclose(path.zoom.std(dim=0), 0.01 * distance, rtol=0.03)
    assert torch.allclose(path.brightness.std(dim=0), 0.02 * distance, rtol=0.03)
    assert bool(path.accepted[:, 10].all())
    steps = path.poses[:, 1:, 1:] - path.poses[:, :-1, 1:]
    assert torch.allclose(path.velocity[:, 11:], steps[:, 10:], atol=1e-6)
    assert torch.allclose(path.velocity[:, :10], steps[:, :10], atol=1e-6)
    small = trajectory(20000, seed=0, side=8)
    assert math.isclose(small.poses[:, 20, 1].std() / path.poses[:, 20, 1].std(), 8 / 28, rel_tol=1e-5)
    assert torch.equal(trajectory(5, seed=1).poses, trajectory(5, seed=1).poses)
    assert not torch.equal(trajectory(5, seed=1).poses, trajectory(5, seed=2).poses)


def test_the_video_is_the_warp_and_its_frozen_control_only_noise() -> None:
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    path = trajectory(4, seed=3, reach=2, sensor=0.0, blur=0.0)
    frames = list(pseudo_video(images, path))
    assert torch.equal(frames[2], images)
    for frame in (0, 1, 3, 4):
        plain = warp(images, path.poses[:, frame], zoom=path.zoom[:, frame].exp())
        light = path.brightness[:, frame].exp().view(-1, 1, 1, 1)
        assert torch.allclose(frames[frame], (plain * light).clamp(0, 1), atol=1e-6)
    noisy = trajectory(4, seed=3, reach=2, sensor=0.02)
    still = list(pseudo_video(images, noisy.frozen()))
    assert torch.equal(still[2], images)
    assert (still[0] - images).std().item() == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(still[0], still[1])
    # blur is symmetric: of a ramp nothing changes
    ramp = torch.arange(28.0).expand(1, 1, 28, 28)
    fast = trajectory(1, seed=0, reach=1, pixels=2.0, degrees=0, zoom=0, brightness=0, sensor=0, blur=1.0)
    sharp = trajectory(1, seed=0, reach=1, pixels=2.0, degrees=0, zoom=0, brightness=0, sensor=0, blur=0.0)
    blurred, clear = (list(pseudo_video(ramp, path, low=-99, high=99))[2] for path in (fast, sharp))
    assert torch.allclose(blurred[..., 10:18, 10:18], clear[..., 10:18, 10:18], atol=1e-4)


def test_cohorts_modules_and_flat_networks_agree() -> None:
    made = case("vgg", replicas=3, examples=15)
    labels = made.network.evaluate(made.weights, made.inputs).argmax(dim=2)[0]
    path = trajectory(15, seed=0, side=5, reach=3, pixels=2.0, degrees=8.0)
    frames = list(pseudo_video(made.inputs, path, low=-9, high=9))
    whole = frame_accuracy(made.network, made.weights, frames, labels, accepted=path.accepted)
    for replica in range(3):
        alone = frame_accuracy(made.network, made.weights.take(slice(replica, replica + 1)), iter(frames), labels,
                               accepted=path.accepted)  # fmt: skip
        assert torch.equal(alone.right[0], whole.right[replica])
    assert bool((whole.worst.diff(dim=1) <= 0).all())
    assert bool(whole.flags["few anchors"].all())


def test_the_line_is_that_of_scipy_and_its_residuals_are_zero_on_it() -> None:
    generator = torch.Generator().manual_seed(0)
    original = 0.6 + 0.35 * torch.rand(12, generator=generator, dtype=torch.float64)
    worst = torch.sigmoid(1.2 * torch.logit(original) - 0.8 + 0.1 * torch.randn(12, generator=generator))
    line = accuracy_line(original, worst, 1000)
    theirs = stats.linregress(torch.logit(original).numpy(), torch.logit(worst).numpy())
    assert (line.slope, line.intercept) == pytest.approx((theirs.slope, theirs.intercept))
    assert line.r_squared == pytest.approx(theirs.rvalue**2)
    on = torch.sigmoid(line.slope * torch.logit(original) + line.intercept)
    assert line.residual(original, on + 0.02, 1000).tolist() == pytest.approx([0.02] * 12)


def test_refusals() -> None:
    frames = [torch.ones(4, 1)] * 2
    labels = torch.ones(4).long()
    with pytest.raises(UsageError, match="odd number"):
        frame_accuracy(threshold(), None, frames, labels)
    with pytest.raises(UsageError, match="no anchor has 2"):
        frame_accuracy(threshold(), None, frames + frames[:1], labels, accepted=torch.zeros(4, 3))
    with pytest.raises(ShapeError, match="accepted must be"):
        frame_accuracy(threshold(), None, frames + frames[:1], labels, accepted=torch.zeros(4, 2))
    with pytest.raises(UsageError, match="labels must be classes"):
        frame_accuracy(threshold(), None, frames, labels.double())
    with pytest.raises(ShapeError, match="like the path"):
        list(pseudo_video(torch.zeros(3, 1, 4, 4), trajectory(2, seed=0)))
    with pytest.raises(UsageError, match="examples and side"):
        trajectory(0, seed=0)
    with pytest.raises(ShapeError, match="3 models or more"):
        accuracy_line([0.5, 0.6], [0.4, 0.5], 100)
    with pytest.raises(UsageError, match="differ between models"):
        accuracy_line([0.5] * 3, [0.4, 0.5, 0.6], 100)
