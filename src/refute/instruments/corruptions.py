"""Accuracy on corrupted inputs, over kinds and levels of corruption; the same draws for every level and arm.

Level 0 leaves every input as it is. Levels are in units of the inputs, of pixels (blur), or shares (salt-and-pepper,
contrast).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError, did_you_mean
from refute.instruments.hessian import examples_of
from refute.instruments.interface import Flags, check_examples, subject
from refute.instruments.objective import right
from refute.instruments.probes import check_seeds
from refute.randomness import stream

Kind = Literal["gaussian", "uniform", "salt-and-pepper", "blur", "contrast", "brightness"]

RANDOM = ("gaussian", "uniform", "salt-and-pepper")
SHARES = ("salt-and-pepper", "contrast")
"""Kinds whose level is at most 1."""
BLUR_REACH = 4.0
"""Radius of the blur's kernel in standard deviations, that of scipy.ndimage.gaussian_filter."""
BATCH = 256


@dataclass(frozen=True)
class CorruptionAccuracy:
    """Accuracy at each level.

    `levels` (level,); `accuracy` (replica, level), mean over draws, in [0, 1]; `standard_error` (replica, level), from
    the finite test set and the draws (each example's share right is one observation); `draws` (replica, level, draw):
    accuracy of each draw; `effective_l2` (replica, level): root mean square over examples of |x' - x|_2 after clipping.

    Flags: "rises with the level" (by more than two standard errors).
    """

    levels: Tensor
    accuracy: Tensor
    standard_error: Tensor
    draws: Tensor
    effective_l2: Tensor
    flags: Flags


@dataclass(frozen=True)
class CorruptedTarget:
    """Networks and examples to corrupt; inputs (replica, example, *input_shape)."""

    network: Network
    weights: Weights
    inputs: Tensor
    labels: Tensor
    seeds: tuple[int, ...]
    kind: Kind
    low: float | None
    high: float | None

    def corrupted(self, level: Tensor, draw: int) -> Tensor:
        """All inputs at a level (replica,) each."""
        same = len(set(self.seeds)) == 1 and self.inputs.stride(0) == 0 and bool((level == level[0]).all())
        rows = 1 if same else len(self.seeds)
        each = [
            corrupt(
                self.inputs[replica], self.kind, float(level[replica]), generator=stream(seed, f"{self.kind}-{draw}"),
                low=self.low, high=self.high,
            )
            for replica, seed in enumerate(self.seeds[:rows])
        ]  # fmt: skip
        return each[0].expand(self.inputs.shape) if same else torch.stack(each)

    @torch.no_grad()
    def right_at(self, level: Tensor, *, draws: int) -> Tensor:
        """Share of draws in which each example is right, (replica, example), float64."""
        counts = 1 if self.kind not in RANDOM else draws
        return torch.stack([self._right(self.corrupted(level, draw)) for draw in range(counts)]).mean(dim=0)

    def _right(self, inputs: Tensor) -> Tensor:
        if inputs.stride(0) == 0:
            inputs = inputs[0]
        return right(self.network.evaluate(self.weights, inputs), self.labels).double()


def corrupt(
    images: Tensor,
    kind: Kind,
    level: float,
    *,
    generator: torch.Generator | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Tensor:
    """Images (example, ...) after one corruption, clipped to low..high; level 0 changes nothing.

    "gaussian": x + level z, z ~ N(0, I). "uniform": x + level u, u ~ U[-1, 1]. "salt-and-pepper": with chance `level` a
    number becomes low or high (both are needed). "blur": Gaussian of standard deviation `level` pixels, over the last
    two axes, edges repeated. "contrast": x + level (m - x), m the mean of the image. "brightness": x + level.

    Args:
        images: (example, ...), for blur (example, channel, height, width).
        kind, level: see above; not negative but for brightness.
        generator: on the CPU, for the random kinds; what it draws does not depend on the level.
        low, high: range, None for no bound.

    Raises:
        UsageError: unknown kind, level out of range, no generator, or no range for salt-and-pepper.
        ShapeError: blur of what is no image.

    >>> corrupt(torch.tensor([[0.0, 1.0]]), "contrast", 0.5).tolist()
    [[0.25, 0.75]]
    """
    if kind not in get_args(Kind):
        raise UsageError(f"there is no corruption {kind!r}: {did_you_mean(kind, get_args(Kind))}")
    if kind != "brightness" and not 0 <= level <= (1 if kind in SHARES else float("inf")):
        raise UsageError(f"level of {kind} is out of range: {level}")
    if kind in RANDOM and generator is None:
        raise UsageError(f"{kind} needs a generator, see refute.randomness.stream")
    if kind == "gaussian":
        moved = images + level * torch.randn(images.shape, generator=generator).to(images)
    elif kind == "uniform":
        moved = images + level * (2 * torch.rand(images.shape, generator=generator) - 1).to(images)
    elif kind == "salt-and-pepper":
        if low is None or high is None:
            raise UsageError("salt-and-pepper needs low and high: they are the salt and the pepper")
        chances = torch.rand(images.shape, generator=generator).to(images)
        ends = torch.where(torch.rand(images.shape, generator=generator).to(images) < 0.5, low, high).to(images)
        moved = torch.where(chances < level, ends, images)
    elif kind == "blur":
        moved = _blurred(images, level)
    elif kind == "contrast":
        mean = images.flatten(1).mean(dim=1).view(-1, *[1] * (images.ndim - 1))
        moved = images + level * (mean - images)
    else:
        moved = images + level
    return moved if low is None and high is None else moved.clamp(low, high)


def corruption_accuracy(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    kind: Kind,
    levels: Sequence[float],
    seeds: Sequence[int],
    draws: int = 3,
    low: float | None = None,
    high: float | None = None,
) -> CorruptionAccuracy:
    """A_noise(level) = mean over examples and draws of 1[argmax f(x') = y], x' the corrupted input.

    Source: specification batch-norm-adversarial-vulnerability (gaussian, mean of 3 draws, low 0, high 1, the same seed
    for all replicas: one fixed z for all arms); kinds after Hendrycks & Dietterich 2019, arXiv 1903.12261, section 3.

    Args:
        network, weights: a cohort, or a module alone.
        inputs: (example, *input_shape) or (replica, example, *input_shape), within low..high.
        labels: (example,) or (replica, example), classes.
        kind: see `corrupt`.
        levels: (level,).
        seeds: one per replica, of which its noise comes; the same seed gives the same noise at every level.
        draws: of the random kinds.
        low, high: range of the inputs.

    Raises:
        ShapeError, UsageError: what does not fit, see `corrupt`.

    >>> net = torch.nn.Linear(1, 2)
    >>> _ = net.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.zeros(2)})
    >>> inputs, labels = torch.tensor([[0.1], [0.6]]), torch.ones(2).long()
    >>> found = corruption_accuracy(net, None, inputs, labels, kind="brightness", levels=[0, -0.5], seeds=[0])
    >>> found.accuracy.tolist()
    [[1.0, 0.5]]
    """
    goal = corrupted_target(network, weights, inputs, labels, seeds=seeds, kind=kind, draws=draws, low=low, high=high)
    wanted = torch.tensor(list(levels), dtype=torch.float64)
    if not len(wanted):
        raise UsageError("levels must hold at least one level")
    counts = draws if kind in RANDOM else 1
    rights, moves = [], []
    for level in wanted:
        each = level.expand(goal.weights.replicas)
        found, moved = [], torch.zeros(goal.weights.replicas, dtype=torch.float64, device=goal.inputs.device)
        for draw in range(counts):
            corrupted = goal.corrupted(each, draw)
            found.append(goal._right(corrupted))
            moved += (corrupted - goal.inputs).flatten(2).double().square().sum(dim=2).mean(dim=1) / counts
        rights.append(torch.stack(found, dim=1))
        moves.append(moved.sqrt())
    all_right = torch.stack(rights, dim=1)  # (replica, level, draw, example)
    shares = all_right.mean(dim=2)
    accuracy = shares.mean(dim=2)
    error = shares.std(dim=2) / shares.shape[2] ** 0.5
    falls = accuracy.gather(1, wanted.abs().argsort().expand_as(accuracy).to(accuracy.device))
    ordered = error.gather(1, wanted.abs().argsort().expand_as(error).to(error.device))
    flags = {"rises with the level": (falls > falls.cummin(dim=1).values + 2 * ordered + 1e-9).any(dim=1)}
    return CorruptionAccuracy(
        wanted.to(accuracy.device), accuracy, error, all_right.mean(dim=3), torch.stack(moves, dim=1), flags
    )


def corrupted_target(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    kind: Kind,
    draws: int,
    low: float | None,
    high: float | None,
) -> CorruptedTarget:
    """What is corrupted; the arguments are those of `corruption_accuracy`."""
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    check_seeds(seeds, weights.replicas)
    if draws < 1:
        raise UsageError(f"draws must be at least 1, {draws} came")
    if not inputs.is_floating_point() or labels.is_floating_point():
        raise UsageError("inputs must be real numbers and labels classes")
    x, y = examples_of(network, weights, inputs, labels)
    return CorruptedTarget(network, weights, x, y, tuple(seeds), kind, low, high)


def _blurred(images: Tensor, deviation: float) -> Tensor:
    if images.ndim != 4:
        raise ShapeError(f"blur is for images (example, channel, height, width), {tuple(images.shape)} came")
    reach = int(BLUR_REACH * deviation + 0.5)
    if reach == 0:
        return images
    places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-places.square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    flat = images.flatten(0, 1).unsqueeze(1)
    for axis in (2, 3):
        margin = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(flat, margin, mode="replicate")
        flat = functional.conv2d(padded, kernel.view(1, 1, -1, 1) if axis == 2 else kernel.view(1, 1, 1, -1))
    return flat.view(images.shape)
