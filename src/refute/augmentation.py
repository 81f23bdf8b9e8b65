"""Augmentation: random changes of training images that leave their class alone.

Images are (replica, batch, channel, height, width). Each replica draws from its own generator, and each image has its
own draw; so which replicas are augmented together changes nothing. Type and memory layout of the images are kept, and
the images that came are not written to. Zeros beyond an edge are zeros of the data as they come: black as loaded, the
mean colour once standardized.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.errors import ShapeError, UsageError

Generators = Sequence[torch.Generator]
Pad = Callable[[Tensor, int], Tensor]


class Augmentation(Protocol):
    """A random change of images."""

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        """Changed images of the same shape; `generators`: one per replica, on the CPU."""
        ...


def augment(images: Tensor, augmentations: Sequence[Augmentation], generators: Generators) -> Tensor:
    """`images` after all `augmentations`, in this order.

    Raises `ShapeError` if the images are not (replica, batch, channel, height, width) with a generator per replica.

    >>> images = torch.arange(4.0).view(1, 1, 1, 2, 2)
    >>> augment(images, [RandomFlip(1.0)], [torch.Generator()]).flatten().tolist()
    [1.0, 0.0, 3.0, 2.0]
    """
    if images.ndim != 5 or len(images) != len(generators):
        raise ShapeError(
            f"augmentation needs images (replica, batch, channel, height, width) and a generator per replica, but "
            f"{tuple(images.shape)} and {len(generators)} generators came: do not flatten the data"
        )
    for each in augmentations:
        images = each(images, generators)
    return images


@dataclass(frozen=True)
class RandomCrop:
    """A window of the image's size, anywhere in the image with `padding` zeros on each side (He et al. 2016, 4.2)."""

    padding: int = 4

    def __post_init__(self) -> None:
        _require(self.padding >= 0, "the padding of a random crop", "at least 0 pixels", self.padding)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        return _moved(images, generators, self.padding, _zeros_around)


@dataclass(frozen=True)
class RandomShift:
    """Moved by up to `pixels` along each axis, all moves equally likely; the pixels of the edge are repeated."""

    pixels: int = 2

    def __post_init__(self) -> None:
        _require(self.pixels >= 0, "a random shift", "at least 0 pixels", self.pixels)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        return _moved(images, generators, self.pixels, _edges_around)


@dataclass(frozen=True)
class RandomFlip:
    """Left and right exchanged, with `probability`."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        _require(0 <= self.probability <= 1, "the probability of a flip", "in 0..1", self.probability)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        if self.probability == 0:
            return images
        drawn = torch.stack([torch.rand(images.shape[1], generator=generator) for generator in generators])
        flipped = (drawn < self.probability).flatten().nonzero().squeeze(1).to(images.device)
        rows, together = _rows(images)
        return _images(rows.index_copy(0, flipped, rows.index_select(0, flipped).flip(3)), images, together)


@dataclass(frozen=True)
class RandomRotation:
    """Turned about the centre by an angle that is uniform in -degrees..degrees; bilinear, zeros beyond the edge."""

    degrees: float = 15.0

    def __post_init__(self) -> None:
        _require(0 <= self.degrees <= 180, "a random rotation", "in 0..180 degrees", self.degrees)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        if self.degrees == 0:
            return images
        drawn = torch.cat([torch.rand(images.shape[1], generator=generator) for generator in generators])
        return rotate(images, (2 * drawn - 1) * self.degrees)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """`images` (replica, batch, channel, height, width), each turned counter-clockwise by `degrees` (image,)."""
    height, width = images.shape[-2:]
    angles = torch.deg2rad(degrees).to(images)
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # coordinates run from -1 to 1 along each axis, whatever its length
    turned = torch.stack([cosine, -sine * (height / width), zero, sine * (width / height), cosine, zero], dim=-1).view(
        -1, 2, 3
    )
    flat = images.flatten(0, 1)
    grid = functional.affine_grid(turned, list(flat.shape), align_corners=False)
    sampled = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _like(sampled if sampled.stride() == flat.stride() else torch.empty_like(flat).copy_(sampled), images)


# Moving by whole pixels ----------------------------------------------------------------------------------------------


def _moved(images: Tensor, generators: Generators, amount: int, pad: Pad) -> Tensor:
    """Windows of the images padded by `amount`. A window's row lies in one piece in memory: rows are what is copied."""
    if amount == 0:
        return images
    places = 2 * amount + 1
    batch = images.shape[1]
    drawn = torch.stack([torch.randint(places, (2, batch), generator=generator) for generator in generators], dim=1)
    top, left = drawn.flatten(1)
    rows, together = _rows(images)
    padded = pad(rows, amount).contiguous()
    planes, height, width, unit = rows.shape[1:]
    lines = (torch.arange(len(rows))[:, None] * planes + torch.arange(planes)) * padded.shape[2] + top[:, None]
    starts = (lines[..., None] + torch.arange(height)) * padded.shape[3] + left[:, None, None]
    length = width * unit
    everywhere = padded.as_strided((padded.numel() - length + 1, length), (1, 1))
    chosen = everywhere.index_select(0, (starts * unit).flatten().to(images.device))
    return _images(chosen.view(rows.shape), images, together)


def _zeros_around(rows: Tensor, amount: int) -> Tensor:
    return functional.pad(rows, (0, 0, amount, amount, amount, amount))


def _edges_around(rows: Tensor, amount: int) -> Tensor:
    # what functional.pad(mode="replicate") does, in a fraction of the time
    for axis in (2, 3):
        first, last = rows.narrow(axis, 0, 1), rows.narrow(axis, rows.shape[axis] - 1, 1)
        sizes = [-1] * rows.ndim
        sizes[axis] = amount
        rows = torch.cat([first.expand(sizes), rows, last.expand(sizes)], dim=axis)
    return rows


class _Rows(NamedTuple):
    """Contiguous `pixels` (image, plane, height, width, unit): planes are channels, or units if those lie together."""

    pixels: Tensor
    together: bool


def _rows(images: Tensor) -> _Rows:
    flat = images.flatten(0, 1)
    if flat.is_contiguous(memory_format=torch.channels_last) and not flat.is_contiguous():
        return _Rows(flat.permute(0, 2, 3, 1).unsqueeze(1), True)
    return _Rows(flat.contiguous().unsqueeze(-1), False)


def _images(rows: Tensor, like: Tensor, together: bool) -> Tensor:
    """From what `_rows` gives back to the shape and layout of `like`."""
    return _like(rows.squeeze(1).permute(0, 3, 1, 2) if together else rows.squeeze(-1), like)


def _like(flat: Tensor, like: Tensor) -> Tensor:
    """(image, channel, height, width) in the shape of `like`."""
    images = flat.view(like.shape)
    if images.shape[2] > 1:
        return images
    # with one channel nothing lies elsewhere, but its stride tells a convolution which layout is meant
    strides = list(images.stride())
    strides[2] = like.stride(2)
    return images.as_strided(images.shape, strides)


def _require(right: bool, what: str, expected: str, came: float) -> None:
    if not right:
        raise UsageError(f"{what} should be {expected}, but is {came}")
