"""Concentration: whether a vector's size sits in few of its entries (sparse) or is spread over all of them (dispersed).

Of a vector x of n entries, with a = |x| / |x|_1 and b = x^2 / |x|_2^2:

    taxi-Euclidean norm  S = |x|_1 / |x|_2, in [1, sqrt(n)]; about 0.80 sqrt(n) of a Gaussian vector
    Hoyer                C = (sqrt(n) - S) / (sqrt(n) - 1), in [0, 1]
    Gini                 1 - 2 sum_k a_(k) (n - k + 1/2) / n, entries ascending, in [0, 1 - 1/n]
    entropy              - sum a ln a, in [0, ln n]
    participation ratio  1 / sum b^2, in [1, n]

C and the Gini index rise with concentration, the others fall. None depends on the scale of x; all depend on the basis.

Source: Saphra & Lopez 2019 (arXiv 1908.01817; S), Hoyer 2004, equation 1 (C), Hurley & Rickard 2009 (Gini index).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.features import check_features
from refute.instruments.interface import Flags

VANISHING = 1e-8
"""Length below which a vector is left out (specification activation-gradient-concentration-lm)."""
OFTEN, TYPES = 20, 100
"""Occurrences that a word type must have, and types that there must be (the same)."""


@dataclass(frozen=True)
class Concentration:
    """Of every vector, float64 (replica, example); nan where it vanishes.

    `taxi_euclidean`, `hoyer`, `gini`, `entropy`, `participation`; `length`: |x|_2. Flags: "all vectors vanish", "some
    vectors vanish".
    """

    taxi_euclidean: Tensor
    hoyer: Tensor
    gini: Tensor
    entropy: Tensor
    participation: Tensor
    length: Tensor
    flags: Flags


@dataclass(frozen=True)
class TypeMeans:
    """Means over the tokens of each word type.

    `means` (replica, type) float64, nan for types with too few tokens; `counts` (replica, type): tokens that count;
    `kept` bool (replica, type). Flags: "few types" (fewer than 100 are kept).
    """

    means: Tensor
    counts: Tensor
    kept: Tensor
    flags: Flags


def concentration(vectors: Tensor, *, vanishing: float = VANISHING) -> Concentration:
    """All five measures of every vector.

    Args:
        vectors: (replica, example, entry), 2 entries or more: activations, or gradients by them.
        vanishing: vectors shorter than this are left out.

    Raises:
        ShapeError: other axes, a single entry, or numbers that are not finite.

    >>> found = concentration(torch.tensor([[[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 0.0, 0.0]]]))
    >>> found.taxi_euclidean.tolist(), found.hoyer.tolist(), found.gini.tolist(), found.participation.tolist()
    ([[2.0, 1.0]], [[0.0, 1.0]], [[0.0, 0.75]], [[4.0, 1.0]])
    """
    check_features(vectors, name="vectors")
    size = vectors.shape[2]
    if size < 2:
        raise ShapeError("vectors must have at least 2 entries, 1 came")
    length = vectors.double().norm(dim=2)
    gone = length < vanishing
    x = vectors.double().abs() / length.clamp(min=torch.finfo(torch.float64).tiny).unsqueeze(2)
    total = x.sum(dim=2)
    shares = x / total.unsqueeze(2)
    rank = torch.arange(1, size + 1, dtype=torch.float64, device=x.device)
    measures = (
        total,
        (size**0.5 - total) / (size**0.5 - 1),
        1 - 2 * (shares.sort(dim=2).values * ((size - rank + 0.5) / size)).sum(dim=2),
        torch.special.entr(shares).sum(dim=2),
        1 / x.pow(4).sum(dim=2),
    )
    flags = {"all vectors vanish": gone.all(dim=1), "some vectors vanish": gone.any(dim=1)}
    taxi, hoyer, gini, entropy, participation = (measure.masked_fill(gone, torch.nan) for measure in measures)
    return Concentration(taxi, hoyer, gini, entropy, participation, length, flags)


def type_means(values: Tensor, types: Tensor, count: int, *, often: int = OFTEN) -> TypeMeans:
    """Mean of a number per token over all tokens of a word type; tokens whose value is nan are left out.

    Args:
        values: (replica, token), for example `concentration(...).hoyer`.
        types: of every token, 0 to count - 1, (replica, token) or (token,).
        count: number of types.
        often: types with fewer tokens have no mean.

    Raises:
        ShapeError: shapes that do not fit, or types out of range.

    >>> found = type_means(torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([0, 0, 1]), 2, often=2)
    >>> found.means.tolist(), found.kept.tolist()
    ([[2.0, nan]], [[True, False]])
    """
    if values.ndim != 2 or types.shape[-1] != values.shape[1] or not 0 <= int(types.min()) <= int(types.max()) < count:
        raise ShapeError(
            f"values must be (replica, token) and types the same, 0 to {count - 1}; {tuple(values.shape)} and "
            f"{tuple(types.shape)}, {int(types.min())} to {int(types.max())}, came"
        )
    own = types.expand_as(values)
    sound = ~torch.isnan(values)
    zeros = torch.zeros(len(values), count, dtype=torch.float64, device=values.device)
    counts = zeros.scatter_add(1, own, sound.double())
    sums = zeros.scatter_add(1, own, values.double().nan_to_num(0.0) * sound)
    kept = counts >= max(often, 1)
    means = torch.where(kept, sums / counts.clamp(min=1), torch.nan)
    return TypeMeans(means, counts.long(), kept, {"few types": kept.sum(dim=1) < TYPES})


def saturated_share(activations: Tensor, *, beyond: float = 0.9) -> Tensor:
    """Share of activations beyond +-0.9, where tanh has gone flat, in [0, 1], float64 (replica,).

    >>> saturated_share(torch.tensor([[0.1, -0.95, 0.99, 0.3]])).tolist()
    [0.5]
    """
    return (activations.abs() > beyond).flatten(1).double().mean(dim=1)
