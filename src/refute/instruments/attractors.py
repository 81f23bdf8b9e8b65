"""Attractors of autoencoders: how a map f: R^d -> R^d contracts at examples, and where iterating it leads.

A fixed point x = f(x) attracts its neighbourhood when the spectral radius of J = df/dx there, the largest |eigenvalue|,
is below 1 (Ostrowski 1966, theorem 22.1). Source of the tests: Radhakrishnan, Yang, Belkin & Uhler 2018
(arXiv 1810.10333), section 3, and the specification of autoencoder-memorization, which names the margins.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError, did_you_mean
from refute.instruments.hessian import cast
from refute.instruments.interface import Flags, check_examples, own_examples, subject
from refute.instruments.probes import check_seeds
from refute.randomness import stream

FIXED_WITHIN, CONTRACTS_BELOW = 1e-2, 0.99
"""An attractor is a fixed point within 1 % whose radius leaves a margin to that of a projector, which is exactly 1."""
NEAR = 0.05
ESCAPED = 1e3
FATES = ("recovered", "spurious fixed point", "cycle", "diverged", "undecided")
LONGEST_PERIOD, RETURN = 32, 1e-2
"""A cycle comes back within this share of the way it went away, in at most so many steps."""
COMPACTED_EVERY = 10
MOST_UNDECIDED = 0.1
EXAMPLES_AT_ONCE = 1000

Method = Literal["exact", "arnoldi"]


# --- contraction --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contraction:
    """How the map contracts at each example, all (replica, example).

    `radius`: spectral radius of the Jacobian; `norm`: its largest singular value, never below the radius; `error`:
    |f(x) - x| / |x|; `residual`: |J^T v - lambda v| of the eigenpair behind the radius, 0 when it is exact. Flags: "not
    converged" (a residual above tolerance x radius), "not finite".
    """

    radius: Tensor
    norm: Tensor
    error: Tensor
    residual: Tensor
    flags: Flags

    def attracts(self, *, error: float = FIXED_WITHIN, radius: float = CONTRACTS_BELOW) -> Tensor:
        """Which examples are attractors, bool (replica, example): a fixed point within `error`, at most `radius`."""
        return (self.error <= error) & (self.radius <= radius)

    @property
    def attractors(self) -> Tensor:
        """Share of the examples that are attractors, (replica,)."""
        return self.attracts().double().mean(dim=1)


def contraction(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    *,
    method: Method = "exact",
    seeds: Sequence[int] | None = None,
    steps: int = 60,
    tolerance: float = 1e-3,
    dtype: torch.dtype = torch.float64,
) -> Contraction:
    """Spectral radius and operator norm of df/dx at every example.

    "exact" writes out the d x d Jacobians; "arnoldi" needs `steps` products with J^T (which has the eigenvalues of J)
    and twice as many for the norm, from a random start. Unlike power iteration it does not stumble over complex pairs.
    For a non-normal J a residual r bounds no eigenvalue's error: it says that lambda is one of a matrix within r of J.

    Args:
        network, weights: with as many outputs as inputs; see `subject`.
        inputs: examples (example, *input_shape) or (replica, example, *input_shape).
        method: "exact" (d up to about a thousand) or "arnoldi".
        seeds: one per replica, of which the start of "arnoldi" comes.
        steps: dimension of the Krylov space at most.
        tolerance: of the flag "not converged", relative to the radius.
        dtype: of the computation; eigenvalues near 1 need float64.

    Raises:
        ShapeError: outputs unlike inputs, seeds or examples that do not fit.
        UsageError: an unknown method, or "arnoldi" without seeds.

    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[0.5, 3.0], [0.0, 0.25]]))
    >>> found = contraction(net, None, torch.tensor([[1.0, 0.0]]))
    >>> found.radius.item(), round(found.norm.item(), 3), found.error.item()
    (0.5, 3.051, 0.5)
    """
    network, weights = subject(network, weights, inputs)
    x = _prepared(network, weights, inputs, dtype)
    weights = cast(weights, dtype)
    if method not in get_args(Method):
        raise UsageError(f"unknown method '{method}'; {did_you_mean(method, get_args(Method))}")
    with torch.no_grad():
        outputs = network.evaluate(weights, x)
    error = (outputs - x.flatten(2)).norm(dim=2) / x.flatten(2).norm(dim=2).clamp(min=torch.finfo(dtype).tiny)
    if method == "exact":
        matrices = jacobians(network, weights, x, dtype=dtype)
        finite = torch.isfinite(matrices).flatten(2).all(dim=2)
        sound = torch.nan_to_num(matrices, nan=0.0, posinf=0.0, neginf=0.0)
        radius = torch.linalg.eigvals(sound).abs().amax(dim=-1)
        norm = torch.linalg.matrix_norm(sound, ord=2)
        residual = torch.zeros_like(radius)
    else:
        if seeds is None:
            raise UsageError("method 'arnoldi' starts at random: give seeds, one per replica")
        check_seeds(seeds, weights.replicas)
        radius, norm, residual = _by_products(network, weights, x, seeds, steps)
        finite = torch.isfinite(radius) & torch.isfinite(norm)
    undefined = torch.full_like(radius, math.nan)
    radius, norm = torch.where(finite, radius, undefined), torch.where(finite, norm, undefined)
    flags = {
        "not converged": ~((residual <= tolerance * radius) | (residual == 0)).all(dim=1) & finite.all(dim=1),
        "not finite": ~(finite & torch.isfinite(error)).all(dim=1),
    }
    return Contraction(radius, norm, error, residual, flags)


def jacobians(
    network: Network | torch.nn.Module, weights: Weights | None, inputs: Tensor, *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """df_j / dx_k of every replica at every example in evaluation mode, (replica, example, output, input).

    Definition: reverse mode, all outputs of an example in one pass: the example is repeated once per output.
    Arguments and errors as in `contraction`, but that the outputs may be any number.
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs)
    weights = cast(weights, dtype)
    x = own_examples(weights, network, inputs.to(dtype))
    basis = torch.eye(network.outputs, dtype=dtype, device=x.device).expand(weights.replicas, -1, -1)
    found = []
    for example in range(x.shape[1]):
        shape = (weights.replicas, network.outputs, *network.input_shape)
        repeated = x[:, example : example + 1].expand(shape).clone().requires_grad_()
        with torch.enable_grad():
            outputs = network(weights, repeated)
        (gradient,) = torch.autograd.grad(outputs, repeated, basis)
        found.append(gradient.flatten(2))
    return torch.stack(found, dim=1)


def _by_products(
    network: Network, weights: Weights, x: Tensor, seeds: Sequence[int], steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Radius, norm and the radius' residual, each (replica, example), from products with J^T and J^T J."""
    size = network.outputs
    at = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = network(weights, at)
        dummy = torch.zeros_like(outputs).requires_grad_()
        (pulled,) = torch.autograd.grad(outputs, at, dummy, create_graph=True, materialize_grads=True)

    def transposed(v: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(outputs, at, v, retain_graph=True)
        return found.flatten(2)

    def gram(v: Tensor) -> Tensor:
        (forward,) = torch.autograd.grad(pulled, dummy, v.view_as(at), retain_graph=True)
        return transposed(forward)

    starts = [torch.randn(x.shape[1], size, generator=stream(seed, "arnoldi"), dtype=torch.float64) for seed in seeds]
    start = torch.stack(starts).to(x)
    radius, residual = arnoldi_radius(transposed, start, steps=min(steps, size))
    squared, _ = arnoldi_radius(gram, start, steps=min(steps, size))
    return radius, squared.sqrt(), residual


def arnoldi_radius(product: Callable[[Tensor], Tensor], start: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    """Largest |Ritz value| of many matrices at once, and |A v - lambda v| of its Ritz vector, (...,) like `start`.

    Arnoldi's method with every vector orthogonalized twice (Saad 2011, section 6.2). Where the Krylov space closes
    before `steps`, the rest is left at 0 and the result is exact for what the start can see.

    Args:
        product: vectors (..., size) -> A v of the same shape, each row with its own matrix.
        start: (..., size), not 0.
        steps: products, at most size.
    """
    size = start.shape[-1]
    basis = start.new_zeros(*start.shape[:-1], steps + 1, size)
    inner = start.new_zeros(*start.shape[:-1], steps + 1, steps)
    basis[..., 0, :] = start / start.norm(dim=-1, keepdim=True)
    scale = torch.zeros_like(start[..., 0])
    for step in range(steps):
        w = product(basis[..., step, :])
        scale = torch.maximum(scale, w.norm(dim=-1))
        for _ in range(2):
            part = (basis[..., : step + 1, :] @ w.unsqueeze(-1)).squeeze(-1)
            inner[..., : step + 1, step] += part
            w = w - (part.unsqueeze(-2) @ basis[..., : step + 1, :]).squeeze(-2)
        left = w.norm(dim=-1)
        closed = left <= 10 * size * torch.finfo(start.dtype).eps * scale
        left = torch.where(closed, 0.0, left)
        inner[..., step + 1, step] = left
        basis[..., step + 1, :] = w / torch.where(closed, 1.0, left).unsqueeze(-1) * (~closed).unsqueeze(-1)
    finite = torch.isfinite(inner).flatten(-2).all(dim=-1)
    values, vectors = torch.linalg.eig(torch.nan_to_num(inner[..., :steps, :], nan=0.0, posinf=0.0, neginf=0.0))
    largest = values.abs().argmax(dim=-1, keepdim=True)
    last = vectors[..., -1, :].gather(-1, largest).squeeze(-1).abs()
    radius = values.abs().gather(-1, largest).squeeze(-1)
    residual = inner[..., steps, steps - 1] * last
    return torch.where(finite, radius, torch.nan), torch.where(finite, residual, torch.nan)


# --- iteration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recovery:
    """Where iterating x <- f(x) from each start led.

    `ends` (replica, start, *input_shape); `nearest` (replica, start) int64: the example that is relatively nearest to
    the end, `distance` (replica, start): |end - x_i| / |x_i| to it; `steps` (replica, start): iterations until the
    change fell below the tolerance, or all; `fate` (replica, start): place in FATES; `basins` (replica, example): share
    of all starts recovered as that example; `approach` (replica, moment): median over starts of the relative distance
    to the nearest example at the iterations asked for. Flags: "undecided" (more than 10 % of the starts neither settled
    nor came back nor ended near an example), "recovered but moving" (more than 10 % of the starts), "examples
    overlap" (two are closer than twice `near`, so that one end may be near both).
    """

    ends: Tensor
    nearest: Tensor
    distance: Tensor
    steps: Tensor
    fate: Tensor
    basins: Tensor
    approach: Tensor
    flags: Flags

    def share(self, fate: str) -> Tensor:
        """Share of the starts with a fate of FATES, (replica,)."""
        if fate not in FATES:
            raise UsageError(f"no start can end as '{fate}'; {did_you_mean(fate, FATES)}")
        return (self.fate == FATES.index(fate)).double().mean(dim=1)

    @property
    def recovered(self) -> Tensor:
        """Share of the starts that ended at an example, (replica,)."""
        return self.share("recovered")

    @property
    def standard_error(self) -> Tensor:
        """Of `recovered` over the draw of the starts, sqrt(p (1 - p) / starts), (replica,)."""
        share = self.recovered
        return (share * (1 - share) / self.fate.shape[1]).sqrt()

    @property
    def reached(self) -> Tensor:
        """Share of the distinct examples that some start ended at, (replica,)."""
        return (self.basins > 0).double().mean(dim=1)


@torch.no_grad()
def recovery(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    starts: Tensor,
    examples: Tensor,
    *,
    steps: int = 2000,
    tolerance: float = 1e-6,
    near: float = NEAR,
    moments: Sequence[int] = (),
    dtype: torch.dtype | None = None,
) -> Recovery:
    """Iterate x_(k+1) = f(x_k) from every start and say where it ended.

    Definition: a start is over when |x_(k+1) - x_k| < tolerance x max(1, |x_k|), when |x| > 1000 (diverged), or after
    `steps`. It is recovered if its end lies within `near`, relatively, of an example; otherwise a spurious fixed point
    if it settled, a cycle if within 32 more steps it comes back to 1 % of the way it went away, else undecided.

    Args:
        network, weights: with as many outputs as inputs; see `subject`.
        starts: (start, *input_shape) or (replica, start, *input_shape).
        examples: training examples, (example, *input_shape) or (replica, example, *input_shape).
        steps: iterations at most.
        tolerance: of the step change.
        near: relative distance that counts as recovered.
        moments: iterations, from 0 to `steps`, at which `approach` is recorded; a start that is over stays at its end.
        dtype: of the computation, that of the weights by default.

    Raises:
        ShapeError: outputs unlike inputs, starts or examples that do not fit.
        UsageError: no step, or moments outside the run.

    >>> halve = torch.nn.Linear(2, 2, bias=False)
    >>> _ = halve.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
    >>> found = recovery(halve, None, torch.tensor([[1.01, 5.0], [3.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    >>> found.recovered.tolist(), found.share("spurious fixed point").tolist()
    ([0.5], [0.5])
    """
    network, weights = subject(network, weights, starts)
    dtype = weights.flat.dtype if dtype is None else dtype
    if steps < 1 or any(not 0 <= moment <= steps for moment in moments):
        raise UsageError(f"steps must be 1 or more and moments lie within them, {steps} and {list(moments)} came")
    current = _prepared(network, weights, starts, dtype, "starts").clone()
    known = _prepared(network, weights, examples, dtype, "examples").flatten(2)
    weights = cast(weights, dtype)
    run = _iterate(network, weights, current, known, steps, tolerance, frozenset(moments))
    flat = run.ends.flatten(2)
    distances = _relative(flat, known)
    distance, nearest = distances.min(dim=2)
    escaped = ~(flat.norm(dim=2) <= ESCAPED)
    recovered = (distance <= near) & ~escaped
    open_ = ~run.settled & ~escaped & ~recovered
    cycles = open_ & _comes_back(network, weights, run.ends) if bool(open_.any()) else open_
    fate = torch.full_like(nearest, FATES.index("undecided"))
    for name, which in (
        ("spurious fixed point", run.settled),
        ("cycle", cycles),
        ("recovered", recovered),
        ("diverged", escaped),
    ):
        fate[which] = FATES.index(name)
    hits = torch.nn.functional.one_hot(nearest, known.shape[1]) * recovered.unsqueeze(2)
    flags = {
        "undecided": (fate == FATES.index("undecided")).double().mean(dim=1) > MOST_UNDECIDED,
        "recovered but moving": (recovered & ~run.settled).double().mean(dim=1) > MOST_UNDECIDED,
        "examples overlap": _nearest_pair(known) < 2 * near,
    }
    basins = hits.double().mean(dim=1)
    approach = (
        torch.stack([run.approach[moment] for moment in moments], dim=1) if moments else flat.new_empty(len(flat), 0)
    )
    return Recovery(run.ends, nearest, distance, run.steps, fate, basins, approach, flags)


@dataclass(frozen=True)
class _Iteration:
    ends: Tensor
    settled: Tensor
    steps: Tensor
    approach: dict[int, Tensor]


def _iterate(
    network: Network,
    weights: Weights,
    current: Tensor,
    known: Tensor,
    steps: int,
    tolerance: float,
    moments: frozenset[int],
) -> _Iteration:
    """Iterate all starts; those that are over are left out of the passes, which every replica makes at one size."""
    replicas, count = current.shape[:2]
    rows = torch.arange(replicas, device=current.device).unsqueeze(1)
    over = torch.zeros(replicas, count, dtype=torch.bool, device=current.device)
    settled, taken = over.clone(), torch.zeros(replicas, count, dtype=torch.int64, device=current.device)
    approach: dict[int, Tensor] = {}
    which = torch.arange(count, device=current.device).expand(replicas, -1)
    for step in range(steps + 1):
        if step in moments:
            approach[step] = _relative(current.flatten(2), known).amin(dim=2).median(dim=1).values
        if step == steps:
            break
        if bool(over.all()):
            approach |= {moment: _last(current, known) for moment in moments if moment > step}
            break
        if step % COMPACTED_EVERY == 0:
            most = int((~over).sum(dim=1).max())
            which = torch.argsort(over.to(torch.int8), dim=1, stable=True)[:, :most]
        x, done = current[rows, which], over[rows, which]
        y = network.evaluate(weights, x).view(x.shape)
        size = x.flatten(2).norm(dim=2)
        change = (y - x).flatten(2).norm(dim=2)
        stops = change < tolerance * size.clamp(min=1.0)
        escapes = ~(y.flatten(2).norm(dim=2) <= ESCAPED)
        keep = done.view(*done.shape, *[1] * (x.ndim - 2))
        current[rows, which] = torch.where(keep, x, y)
        taken[rows, which] += (~done).to(torch.int64)
        settled[rows, which] |= stops & ~done & ~escapes
        over[rows, which] |= stops | escapes
    return _Iteration(current, settled, taken, approach)


def _last(current: Tensor, known: Tensor) -> Tensor:
    return _relative(current.flatten(2), known).amin(dim=2).median(dim=1).values


def _comes_back(network: Network, weights: Weights, ends: Tensor) -> Tensor:
    """Which points return after 2 to 32 steps, bool (replica, start)."""
    x, farthest = ends, torch.zeros(ends.shape[:2], dtype=ends.dtype, device=ends.device)
    back = torch.zeros(ends.shape[:2], dtype=torch.bool, device=ends.device)
    for _ in range(LONGEST_PERIOD):
        x = network.evaluate(weights, x).view(ends.shape)
        away = (x - ends).flatten(2).norm(dim=2)
        back |= away <= RETURN * farthest
        farthest = torch.maximum(farthest, away)
    return back & torch.isfinite(farthest)


def _relative(points: Tensor, examples: Tensor) -> Tensor:
    """|x - x_i| / |x_i|, (replica, point, example), inf for points that are not finite; differences, not products."""
    distances = torch.cdist(points, examples, compute_mode="donot_use_mm_for_euclid_dist")
    size = examples.norm(dim=2).clamp(min=torch.finfo(points.dtype).tiny)
    return torch.nan_to_num(distances / size.unsqueeze(1), nan=torch.inf)


def _nearest_pair(examples: Tensor) -> Tensor:
    """Least |x_i - x_j| / |x_j| of two examples, (replica,); inf of one example. By products: some digits will do."""
    least = torch.full_like(examples[:, 0, 0], torch.inf)
    size = examples.norm(dim=2).clamp(min=torch.finfo(examples.dtype).tiny)
    for first in range(0, examples.shape[1], EXAMPLES_AT_ONCE):
        distances = torch.cdist(examples[:, first : first + EXAMPLES_AT_ONCE], examples) / size.unsqueeze(1)
        own = torch.arange(distances.shape[1], device=examples.device)
        distances[:, own, first + own] = torch.inf
        least = torch.minimum(least, distances.flatten(1).amin(dim=1))
    return least


def _prepared(network: Network, weights: Weights, inputs: Tensor, dtype: torch.dtype, name: str = "inputs") -> Tensor:
    """Examples with the replica axis in the wanted type, after a check that the network maps them to their like."""
    if network.outputs != math.prod(network.input_shape):
        raise ShapeError(
            f"{network.name} must have as many outputs as inputs ({math.prod(network.input_shape)}), "
            f"it has {network.outputs}: is it an autoencoder?"
        )
    try:
        check_examples(network, weights, inputs)
    except ShapeError as error:
        raise ShapeError(str(error).replace("inputs must", f"{name} must")) from error
    return own_examples(weights, network, inputs.to(dtype))
