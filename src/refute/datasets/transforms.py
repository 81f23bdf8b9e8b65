"""Plain functions on images and labels. Every random one takes seeds, one per replica, and uses each seed's own stream.

So a replica's draw depends on its seed and the stated purpose only: which replicas are drawn together changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from refute.errors import UsageError
from refute.randomness import stream

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, weights of red, green and blue in grey
PART = 1024  # images


class Moments(NamedTuple):
    """Mean and standard deviation of each colour channel, shape (channel,), in the unit of the images."""

    mean: Tensor
    deviation: Tensor


class Subsample(NamedTuple):
    """Positions in the pool: `train` (replica, train) and, disjoint from it in each row, `validation`."""

    train: Tensor
    validation: Tensor


# Images --------------------------------------------------------------------------------------------------------------


def average_pool(images: Tensor, size: int) -> Tensor:
    """`images` (image, channel, height, width) brought to (image, channel, size, size) by averaging.

    Where `size` divides height and width, each new pixel is the mean of one block (28 to 14: 2x2); elsewhere blocks
    overlap as in `torch.nn.functional.adaptive_avg_pool2d`. Raises `UsageError` if `size` is not in 1..height.

    >>> average_pool(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]), 1).item()
    0.5
    """
    if not 1 <= size <= min(images.shape[-2:]):
        raise UsageError(f"size should lie in 1..{min(images.shape[-2:])}, the size of the images, but is {size}")
    return functional.adaptive_avg_pool2d(images, size)


def grayscale(images: Tensor) -> Tensor:
    """`images` (image, channel, height, width) with one channel: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601).

    Images of one channel are returned as they are.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def moments(images: Tensor) -> Moments:
    """Mean and (population) standard deviation over images and pixels of `images` (image, channel, height, width)."""
    # numpy sums in one order whatever the number of threads; torch does not, and two workers must agree bit for bit
    pixels, axes = images.numpy(), (0, 2, 3)
    mean = pixels.mean(axis=axes, dtype=np.float64)
    # in parts, because float64 doubles the memory; around the mean, because a sum of squares loses digits
    parts = (pixels[start : start + PART] for start in range(0, len(pixels), PART))
    squares = sum(np.square(part - mean[:, None, None]).sum(axis=axes) for part in parts)
    count = pixels.size / pixels.shape[1]
    return Moments(torch.from_numpy(mean), torch.from_numpy(np.sqrt(squares / count)))


def standardize(images: Tensor, statistics: Moments) -> Tensor:
    """(image - mean) / deviation, per colour channel; shapes as in `moments`. A constant channel becomes 0."""
    mean = statistics.mean.to(images.dtype).view(-1, 1, 1)
    deviation = statistics.deviation.to(images.dtype).view(-1, 1, 1)
    return images.sub(mean).div_(torch.where(deviation > 0, deviation, 1))


# Labels and subsets --------------------------------------------------------------------------------------------------


def label_noise(labels: Tensor, shares: Sequence[float], classes: int, seeds: Sequence[int], purpose: str) -> Tensor:
    """`labels` (replica, image) with a share of each row replaced by another class.

    Exactly round(share * images) labels of a replica, at random places, become one of the *other* classes, each
    equally likely: the share is that of wrong labels. With one seed, a larger share changes the same places and more.
    `shares`: one per replica, each in 0..1. Raises `UsageError` on other shares, or if there is no other class.
    """
    if len(shares) != len(seeds) or not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"label noise should be {len(seeds)} shares in 0..1, one per replica, but is {list(shares)}")
    if any(shares) and classes < 2:
        raise UsageError("label noise needs at least 2 classes")
    noisy = labels.clone()
    for replica, (share, seed) in enumerate(zip(shares, seeds, strict=True)):
        if share > 0:
            generator = stream(seed, purpose)
            images = labels.shape[1]
            places = torch.randperm(images, generator=generator)[: round(share * images)]
            steps = torch.randint(1, classes, (images,), generator=generator)
            noisy[replica, places] = (labels[replica, places] + steps[places]) % classes
    return noisy


def subsample(
    labels: Tensor, train: int, validation: int, seeds: Sequence[int], purpose: str, *, stratified: bool = False
) -> Subsample:
    """A training and a disjoint validation subset of the pool for each seed.

    Each seed shuffles the pool; the training subset is its head and the validation subset what follows. So with one
    seed a smaller training subset is part of a larger one, and does not depend on `validation`.
    `stratified`: the training subset has each class's share of the pool (to within one image); images are still taken
    in shuffled order. `labels`: of the pool, (image,). Raises `UsageError` if the pool is too small.
    """
    if train < 1 or validation < 0 or train + validation > len(labels):
        raise UsageError(
            f"train should be at least 1 and train + validation at most {len(labels)}, the number of training images, "
            f"but they are {train} and {validation}"
        )
    quotas = _quotas(labels, train) if stratified else None
    orders = []
    for seed in seeds:
        order = torch.randperm(len(labels), generator=stream(seed, purpose))
        orders.append(order if quotas is None else _quota_first(order, labels, quotas))
    order = torch.stack(orders) if orders else torch.empty(0, len(labels), dtype=torch.long)
    return Subsample(order[:, :train].contiguous(), order[:, train : train + validation].contiguous())


def _quotas(labels: Tensor, train: int) -> Tensor:
    """Images to take of each class, (class,): proportional, rounded by largest remainder."""
    exact = torch.bincount(labels).double() * train / len(labels)
    quotas = exact.floor().long()
    extra = torch.argsort(exact - quotas, descending=True, stable=True)[: train - int(quotas.sum())]
    quotas[extra] += 1
    return quotas


def _quota_first(order: Tensor, labels: Tensor, quotas: Tensor) -> Tensor:
    """`order` (image,), rearranged stably so that the first images of each class, up to its quota, come first."""
    rank = torch.empty_like(order)  # of each image of `order` among those of its class
    for label in range(len(quotas)):
        members = labels[order] == label
        rank[members] = torch.arange(int(members.sum()))
    chosen = rank < quotas[labels[order]]
    return torch.cat([order[chosen], order[~chosen]])
