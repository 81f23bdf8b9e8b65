"""Initialization laws under the names of the literature.

Each law draws one tensor without the replica axis, from its own generator, so packing replicas changes nothing.
He: He et al. 2015, section 2.2; Glorot: Glorot & Bengio 2010, eq. 12 and 16; LeCun: LeCun et al. 1998, section 4.6;
orthogonal: Saxe et al. 2014, section 3.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from refute.errors import UnknownNameError, did_you_mean

Shape = tuple[int, ...]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out) of a kernel of shape (out, in) or (out, in, height, width).

    >>> fans((16, 8, 3, 3))
    (72, 144)
    """
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def he_normal(shape: Shape, generator: torch.Generator) -> Tensor:
    """Normal with variance 2 / fan in."""
    return torch.randn(shape, generator=generator) * math.sqrt(2 / fans(shape)[0])


def he_uniform(shape: Shape, generator: torch.Generator) -> Tensor:
    """Uniform with variance 2 / fan in."""
    return _uniform(shape, math.sqrt(6 / fans(shape)[0]), generator)


def glorot_normal(shape: Shape, generator: torch.Generator) -> Tensor:
    """Normal with variance 2 / (fan in + fan out)."""
    return torch.randn(shape, generator=generator) * math.sqrt(2 / sum(fans(shape)))


def glorot_uniform(shape: Shape, generator: torch.Generator) -> Tensor:
    """Uniform with variance 2 / (fan in + fan out)."""
    return _uniform(shape, math.sqrt(6 / sum(fans(shape))), generator)


def lecun_normal(shape: Shape, generator: torch.Generator) -> Tensor:
    """Normal with variance 1 / fan in."""
    return torch.randn(shape, generator=generator) * math.sqrt(1 / fans(shape)[0])


def torch_default(shape: Shape, generator: torch.Generator) -> Tensor:
    """Uniform between -+ 1 / sqrt(fan in), what torch.nn.Linear and Conv2d draw: variance 1 / (3 fan in)."""
    return _uniform(shape, math.sqrt(1 / fans(shape)[0]), generator)


def orthogonal(shape: Shape, generator: torch.Generator) -> Tensor:
    """Uniform over matrices (out, rest) with orthonormal rows or columns (Haar measure)."""
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    kernel: Tensor = q if rows >= columns else q.T
    return kernel.reshape(shape).contiguous()


def _uniform(shape: Shape, bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


LAWS: dict[str, Callable[[Shape, torch.Generator], Tensor]] = {
    "he-normal": he_normal,
    "he-uniform": he_uniform,
    "glorot-normal": glorot_normal,
    "glorot-uniform": glorot_uniform,
    "lecun-normal": lecun_normal,
    "orthogonal": orthogonal,
    "torch-default": torch_default,
}


def draw(law: str, shape: Shape, generator: torch.Generator) -> Tensor:
    """One tensor of a named law; "zeros" and "ones" use no randomness, "normal:S" has standard deviation S.

    >>> draw("zeros", (2,), torch.Generator()).tolist()
    [0.0, 0.0]
    """
    if law == "zeros":
        return torch.zeros(shape)
    if law == "ones":
        return torch.ones(shape)
    if law.startswith("normal:"):
        return torch.randn(shape, generator=generator) * float(law.removeprefix("normal:"))
    if law not in LAWS:
        raise UnknownNameError(f"unknown initialization law '{law}'; {did_you_mean(law, (*LAWS, 'zeros', 'normal:S'))}")
    return LAWS[law](shape, generator)
