"""The edge of stability: step sizes at which gradient descent stops going down.

On a quadratic loss gradient descent with step eta diverges along an eigenvector of the Hessian once its eigenvalue
passes 2 / eta (Cohen et al. 2021, section 2). The critical sharpness needs no eigenvalue: 2 / eta_c, eta_c the smallest
step along the gradient that raises the loss (Lewkowycz et al. 2020; Kalra & Barkeshli 2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.hessian import curvature
from refute.instruments.interface import Flags
from refute.instruments.objective import objective
from refute.losses import Loss

FIRST = 1 / 16
"""First step that is tried, in units of the step 2 |g|^2 / |g^T A g| at which a quadratic loss would rise."""
LOWERINGS = 8
"""How often that is divided by 16 while it already raises the loss."""
GROWTH = 2**0.5
"""From one tried step to the next."""


@dataclass(frozen=True)
class CriticalSharpness:
    """`value` (replica,): 2 / eta_c, 0 where no tried step raised the loss; `step` (replica,): eta_c, infinite there.

    `width`: eta_c lies within this share below `step`. `quadratic` (replica,): g^T A g / |g|^2, what `value`
    would be on a quadratic loss. Flags: "gradient vanishes", "never rises", "rises at once" (below what was tried: the
    gradient is lost in rounding), "not finite".
    """

    value: Tensor
    step: Tensor
    width: float
    quadratic: Tensor
    flags: Flags


def critical_sharpness(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    tries: int = 40,
    bisections: int = 12,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> CriticalSharpness:
    """2 / eta_c with eta_c = min {eta > 0: L(theta - eta g) > L(theta)}, g the full gradient.

    Steps grow by sqrt(2) from 1/16 of the quadratic guess (or as much less as it takes to go down) until the loss
    rises; the first rise is then bisected. A shorter interval of rising losses between two tried steps is not seen.

    Args:
        network, weights, inputs, labels, loss, training, dtype: see `hessian.curvature`.
        tries: steps to try.
        bisections: halvings of the interval (on a log scale) after that.

    Raises:
        ShapeError, UsageError: as `hessian.curvature`; fewer than 1 try.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> inputs, values = torch.tensor([[2.0]]), torch.ones(1, 1)
    >>> round(critical_sharpness(net, None, inputs, values, loss="squared").value.item(), 2)  # x^2
    4.0
    """
    if tries < 1 or bisections < 0:
        raise UsageError(f"tries must be at least 1 and bisections at least 0, {tries} and {bisections} came")
    at = curvature(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    function = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here, gradient = function.weights.flat, at.gradient
    squared = gradient.double().square().sum(dim=1)
    quadratic = (gradient * at.product(gradient)).double().sum(dim=1) / squared.clamp(
        min=torch.finfo(torch.float64).tiny
    )
    level = function.losses(here)

    def rises(step: Tensor) -> Tensor:
        moved = function.losses(here - step.to(here).unsqueeze(1) * gradient)
        return ~(moved <= level)  # what overflows has risen

    first = FIRST * 2 / quadratic.abs().clamp(min=torch.finfo(torch.float32).tiny)
    at_once = rises(first)
    for _ in range(LOWERINGS):
        if not at_once.any():
            break
        first = torch.where(at_once, first * FIRST, first)
        at_once = rises(first)
    low, high, step = first.clone(), torch.full_like(first, torch.inf), first.clone()
    for _ in range(tries):
        up = rises(step)
        found = up & torch.isinf(high)
        high[found] = step[found]
        low = torch.where(torch.isinf(high), step, low)
        if not torch.isinf(high).any():
            break
        step = step * GROWTH
    known = torch.isfinite(high)
    for _ in range(bisections):
        middle = torch.where(known, (low * high).sqrt(), first)
        up = rises(middle)
        high = torch.where(known & up, middle, high)
        low = torch.where(known & ~up, middle, low)
    vanishes = squared.sqrt() <= torch.finfo(here.dtype).eps * here.double().norm(dim=1)
    flags = {
        "gradient vanishes": vanishes,
        "never rises": ~known,
        "rises at once": at_once,
        "not finite": ~torch.isfinite(level),
    }
    return CriticalSharpness(2 / high, high, GROWTH ** (0.5**bisections) - 1, quadratic, flags)


def stability_threshold(
    learning_rate: float | Tensor, *, momentum: float = 0.0, nesterov: bool = False, beta1: float | None = None
) -> float | Tensor:
    """The Hessian eigenvalue at which full-batch training becomes unstable, like `learning_rate`.

    2 / eta for gradient descent, (2 + 2 beta) / eta with heavy-ball momentum beta, (2 + 2 beta) / (eta (1 + 2 beta))
    with Nesterov's (Cohen et al. 2021, section 2 and appendix B); (2 + 2 beta1) / ((1 - beta1) eta) for Adam, of
    P^(-1) A with P its preconditioner (Cohen et al. 2022), which `eigenvalues(..., scale=P**-0.5)` measures.

    Args:
        learning_rate: eta, above 0; a number or a tensor of any shape.
        momentum: beta, in [0, 1).
        nesterov: whether it is Nesterov's.
        beta1: of Adam; then `momentum` is left out.

    Raises:
        UsageError: a number outside its range, or momentum with beta1.

    >>> stability_threshold(0.1), round(stability_threshold(1.0, beta1=0.9), 6)
    (20.0, 38.0)
    """
    if beta1 is not None and (momentum or nesterov):
        raise UsageError("beta1 is Adam's and momentum is SGD's: give one of them")
    beta = momentum if beta1 is None else beta1
    if not 0 <= beta < 1:
        raise UsageError(f"momentum and beta1 must be in [0, 1), {beta} came")
    if bool((torch.as_tensor(learning_rate) <= 0).any()):
        raise UsageError(f"learning_rate must be above 0, {learning_rate} came")
    if beta1 is not None:
        return (2 + 2 * beta1) / (1 - beta1) / learning_rate
    return (2 + 2 * momentum) / (1 + 2 * momentum * nesterov) / learning_rate
