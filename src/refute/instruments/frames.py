"""Accuracy on an image and its neighbouring frames: of a real video, or of a pseudo-video made of one image.

A pseudo-video moves, turns, zooms and brightens one real image along a random walk. It stands in for a video where none
is at hand, and says nothing of similarity to the human eye.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import examples_of
from refute.instruments.interface import Flags, check_examples, subject
from refute.instruments.objective import right
from refute.instruments.warping import warp
from refute.randomness import stream

SIDE = 28
"""Side of the images for which the moves of the specification hold, in pixels; others are scaled to theirs."""
FEW_NEIGHBOURS = 2
"""Anchors with fewer accepted neighbours are left out (specification)."""
FEW_ANCHORS = 100
"""With fewer anchors a 95 % interval of a share reaches about 10 points to either side."""
LEFT_OUT = 0.1
"""Share of anchors left out above which the rest may not stand for all."""


@dataclass(frozen=True)
class Trajectory:
    """Where each image is in each frame -reach..reach; frame 0 is the anchor, unmoved.

    Attributes:
        poses: degrees, pixels right, pixels down, (example, frame, 3).
        zoom: natural logarithm of the size, (example, frame).
        brightness: natural logarithm of the factor, (example, frame).
        velocity: pixels right and down per frame, (example, frame, 2).
        accepted: frames similar to the anchor by the rule of the specification, bool (example, frame).
        seed: of the sensor noise.
        sensor, blur: its standard deviation; that of the motion blur in units of the velocity.
    """

    poses: Tensor
    zoom: Tensor
    brightness: Tensor
    velocity: Tensor
    accepted: Tensor
    seed: int
    sensor: float
    blur: float

    @property
    def reach(self) -> int:
        return self.poses.shape[1] // 2

    def frozen(self) -> "Trajectory":
        """The control: nothing moves, only the same sensor noise is left."""
        still, nowhere = torch.zeros_like(self.zoom), torch.zeros_like(self.poses)
        everywhere = torch.ones_like(self.accepted)
        return replace(
            self, poses=nowhere, zoom=still, brightness=still, velocity=nowhere[..., 1:], accepted=everywhere
        )


def trajectory(
    examples: int,
    *,
    seed: int,
    side: int = SIDE,
    reach: int = 10,
    pixels: float = 0.25,
    degrees: float = 1.0,
    zoom: float = 0.01,
    brightness: float = 0.02,
    sensor: float = 0.02,
    blur: float = 0.1,
) -> Trajectory:
    """Two-sided Gaussian random walks from the anchor, p_0 = 0 (specification natural-perturbations-video).

    Args:
        examples: number of anchors.
        seed: the same for all networks that are compared.
        side: of the images; `pixels` and the limit of 2 pixels are for 28 and scaled by side / 28.
        reach: frames before and after (published: 10, about 0.3 s).
        pixels, degrees, zoom, brightness: standard deviation per frame; the last two of the logarithm.
        sensor: standard deviation of the noise of every frame but the anchor, in units of the inputs.
        blur: standard deviation of the motion blur per velocity.

    Frames are accepted within 2 pixels, 8 degrees, 0.08 in log zoom and 0.2 in log brightness.
    """
    deviations = (pixels, degrees, zoom, brightness, sensor, blur)
    if examples < 1 or reach < 0 or side < 1 or min(deviations) < 0:
        raise UsageError(
            f"examples and side must be at least 1, reach and deviations not negative; {examples}, {side}, {reach}, "
            f"{deviations} came"
        )
    scale = side / SIDE
    size = torch.tensor([degrees, pixels * scale, pixels * scale, zoom, brightness])
    steps = torch.randn((examples, 2, reach, 5), generator=stream(seed, "trajectory")) * size
    before, after = steps.cumsum(dim=2).unbind(1)
    walked = torch.cat([before.flip(1), torch.zeros(examples, 1, 5), after], dim=1)
    moved = torch.cat([-steps[:, 0, :, 1:3].flip(1), torch.zeros(examples, 1, 2), steps[:, 1, :, 1:3]], dim=1)
    limits = torch.tensor([8.0, 2.0 * scale, 2.0 * scale, 0.08, 0.2])
    accepted = (walked.abs() <= limits).all(dim=2)
    return Trajectory(walked[..., :3], walked[..., 3], walked[..., 4], moved, accepted, seed, sensor, blur)


def pseudo_video(images: Tensor, path: Trajectory, *, low: float = 0.0, high: float = 1.0) -> Iterator[Tensor]:
    """Frame after frame, each (example, channel, height, width), clipped to low..high; the anchor is the image itself.

    Motion blur is the mean of two images blur |v| ahead and behind, which has the variance of the Gaussian. Noise of
    frame t comes from (seed, t): the same whatever the path.

    Raises:
        ShapeError: images that are no images, or not as many as the path has.
    """
    if images.ndim != 4 or len(images) != len(path.poses):
        raise ShapeError(
            f"images must be ({len(path.poses)}, channel, height, width) like the path, {tuple(images.shape)} came"
        )
    for frame in range(2 * path.reach + 1):
        if frame == path.reach:
            yield images
            continue
        shift = torch.nn.functional.pad(path.blur * path.velocity[:, frame], (1, 0))
        zoom = path.zoom[:, frame].exp()
        blurred = bool(shift.any())
        places = [path.poses[:, frame] + shift, path.poses[:, frame] - shift] if blurred else [path.poses[:, frame]]
        still = not (path.poses[:, frame].any() or path.zoom[:, frame].any() or blurred)
        seen = [images] if still else [warp(images, place, zoom=zoom) for place in places]
        light = path.brightness[:, frame].exp().to(images).view(-1, 1, 1, 1)
        noise = torch.randn(images.shape, generator=stream(path.seed, f"sensor-{frame}")).to(images)
        yield (light * sum(seen) / len(seen) + path.sensor * noise).clamp(low, high)


@dataclass(frozen=True)
class FrameAccuracy:
    """Accuracy on anchors, and on all accepted frames about them.

    Attributes:
        original: acc_orig of the anchors kept, (replica,), in [0, 1].
        worst: acc_pmk, right on every accepted frame up to k away, k = 0..reach, (replica, reach + 1).
        delta: original - worst, Delta_k, (replica, reach + 1).
        instability: delta / original, I_k, (replica, reach + 1).
        average: mean over anchors of the share of accepted frames that are right, (replica,).
        shift: original - average, (replica,).
        worst_of: right on m accepted frames drawn without replacement, expected, m = 1..frames, (replica, m); anchors
            with fewer than m frames count with all of theirs.
        low, high: 95 % Clopper-Pearson interval of the worst at full reach, (replica,).
        kept: anchors with at least 2 accepted neighbours, bool (example,).
        right: bool (replica, example, frame), of all frames, for a bootstrap over anchors.
        accepted: bool (example, frame), the anchor included.
        flags: "few anchors" (below 100), "many anchors left out" (above 10 %).
    """

    original: Tensor
    worst: Tensor
    delta: Tensor
    instability: Tensor
    average: Tensor
    shift: Tensor
    worst_of: Tensor
    low: Tensor
    high: Tensor
    kept: Tensor
    right: Tensor
    accepted: Tensor
    flags: Flags


def frame_accuracy(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    frames: Iterable[Tensor],
    labels: Tensor,
    *,
    accepted: Tensor | None = None,
) -> FrameAccuracy:
    """acc_pmk = mean_i min over the accepted frames x of anchor i of 1[argmax f(x) = y_i].

    Source: Shankar et al. 2019, arXiv 1906.02168, section 3; specification natural-perturbations-video.

    Args:
        network, weights: a cohort, or a module alone. A network of flat inputs gets the frames flattened.
        frames: an odd number of them in order, the anchors in the middle, each (example, *input_shape); from
            `pseudo_video`, or of a real one. Taken one at a time.
        labels: of the anchors, (example,), classes.
        accepted: frames similar to the anchor, bool (example, frame); all by default. The anchor always counts.

    Raises:
        ShapeError, UsageError: frames or labels that do not fit, an even number of frames, no anchor left.

    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = net.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]])})
    >>> frames = [torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [1.0]]), torch.tensor([[2.0], [2.0]])]
    >>> found = frame_accuracy(net, None, frames, torch.ones(2).long())
    >>> found.worst.tolist(), [round(share, 3) for share in found.worst_of[0].tolist()]
    ([[1.0, 0.5]], [0.833, 0.667, 0.5])
    """
    if labels.ndim != 1 or labels.is_floating_point():
        raise UsageError(f"labels must be classes (example,), {tuple(labels.shape)} of {labels.dtype} came")
    rights: list[Tensor] = []
    for frame in frames:
        if isinstance(network, Network) and len(network.input_shape) == 1:
            frame = frame.flatten(1)
        if not rights:
            network, weights = subject(network, weights, frame)
        assert isinstance(network, Network)
        assert weights is not None
        check_examples(network, weights, frame, labels)
        rights.append(_right(network, weights, frame, labels))
    if len(rights) % 2 == 0:
        raise UsageError(f"frames must be an odd number with the anchors in the middle, {len(rights)} came")
    told = torch.stack(rights, dim=2)
    reach, examples = len(rights) // 2, len(labels)
    similar = torch.ones(examples, len(rights), dtype=torch.bool) if accepted is None else accepted.bool().clone()
    if similar.shape != (examples, len(rights)):
        raise ShapeError(f"accepted must be ({examples}, {len(rights)}), {tuple(similar.shape)} came")
    similar = similar.to(told.device)
    similar[:, reach] = True
    kept = similar.sum(dim=1) > FEW_NEIGHBOURS if reach else torch.ones_like(similar[:, 0])
    if not bool(kept.any()):
        raise UsageError("no anchor has 2 accepted neighbours: accept more frames, or give more of them")
    return _measured(told, similar, kept)


def _measured(told: Tensor, similar: Tensor, kept: Tensor) -> FrameAccuracy:
    right, mask = told[:, kept], similar[kept]
    reach, count = right.shape[2] // 2, int(kept.sum())
    fine = right | ~mask
    worst = torch.stack(
        [fine[..., reach - k : reach + k + 1].all(dim=2).double().mean(dim=1) for k in range(reach + 1)], dim=1
    )
    original = worst[:, 0]
    hits, frames = (right & mask).sum(dim=2).double(), mask.sum(dim=1).double()
    average = (hits / frames).mean(dim=1)
    delta = original.unsqueeze(1) - worst
    worst_of = torch.stack([_all_of(hits, frames, m).mean(dim=1) for m in range(1, right.shape[2] + 1)], dim=1)
    low, high = clopper_pearson((worst[:, -1] * count).round(), count)
    flags = {
        "few anchors": torch.full_like(original, count < FEW_ANCHORS, dtype=torch.bool),
        "many anchors left out": torch.full_like(original, float(1 - count / len(kept)) > LEFT_OUT, dtype=torch.bool),
    }
    return FrameAccuracy(
        original, worst, delta, delta / original.unsqueeze(1), average, original - average, worst_of, low, high, kept,
        told, similar, flags,
    )  # fmt: skip


def _all_of(hits: Tensor, frames: Tensor, drawn: int) -> Tensor:
    """Chance that `drawn` frames without replacement are all right: prod_j (hits - j) / (frames - j)."""
    chance = torch.ones_like(hits)
    for j in range(drawn):
        left = frames - j
        share = ((hits - j) / left.clamp(min=1)).clamp(min=0)
        chance = torch.where(left > 0, chance * share, chance)
    return chance


@torch.no_grad()
def _right(network: Network, weights: Weights, frame: Tensor, labels: Tensor) -> Tensor:
    return right(network.evaluate(weights, frame), examples_of(network, weights, frame, labels)[1])


def clopper_pearson(successes: Tensor, trials: int, *, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Exact interval of a share (Clopper & Pearson 1934), low and high like `successes`.

    >>> [round(bound.item(), 4) for bound in clopper_pearson(torch.tensor([0.0]), 10)]
    [0.0, 0.3085]
    """
    k, tail = successes.detach().cpu().double().numpy(), (1 - level) / 2
    low = np.where(k > 0, special.betaincinv(np.maximum(k, 1e-9), trials - k + 1, tail), 0.0)
    high = np.where(k < trials, special.betaincinv(k + 1, np.maximum(trials - k, 1e-9), 1 - tail), 1.0)
    return torch.from_numpy(low).to(successes.device), torch.from_numpy(high).to(successes.device)


class AccuracyLine(NamedTuple):
    """g(a) = logistic(slope logit(a) + intercept), and the share of the variance of logit(worst) it explains."""

    slope: float
    intercept: float
    r_squared: float

    def residual(self, original: Tensor, worst: Tensor, anchors: int) -> Tensor:
        """rho = worst - g(original), the effective robustness (Taori et al. 2020), like `original`."""
        return worst.double() - torch.sigmoid(self.slope * _logit(original, anchors) + self.intercept)


def accuracy_line(original: Sequence[float] | Tensor, worst: Sequence[float] | Tensor, anchors: int) -> AccuracyLine:
    """Least squares of logit(worst) on logit(original) over models, both clipped to [0.5 / n, 1 - 0.5 / n].

    Raises:
        ShapeError: fewer than 3 models, or not as many worst as original accuracies.
        UsageError: all models have the same accuracy.

    >>> line = accuracy_line([0.5, 0.8, 0.9], [0.2, 0.5, 0.6923076923], 1000)
    >>> round(line.slope, 6), round(line.r_squared, 6)
    (1.0, 1.0)
    """
    x, y = (torch.as_tensor(values, dtype=torch.float64) for values in (original, worst))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3:
        raise ShapeError(
            f"original and worst must be (model,) of the same 3 models or more; {tuple(x.shape)} and {tuple(y.shape)} "
            "came"
        )
    a, b = _logit(x, anchors), _logit(y, anchors)
    spread = a - a.mean()
    if not bool(spread.any()):
        raise UsageError("original must differ between models, else there is no line through them")
    slope = (spread * (b - b.mean())).sum() / spread.square().sum()
    intercept = b.mean() - slope * a.mean()
    left = (b - slope * a - intercept).square().sum()
    return AccuracyLine(slope.item(), intercept.item(), 1 - (left / (b - b.mean()).square().sum()).item())


def _logit(shares: Tensor, anchors: int) -> Tensor:
    return torch.logit(shares.double().clamp(0.5 / anchors, 1 - 0.5 / anchors))
