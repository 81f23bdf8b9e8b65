"""Procedural noise that needs no network: Gabor and Perlin noise as sign patterns, and their structureless controls.

A pattern is -1 or +1 everywhere, so that all of them have the same size in every norm. Source: Co et al. 2019, arXiv
1906.03455 and 1810.00470, with official code kenny-co/procedural-advml; specification gabor-noise-sensitivity.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.randomness import stream

KERNEL_REACH = 3.0
"""Half side of a Gabor kernel in standard deviations of its Gaussian; what lies beyond is below 1.2 %."""
MOST_SHIFT = 0.1
"""Draws whose |mean sign| is larger are rejected: they would measure a shift of brightness (specification)."""
DRAWS_PER_PATTERN = 1000


@dataclass(frozen=True)
class Gabor:
    """g(u, v) = exp(-(u'^2 + r^2 v'^2) / (2 deviation^2)) cos(2 pi u' / wavelength), (u', v') turned by `orientation`.

    `orientation` in radians, `wavelength` and `deviation` in pixels; `sides` kernels at orientation + pi i / sides are
    added up: 1 is anisotropic, 8 or more nearly isotropic. `aspect` is r.
    """

    orientation: float
    wavelength: float
    deviation: float
    sides: int = 1
    aspect: float = 1.0

    def __post_init__(self) -> None:
        if self.wavelength <= 0 or self.deviation <= 0 or self.sides < 1 or self.aspect <= 0:
            raise UsageError(f"wavelength, deviation and aspect must be above 0, sides at least 1: {self} came")

    def kernel(self) -> Tensor:
        """(2 reach + 1, 2 reach + 1), float64; rows are v (down), columns u (right).

        >>> Gabor(0.0, 4.0, 1.0).kernel()[3, 3:].round(decimals=2).abs().tolist()
        [1.0, 0.0, 0.14, 0.0]
        """
        reach = max(1, math.ceil(KERNEL_REACH * self.deviation))
        places = torch.arange(-reach, reach + 1, dtype=torch.float64)
        v, u = torch.meshgrid(places, places, indexing="ij")
        total = torch.zeros_like(u)
        for side in range(self.sides):
            angle = self.orientation + math.pi * side / self.sides
            along, across = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
            fading = torch.exp(-(along.square() + self.aspect**2 * across.square()) / (2 * self.deviation**2))
            total += fading * torch.cos(2 * math.pi * along / self.wavelength)
        return total


def gabor_noise(side: int, gabor: Gabor, generator: torch.Generator, *, density: float = 0.25) -> Tensor:
    """Sparse white noise convolved with the kernel: the centre of a canvas of 2 sides, (side, side), float64.

    Each pixel of the canvas holds an impulse with chance `density`, of a weight uniform in [-1, 1].
    """
    if side < 1 or not 0 < density <= 1:
        raise UsageError(f"side must be at least 1 and density in (0, 1], {side} and {density} came")
    where = torch.rand(2 * side, 2 * side, generator=generator, dtype=torch.float64) < density
    weight = 2 * torch.rand(2 * side, 2 * side, generator=generator, dtype=torch.float64) - 1
    kernel = gabor.kernel()
    padding = kernel.shape[0] // 2
    field = functional.conv2d((where * weight)[None, None], kernel.flip(0, 1)[None, None], padding=padding)[0, 0]
    first = side // 2
    return field[first : first + side, first : first + side]


def perlin_noise(
    side: int, wavelength: float, generator: torch.Generator, *, octaves: int = 1, sine: float | None = None
) -> Tensor:
    """Gradient noise on a grid of `wavelength` pixels, octaves of half the wavelength and half the size added up.

    Each corner of the grid has a random unit gradient; a pixel takes the products of these with its way from the four
    corners, blended by 6 t^5 - 15 t^4 + 10 t^3 (Perlin 2002). `sine`: sin(2 pi sine n) in place of n, as Co et al. 2019
    (1810.00470, section 3.2) do.

    Returns:
        (side, side), float64.
    """
    if side < 1 or wavelength <= 0 or octaves < 1:
        raise UsageError(f"side, octaves must be at least 1, wavelength above 0; {side}, {octaves}, {wavelength} came")
    total = torch.zeros(side, side, dtype=torch.float64)
    for octave in range(octaves):
        total += 0.5**octave * _gradient_noise(side, wavelength / 2**octave, generator)
    return total if sine is None else torch.sin(2 * math.pi * sine * total)


def _gradient_noise(side: int, cell: float, generator: torch.Generator) -> Tensor:
    corners = int((side - 1) / cell) + 2
    angles = 2 * math.pi * torch.rand(corners, corners, generator=generator, dtype=torch.float64)
    right, down = angles.cos(), angles.sin()
    places = torch.arange(side, dtype=torch.float64) / cell
    first, within = places.floor().long(), places - places.floor()
    fade = within**3 * (within * (6 * within - 15) + 10)

    def corner(y: int, x: int) -> Tensor:
        rows, columns = (first + y).unsqueeze(1), (first + x).unsqueeze(0)
        away_x, away_y = (within - x).unsqueeze(0), (within - y).unsqueeze(1)
        return right[rows, columns] * away_x + down[rows, columns] * away_y

    across, below = fade.unsqueeze(0), fade.unsqueeze(1)
    top = corner(0, 0) * (1 - across) + corner(0, 1) * across
    bottom = corner(1, 0) * (1 - across) + corner(1, 1) * across
    return top * (1 - below) + bottom * below


def signs(field: Tensor) -> Tensor:
    """-1 and +1 by the middle of the range of each field (..., side, side), like it (official code).

    >>> signs(torch.tensor([[0.0, 1.0], [2.0, 4.0]])).tolist()
    [[-1.0, -1.0], [-1.0, 1.0]]
    """
    middle = (field.amax(dim=(-2, -1), keepdim=True) + field.amin(dim=(-2, -1), keepdim=True)) / 2
    return torch.where(field > middle, 1.0, -1.0).to(field.dtype)


@dataclass(frozen=True)
class Patterns:
    """Gabor patterns and what they were made of; float32.

    `signs` (pattern, side, side); `wavelength`, `deviation` (pixels), `orientation` (radians), `sides`: (pattern,);
    `fields` (pattern, side, side) before the sign; `rejected`: draws thrown away for a shift of brightness.
    """

    signs: Tensor
    fields: Tensor
    wavelength: Tensor
    deviation: Tensor
    orientation: Tensor
    sides: Tensor
    rejected: int


def gabor_patterns(
    side: int,
    count: int,
    *,
    seed: int,
    wavelengths: tuple[float, float] | None = None,
    deviations: tuple[float, float] | None = None,
    sides: tuple[int, ...] = (1, 8),
) -> Patterns:
    """`count` patterns for images of `side` pixels, drawn as the specification gabor-noise-sensitivity says.

    orientation ~ U(0, pi), log wavelength ~ U(log 3, log side / 2), deviation ~ U(side / 14, side / 6), sides 1 or 8;
    draws with |mean sign| above 0.1 are rejected. Pattern k comes from (seed, k) alone.

    Args:
        side: of the images, in pixels.
        count: patterns.
        seed: one for all networks that are compared.
        wavelengths, deviations: other ranges, in pixels.
        sides: values, equally likely.
    """
    shortest, longest = wavelengths or (3.0, side / 2)
    narrow, wide = deviations or (side / 14, side / 6)
    if count < 1 or not 0 < shortest <= longest or not 0 < narrow <= wide:
        raise UsageError(
            f"count must be at least 1 and ranges ascend from above 0; {count}, {(shortest, longest)} and "
            f"{(narrow, wide)} came (by default wavelengths run from 3 pixels to half the side)"
        )
    fields, gabors, rejected = [], [], 0
    for number in range(count):
        generator = stream(seed, f"gabor-{number}")
        for _ in range(DRAWS_PER_PATTERN):
            theta, wave, width, kind = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
            wavelength = shortest * (longest / shortest) ** wave
            own = Gabor(math.pi * theta, wavelength, narrow + width * (wide - narrow), sides[int(kind * len(sides))])
            field = gabor_noise(side, own, generator)
            if abs(signs(field).mean().item()) <= MOST_SHIFT:
                break
            rejected += 1
        else:
            raise UsageError(
                f"no pattern of {side} pixels with |mean sign| up to {MOST_SHIFT} came in {DRAWS_PER_PATTERN} draws: "
                "give shorter wavelengths"
            )
        fields.append(field)
        gabors.append(own)
    table = torch.tensor([[g.wavelength, g.deviation, g.orientation, g.sides] for g in gabors])
    stacked = torch.stack(fields).float()
    return Patterns(signs(stacked), stacked, table[:, 0], table[:, 1], table[:, 2], table[:, 3].int(), rejected)


def white_patterns(side: int, count: int, *, seed: int) -> Tensor:
    """The control W: independent signs, (pattern, side, side)."""
    if side < 1 or count < 1:
        raise UsageError(f"side and count must be at least 1, {side} and {count} came")
    each = [torch.randint(0, 2, (side, side), generator=stream(seed, f"white-{k}")) for k in range(count)]
    return torch.stack(each).float() * 2 - 1


def permuted_patterns(patterns: Tensor, *, seed: int) -> Tensor:
    """The control P: each pattern (pattern, side, side) with its pixels in another order."""
    _check_fields(patterns)
    each = []
    for number, own in enumerate(patterns):
        order = torch.randperm(own.numel(), generator=stream(seed, f"permuted-{number}")).to(own.device)
        each.append(own.flatten()[order].view(own.shape))
    return torch.stack(each)


def phase_randomized(fields: Tensor, *, seed: int) -> Tensor:
    """The control F before its sign: Fourier magnitudes of the fields (pattern, side, side), phases of white noise.

    These phases are those of a real field, so the result is real with exactly these magnitudes (Theiler et al. 1992).
    """
    _check_fields(fields)
    each = []
    for number, own in enumerate(fields):
        noise = torch.randn(own.shape, generator=stream(seed, f"phases-{number}"), dtype=torch.float64)
        phases = torch.fft.fft2(noise)
        spectrum = torch.fft.fft2(own.cpu().double()).abs() * phases / phases.abs()
        each.append(torch.fft.ifft2(spectrum).real)
    return torch.stack(each).to(fields)


def _check_fields(fields: Tensor) -> None:
    if fields.ndim != 3 or fields.numel() == 0:
        raise ShapeError(f"patterns must be (pattern, height, width), {tuple(fields.shape)} came")
