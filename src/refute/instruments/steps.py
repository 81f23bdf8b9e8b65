"""How training moves: lengths, angles and distances of successive updates.

Source: Xing et al. 2018 (arXiv 1802.08770), section 3 (cosine of successive gradients, distance from the start).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags


@dataclass(frozen=True)
class Steps:
    """Of the updates between successive snapshots, float64.

    `lengths` (replica, step); `cosines` (replica, step - 1), of each update with the one before, in [-1, 1]: below 0 is
    a bounce; `angles`, the same in degrees, in [0, 180]; `distances` (replica, step): from the first snapshot;
    `directness` (replica,): last distance over the sum of the lengths, in [0, 1]. Flags: "no step" (an update of length
    0: its cosines are nan), "lost in rounding" (an update shorter than the rounding of the weights it is taken of).
    """

    lengths: Tensor
    cosines: Tensor
    angles: Tensor
    distances: Tensor
    directness: Tensor
    flags: Flags


def step_angles(snapshots: Sequence[Weights]) -> Steps:
    """Angles between successive updates u_t = theta_{t+1} - theta_t, over all trained tensors.

    Args:
        snapshots: weights of the cohort in the order of training, at least 3.

    Raises:
        UsageError: fewer than 3 snapshots.
        ShapeError: snapshots of different networks or cohorts.

    >>> from refute import architectures
    >>> start = architectures.build("mlp", (1,), 1, depth=0).initialize([0])
    >>> points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    >>> found = step_angles([Weights(start.slots, torch.tensor([point])) for point in points])
    >>> round(found.angles.item()), found.lengths.tolist()
    (90, [[1.0, 1.0]])
    """
    if len(snapshots) < 3:
        raise UsageError(f"snapshots must be at least 3 for an angle, {len(snapshots)} came")
    shapes = {tuple(snapshot.flat.shape) for snapshot in snapshots}
    if len(shapes) != 1:
        raise ShapeError(f"snapshots must all be of one network and cohort, shapes {sorted(shapes)} came")
    start, before = snapshots[0].flat.double(), None
    lengths, cosines, distances, lost = [], [], [], []
    for first, second in itertools.pairwise(snapshots):
        update = second.flat.double() - first.flat.double()
        length = update.norm(dim=1)
        lengths.append(length)
        distances.append((second.flat.double() - start).norm(dim=1))
        lost.append(length <= torch.finfo(first.flat.dtype).eps * first.flat.double().norm(dim=1))
        if before is not None:
            cosines.append(_cosine(before, update))
        before = update
    length, cosine, distance = (torch.stack(part, dim=1) for part in (lengths, cosines, distances))
    return Steps(
        length,
        cosine,
        torch.rad2deg(torch.arccos(cosine)),
        distance,
        distance[:, -1] / length.sum(dim=1),
        {
            "no step": (length == 0).any(dim=1),
            "lost in rounding": torch.stack(lost, dim=1).any(dim=1) & (length > 0).all(dim=1),
        },
    )


def successive_cosines(vectors: Tensor) -> Tensor:
    """Cosine of each vector with the one before, in [-1, 1], (replica, step - 1); nan where one is 0.

    Args:
        vectors: (replica, step, parameter), such as successive mini-batch gradients.

    Raises:
        ShapeError: not three axes, or fewer than 2 steps.

    >>> successive_cosines(torch.tensor([[[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]]])).tolist()
    [[-1.0, 0.0]]
    """
    if vectors.ndim != 3 or vectors.shape[1] < 2:
        raise ShapeError(
            f"vectors must be (replica, step, parameter) with 2 steps or more, {tuple(vectors.shape)} came"
        )
    wide = vectors.double()
    return torch.stack([_cosine(a, b) for a, b in itertools.pairwise(wide.unbind(dim=1))], dim=1)


def relative_distance(parent: Weights, first: Weights, second: Weights) -> Tensor:
    """|w1 - w2| / mean(|w1 - w_k|, |w2 - w_k|) of two children of one parent, float64 (replica,); 0 to 2.

    Source: Frankle et al. 2020, section 3 (the children stay a share of the distance travelled apart).

    Args:
        parent, first, second: weights of as many replicas.
    """
    one, two = first.flat.double(), second.flat.double()
    travelled = ((one - parent.flat).norm(dim=1) + (two - parent.flat).norm(dim=1)) / 2
    ratio: Tensor = (one - two).norm(dim=1) / travelled
    return ratio


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    cosine: Tensor = (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))
    return cosine.clamp(-1, 1)
