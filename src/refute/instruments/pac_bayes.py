"""How much noise the weights take before the training accuracy falls: the sharpness measure of PAC-Bayes bounds.

Source: Jiang et al. 2020 (arXiv 1912.02178), appendix C.6 and algorithm 1; constants of Dziugaite et al. 2020 (arXiv
2010.11924) as in the specification of sharp-minima.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.interface import Flags
from refute.instruments.objective import objective
from refute.instruments.probes import check_seeds, drawn
from refute.losses import Loss
from refute.randomness import stream

FLOOR = 1e-6
"""Variance that a weight of 0 gets when noise follows the magnitudes."""


@dataclass(frozen=True)
class PacBayes:
    """`sigma` (replica,): the largest noise that costs at most `drop` of accuracy; `value` (replica,): 1 / sigma^2.

    `accuracy` (replica,): of the weights themselves; `noisy` (replica,): mean at sigma, in [0, 1]. Flags: "at the
    limit" (even the largest sigma costs less), "at zero" (the least noise that was tried costs more), "at chance"
    (accuracy is no more than `drop` above 1 / classes: noise has little to destroy).
    """

    sigma: Tensor
    value: Tensor
    accuracy: Tensor
    noisy: Tensor
    flags: Flags


def pac_bayes_sigma(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    magnitude_aware: bool = False,
    drop: float = 0.1,
    limit: float = 2.0,
    bisections: int = 15,
    draws: int = 10,
    tolerance: float = 0.01,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> PacBayes:
    """Largest sigma in (0, limit] with E acc(theta + noise) >= acc(theta) - drop, by bisection.

    Noise is N(0, sigma^2), or of variance sigma^2 theta_i^2 + 1e-6 (magnitude aware). The draws are the same for every
    sigma, so that accuracy changes with sigma and not with the draw.

    Args:
        network, weights, inputs, labels, loss, training, dtype: see `hessian.curvature`; labels are classes.
        seeds: one per replica, of which its noise comes.
        magnitude_aware: see above.
        drop: accuracy that may be lost, in (0, 1).
        limit: largest sigma.
        bisections: halvings at most.
        draws: of noise, over which accuracy is averaged.
        tolerance: a replica is done when its noisy accuracy is this near to the bound.

    Raises:
        ShapeError: as `hessian.curvature`; seeds that do not fit.
        UsageError: numbers out of range, or values instead of labels.

    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> found = pac_bayes_sigma(net, None, torch.ones(4, 1), torch.zeros(4, dtype=torch.int64), seeds=[0])
    >>> found.value.item() == 1 / found.sigma.item() ** 2
    True
    """
    function = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here = function.weights.flat
    check_seeds(seeds, len(here))
    if not 0 < drop < 1 or limit <= 0 or draws < 1 or bisections < 1:
        raise UsageError(
            f"drop must be in (0, 1), limit above 0, draws and bisections at least 1; "
            f"{drop}, {limit}, {draws} and {bisections} came"
        )
    generators = [stream(seed, "pac-bayes") for seed in seeds]
    states = [generator.get_state() for generator in generators]
    clean = function.accuracy(here)

    def noisy(sigma: Tensor) -> Tensor:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        wide = sigma.to(here).unsqueeze(1)
        deviation = (wide.square() * here.square() + FLOOR).sqrt() if magnitude_aware else wide
        found = [function.accuracy(here + deviation * drawn("gaussian", here, generators)) for _ in range(draws)]
        return torch.stack(found).mean(dim=0)

    high = torch.full_like(clean, limit)
    low = torch.zeros_like(clean)
    reached = noisy(high)
    at_limit = reached >= clean - drop
    sigma, best = torch.where(at_limit, high, low), torch.where(at_limit, reached, clean)
    done = at_limit.clone()
    for _ in range(bisections):
        if done.all():
            break
        middle = (low + high) / 2
        reached = noisy(middle)
        holds = reached >= clean - drop
        taken = holds & ~done
        sigma, best = torch.where(taken, middle, sigma), torch.where(taken, reached, best)
        low, high = torch.where(holds & ~done, middle, low), torch.where(~holds & ~done, middle, high)
        done |= holds & (reached - (clean - drop) <= tolerance)
    flags = {
        "at the limit": at_limit,
        "at zero": sigma == 0,
        "at chance": clean <= drop + 1 / max(2, function.network.outputs),
    }
    return PacBayes(sigma, 1 / sigma.square(), clean, best, flags)
