"""Accuracy under the worst of many small rotations and translations, for a whole cohort at once."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import examples_of
from refute.instruments.interface import Flags, check_examples, subject
from refute.instruments.objective import right
from refute.instruments.robustness import WEAKER
from refute.instruments.warping import Padding, warp
from refute.randomness import stream


@dataclass(frozen=True)
class SpatialAccuracy:
    """Accuracy over poses.

    Attributes:
        poses: (pose, 3) degrees, pixels to the right, pixels down; of poses for each example (pose, example, 3).
        clean: without a warp, (replica,), in [0, 1].
        worst: share of examples right in every pose and without a warp (Acc_grid, Acc_wo10), (replica,).
        standard_error: of `worst` as an estimate for new examples, (replica,).
        average: mean accuracy over the poses (Acc_avg), (replica,); nan with `average=False`.
        each: accuracy in each pose, (replica, pose); nan with `average=False`.
        correct: right in every pose, bool (replica, example).
        flags: "weaker than random poses": poses drawn between those of the grid break more than these do.
    """

    poses: Tensor
    clean: Tensor
    worst: Tensor
    standard_error: Tensor
    average: Tensor
    each: Tensor
    correct: Tensor
    flags: Flags


def pose_grid(*, degrees: float = 30.0, pixels: float = 3.0, angles: int = 31, shifts: int = 5) -> Tensor:
    """All combinations of `shifts` x `shifts` translations and `angles` rotations, equally spaced, (pose, 3).

    The default is the 5 x 5 x 31 = 775 of Engstrom et al. 2019, section 4 (specification
    invariance-regularization-spatial-robustness; 5 x 5 x 13 on 28 x 28 at its small scale).

    >>> pose_grid(degrees=30, pixels=1, angles=3, shifts=1).tolist()
    [[-30.0, 0.0, 0.0], [0.0, 0.0, 0.0], [30.0, 0.0, 0.0]]
    """
    if angles < 1 or shifts < 1 or degrees < 0 or pixels < 0:
        raise UsageError(
            f"angles and shifts must be at least 1, degrees and pixels not negative; {angles}, {shifts}, {degrees}, "
            f"{pixels} came"
        )
    turns = torch.linspace(-degrees, degrees, angles) if angles > 1 else torch.zeros(1)
    moves = torch.linspace(-pixels, pixels, shifts) if shifts > 1 else torch.zeros(1)
    return torch.cartesian_prod(turns, moves, moves)


def drawn_poses(seed: int, *, draws: int, examples: int, degrees: float = 30.0, pixels: float = 3.0) -> Tensor:
    """Uniform poses of each example's own, (draw, example, 3): with 10 draws the Wo-10 of the specification."""
    if draws < 1 or examples < 1 or degrees < 0 or pixels < 0:
        raise UsageError(
            f"draws and examples must be at least 1, degrees and pixels not negative; {draws}, {examples}, {degrees}, "
            f"{pixels} came"
        )
    unit = 2 * torch.rand((draws, examples, 3), generator=stream(seed, "poses")) - 1
    return unit * torch.tensor([degrees, pixels, pixels])


def spatial_accuracy(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    images: Tensor,
    labels: Tensor,
    *,
    poses: Tensor,
    padding: Padding = "zeros",
    average: bool = True,
    check_draws: int = 0,
    seed: int = 0,
) -> SpatialAccuracy:
    """Acc_grid = mean_i min over poses t of 1[argmax f(t(x_i)) = y_i]; the image as it is counts as a pose.

    Source: specification invariance-regularization-spatial-robustness, after Engstrom et al. 2019, arXiv 1712.02779.

    Args:
        network, weights: a cohort, or a module alone. A network of flat inputs gets the warped images flattened.
        images: (example, channel, height, width) or (replica, example, channel, height, width), not flattened.
        labels: (example,) or (replica, example), classes.
        poses: (pose, 3) for all examples, see `pose_grid`, or (pose, example, 3), see `drawn_poses`.
        padding: beyond the edge, see `warping.warp`; zeros let a net read the angle off the corners.
        average: False leaves out examples that have fallen in every replica: faster, and no averages.
        check_draws: also try so many random poses of each example in the range of `poses`, for the flag.
        seed: of these.

    Raises:
        ShapeError, UsageError: images, labels or poses that do not fit.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = net[1].load_state_dict({"weight": torch.eye(2)})
    >>> images, labels = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.9]]]]), torch.tensor([1, 0])
    >>> poses = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # one pixel to the right
    >>> found = spatial_accuracy(net, None, images, labels, poses=poses)
    >>> found.clean.item(), found.worst.item(), found.each.tolist()
    (1.0, 0.0, [[1.0, 0.0]])
    """
    if images.ndim not in (4, 5):
        raise ShapeError(
            f"images must be (example, channel, height, width), with a replica axis before if they differ; "
            f"{tuple(images.shape)} came: do not flatten"
        )
    flat = isinstance(network, Network) and len(network.input_shape) == 1
    seen = images.flatten(-3) if flat else images
    network, weights = subject(network, weights, seen)
    check_examples(network, weights, seen, labels)
    if labels.is_floating_point():
        raise UsageError("labels must be classes, values came: an accuracy needs classes")
    examples = images.shape[-4]
    if poses.ndim not in (2, 3) or poses.shape[-1] != 3 or (poses.ndim == 3 and poses.shape[1] != examples):
        raise ShapeError(f"poses must be (pose, 3) or (pose, {examples} examples, 3), {tuple(poses.shape)} came")
    if len(poses) == 0:
        raise UsageError("poses must hold at least one pose")
    search = _Search(network, weights, images, examples_of(network, weights, seen, labels)[1], padding, flat)
    clean = search.right(images)
    correct, each = search.worst(poses, clean, average=average)
    worst = correct.double().mean(dim=1)
    flags = {"weaker than random poses": torch.zeros_like(worst, dtype=torch.bool)}
    if check_draws:
        reach = poses.reshape(-1, 3).abs().amax(dim=0)
        tried = drawn_poses(seed, draws=check_draws, examples=examples, degrees=1.0, pixels=1.0) * reach.cpu()
        other = search.worst(tried.to(images), clean, average=False)[0].double().mean(dim=1)
        flags["weaker than random poses"] = worst > other + WEAKER
    error = (worst * (1 - worst) / examples).sqrt()
    return SpatialAccuracy(
        poses, clean.double().mean(dim=1), worst, error, each.mean(dim=1), each, correct, flags
    )  # fmt: skip


@dataclass(frozen=True)
class _Search:
    network: Network
    weights: Weights
    images: Tensor
    labels: Tensor
    padding: Padding
    flat: bool

    @torch.no_grad()
    def right(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Whether each image is told right, bool (replica, example); `index`: which examples these are."""
        labels = self.labels if index is None else self.labels[:, index]
        outputs = self.network.evaluate(self.weights, images.flatten(-3) if self.flat else images)
        return right(outputs, labels)

    def worst(self, poses: Tensor, clean: Tensor, *, average: bool) -> tuple[Tensor, Tensor]:
        """Who stays right everywhere, bool (replica, example), and the accuracy in each pose (replica, pose)."""
        standing = clean.clone()
        each = torch.full((len(clean), len(poses)), math.nan, dtype=torch.float64, device=clean.device)
        for number, pose in enumerate(poses):
            index = None if average else standing.any(dim=0).nonzero().squeeze(1)
            if index is not None and len(index) == 0:
                break
            found = self.right(self._warped(pose, index), index)
            if index is None:
                standing &= found
                each[:, number] = found.double().mean(dim=1)
            else:
                standing[:, index] &= found
        return standing, each

    def _warped(self, pose: Tensor, index: Tensor | None) -> Tensor:
        images, own = self.images, pose
        if index is not None:
            images = images[..., index, :, :, :]
            own = pose if pose.ndim == 1 else pose[index]
        if images.ndim == 4:
            return warp(images, own, padding=self.padding)
        repeated = own if own.ndim == 1 else own.repeat(len(images), 1)
        return warp(images.flatten(0, 1), repeated, padding=self.padding).view(images.shape)
