"""Fixed and slow points of recurrent nets, the linear dynamics around them, and whether they form a line.

With h the state, x the input and F one time step, a fixed point for a constant input x0 has h = F(h, x0), a slow point
a small speed |h - F(h, x0)|. They are found by minimizing q(h) = |h - F(h, x0)|^2 / 2 from states that the net visits,
and around each the dynamics are those of J = dF/dh: an eigenvalue mu of modulus below 1 forgets with the time constant
1 / |ln |mu|| steps.

Source: Sussillo & Barak 2013, "Opening the black box: low-dimensional dynamics in high-dimensional recurrent neural
networks", Neural Computation 25(3), eq. 2.3; the statistics of lines: specification rnn-line-attractor, after
Maheswaranathan et al. 2019 (arXiv 1906.10720). That specification's q is this one times 2 / (number of units); its
amended tolerance, on which the searches here stop, is a speed.

All functions work on all replicas at once and change nothing when replicas are packed differently.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import recurrent
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags

Step = Callable[[Tensor, Tensor], Tensor]
"""One time step: states (replica, point, unit), inputs (replica, point, input) -> the next states."""

KINDS = ("lstm", "gru", "rnn-tanh", "rnn-relu")
FEWEST = 5
"""Points below which a line through them says nothing: a cubic curve passes through four."""
LAST_RATE = 1e-2
"""The rate of the search falls to this share of its first value (specification: 0.01 to 1e-4)."""
DECAYS = (0.9, 0.999, 1e-8)
"""Adam's, Kingma & Ba 2015, algorithm 1."""
TRIMMED = (0.05, 0.95)
"""Quantiles between which an extent is measured (specification)."""
DEGREE = 3
SHARES = 3


@dataclass(frozen=True)
class Recurrence:
    """A recurrent layer as a step over states: hidden units, for the LSTM followed by its cells.

    `units`: numbers in a state.
    """

    kind: str
    layer: Mapping[str, Tensor]
    units: int

    def __call__(self, states: Tensor, inputs: Tensor) -> Tensor:
        biases = (self.layer.get("bias_ih"), self.layer.get("bias_hh"))
        hidden, cell = states, None
        if self.kind == "lstm":
            hidden, cell = states.chunk(2, dim=-1)
        weights = self.layer["weight_ih"], self.layer["weight_hh"]
        found = recurrent.run_plainly(self.kind, inputs.unsqueeze(2), *weights, *biases, hidden, cell)
        return found.hidden if found.cell is None else torch.cat([found.hidden, found.cell], dim=-1)


@dataclass(frozen=True)
class FixedPoints:
    """Where the search from each start ended.

    `states` (replica, start, unit): when the speed first was within the tolerance, else at the end; `speeds` (replica,
    start): |h - F(h, x0)| there; `passed` (replica, start): within the tolerance; `kept` (replica, start): passed, not
    a copy of an earlier one, near the visited states. Flags: "few points" (fewer than 5 kept), "search not finished"
    (fewer than half of the starts passed), "not finite".
    """

    states: Tensor
    speeds: Tensor
    passed: Tensor
    kept: Tensor
    flags: Flags


@dataclass(frozen=True)
class Line:
    """How much a set of points is a line, (replica, ...).

    `shares` (replica, 3): of the points' variance along their principal components; `curve`: R^2 of a cubic curve over
    the readout; `extent`: range of the readout (5 to 95 %) over that of `ends`; `gap`: largest gap of the readout
    between neighbours over its range, 1 for a single point; `tangents` (replica, point, unit): of the curve at every
    point, of length 1, towards a larger readout. Flags: "few points" (fewer than 5: shares and curve are nan).
    """

    shares: Tensor
    curve: Tensor
    extent: Tensor
    gap: Tensor
    tangents: Tensor
    flags: Flags


@dataclass(frozen=True)
class Linearization:
    """The dynamics around points.

    `jacobians` (replica, point, unit, unit), dF/dh; `input_jacobians` (replica, point, unit, input), dF/dx;
    `eigenvalues` (replica, point, unit), complex, by falling modulus; `right`, `left` (replica, point, unit): the first
    mode's vectors, |right| = 1, left . right = 1, of a complex mode (that has no one direction) the real parts of such
    a pair; `rotating` (replica, point): the first eigenvalue is complex; `unstable` (replica, point): its modulus is 1
    or more. Flags: "mostly unstable" (more than half of the points), "mostly rotating", "not finite".
    """

    jacobians: Tensor
    input_jacobians: Tensor
    eigenvalues: Tensor
    right: Tensor
    left: Tensor
    rotating: Tensor
    unstable: Tensor
    flags: Flags

    @property
    def time_constants(self) -> Tensor:
        """1 / |ln |mu|| in time steps, (replica, point, unit); nan where |mu| >= 1: nothing is forgotten there."""
        sizes = self.eigenvalues.abs()
        return torch.where(sizes < 1, -1 / sizes.log(), torch.nan)

    @property
    def slow_ratio(self) -> Tensor:
        """Q = tau_1 / tau_2 of every point, (replica, point); nan at unstable points."""
        times = self.time_constants
        return times[..., 0] / times[..., 1]


@dataclass(frozen=True)
class Dimensionality:
    """Of a cloud of states: `participation` = (sum lambda)^2 / sum lambda^2 (replica,), `shares` (replica, unit) of its
    variance along its principal components. Flags: "no spread"."""

    participation: Tensor
    shares: Tensor
    flags: Flags


def recurrence(kind: str, layer: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float64) -> Recurrence:
    """The step of one recurrent layer of a cohort.

    Args:
        kind: "lstm", "gru", "rnn-tanh" or "rnn-relu".
        layer: "weight_ih" (replica, gates x hidden, input), "weight_hh" and, if it has them, "bias_ih" and "bias_hh"
            (replica, gates x hidden), laid out as in torch.nn.LSTM and torch.nn.GRU.
        dtype: eigenvalues near 1 are ill-conditioned, hence float64.

    Raises:
        UsageError: an unknown kind.
        ShapeError: weights that do not fit each other or are not finite.

    >>> step = recurrence("rnn-tanh", {"weight_ih": torch.ones(1, 2, 3), "weight_hh": torch.zeros(1, 2, 2)})
    >>> step(torch.zeros(1, 1, 2).double(), torch.zeros(1, 1, 3).double()).tolist()
    [[[0.0, 0.0]]]
    """
    if kind not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, {kind!r} came")
    hidden = layer["weight_hh"].shape[-1]
    gates = {"lstm": 4, "gru": 3}.get(kind, 1) * hidden
    for name, tensor in layer.items():
        if tensor.shape[1] != gates:
            raise ShapeError(f"{name} of a {kind} must be (replica, {gates}, ...), {tuple(tensor.shape)} came")
        if not bool(torch.isfinite(tensor).all()):
            raise ShapeError(f"{name} must be finite: leave diverged replicas out")
    own = {name: tensor.detach().to(dtype) for name, tensor in layer.items()}
    return Recurrence(kind, own, hidden * (2 if kind == "lstm" else 1))


def mean_step(step: Step, tokens: Tensor) -> Step:
    """The step averaged over tokens, h -> mean_v F(h, e_v): what a text does that speaks for nothing.

    A net never reads nothing: a constant input of zeros or of the mean embedding is one that it has not been trained
    on, and its fixed points need not be those of the mean dynamics. The inputs of the result count for nothing.

    Args:
        step: see `Step`.
        tokens: embeddings e_v, (replica, token, input).

    >>> half = mean_step(lambda states, inputs: states / 2 + inputs, torch.tensor([[[1.0], [3.0]]]))
    >>> half(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).item()
    2.0
    """

    def mean(states: Tensor, inputs: Tensor) -> Tensor:  # noqa: ARG001
        replicas, points, units = states.shape
        number = tokens.shape[1]
        repeated = states.unsqueeze(2).expand(-1, -1, number, -1).flatten(1, 2)
        words = tokens.unsqueeze(1).expand(-1, points, -1, -1).flatten(1, 2)
        return step(repeated, words).view(replicas, points, number, units).mean(dim=2)

    return mean


@torch.no_grad()
def visited_states(step: Step, inputs: Tensor, units: int) -> Tensor:
    """The states after every time step from a first state of zeros, (replica, batch, time, unit).

    Args:
        step: see `Step`.
        inputs: (replica, batch, time, input).
        units: numbers in a state.
    """
    if inputs.ndim != 4 or inputs.numel() == 0:
        raise ShapeError(f"inputs must be (replica, batch, time, input), {tuple(inputs.shape)} came")
    states, found = inputs.new_zeros(*inputs.shape[:2], units), []
    for time in range(inputs.shape[2]):
        states = step(states, inputs[:, :, time])
        found.append(states)
    return torch.stack(found, dim=2)


def fixed_points(
    step: Step,
    starts: Tensor,
    inputs: Tensor,
    *,
    tolerance: float | Tensor,
    rate: float = 0.01,
    steps: int = 2000,
    merge: float = 1e-3,
    far: float = 2.0,
    visited: Tensor | None = None,
) -> FixedPoints:
    """Slow points found from `starts` by Adam on q(h) = |h - F(h, x0)|^2 / 2, every start for itself.

    A start is frozen when its speed first is within the tolerance, because an optimizer that goes on drags slow points
    along a line to wherever it is slowest.

    Args:
        step: see `Step`.
        starts: visited states (replica, start, unit), float64 for speeds below 1e-6.
        inputs: the constant input x0, (replica, input).
        tolerance: the speed within which a point is slow, in the unit of the states; a number or (replica,).
        rate: Adam's learning rate, which falls to a hundredth of it along a cosine.
        steps: at most.
        merge: points closer than that (largest difference of a unit) are one.
        far: points farther from all visited states than `far` x the 99th percentile of these states' distances to their
            nearest neighbours are left out.
        visited: states that the net visits, (replica, state, unit); the starts by default. Give them where the starts
            are the ends of another search.

    Raises:
        ShapeError: starts or inputs that do not fit, or are not finite.
        UsageError: a tolerance that is not positive.

    >>> def halve(states, inputs):
    ...     return states / 2 + inputs
    >>> found = fixed_points(halve, torch.rand(1, 4, 2).double(), torch.ones(1, 2).double(), tolerance=1e-6, far=99)
    >>> [round(value, 3) for value in found.states[0, 0].tolist()], int(found.kept.sum())
    ([2.0, 2.0], 1)
    """
    _check(starts, inputs)
    replicas, number, units = starts.shape
    limit = torch.as_tensor(tolerance, dtype=starts.dtype, device=starts.device).expand(replicas)
    if not bool((limit > 0).all()):
        raise UsageError(f"tolerance must be positive, {limit.tolist()} came")
    ends = starts.clone()
    speeds = torch.full((replicas, number), torch.inf, dtype=starts.dtype, device=starts.device)
    passed = torch.zeros(replicas, number, dtype=torch.bool, device=starts.device)
    # the starts that still move, as many of every replica: those that have passed fill up and are not written back
    active = torch.arange(number, device=starts.device).expand(replicas, -1)
    moving = starts.clone()
    first, second = torch.zeros_like(moving), torch.zeros_like(moving)
    quick, slow, least = DECAYS
    for taken in range(steps + 1):
        with torch.enable_grad():
            states = moving.detach().requires_grad_()
            drift = states - step(states, inputs.unsqueeze(1).expand(-1, states.shape[1], -1))
            (gradient,) = torch.autograd.grad(drift.square().sum() / 2, states)
        speed = drift.detach().norm(dim=2)
        before = passed.gather(1, active)
        now = ~before & (speed <= limit.unsqueeze(1))
        written = ~before & (now | (taken == steps))
        rows, columns = written.nonzero(as_tuple=True)
        ends[rows, active[rows, columns]] = moving[rows, columns]
        speeds[rows, active[rows, columns]] = speed[rows, columns]
        passed.scatter_(1, active, before | now)
        left = int((~passed).sum(dim=1).max())
        if left == 0 or taken == steps:
            break
        if left <= 0.8 * active.shape[1]:
            order = passed.gather(1, active).to(torch.uint8).argsort(dim=1, stable=True)[:, :left]
            active = active.gather(1, order)
            wide = order.unsqueeze(2).expand(-1, -1, units)
            moving, first, second, gradient = (t.gather(1, wide) for t in (moving, first, second, gradient))
        first = quick * first + (1 - quick) * gradient
        second = slow * second + (1 - slow) * gradient.square()
        progress = torch.tensor(torch.pi * taken / steps, dtype=torch.float64)
        pace = rate * (LAST_RATE + (1 - LAST_RATE) * float(1 + progress.cos()) / 2)
        size = (second / (1 - slow ** (taken + 1))).sqrt() + least
        moving = moving - pace / (1 - quick ** (taken + 1)) * first / size
    seen = starts if visited is None else visited
    kept = torch.stack([_chosen(*each, merge, far) for each in zip(ends, passed, seen, strict=True)])
    flags = {
        "few points": kept.sum(dim=1) < FEWEST,
        "search not finished": passed.double().mean(dim=1) < 0.5,
        "not finite": ~torch.isfinite(ends).flatten(1).all(dim=1),
    }
    return FixedPoints(ends, speeds, passed, kept, flags)


def _chosen(points: Tensor, passed: Tensor, visited: Tensor, merge: float, far: float) -> Tensor:
    """Of one replica: passed, near the visited states, and not a copy of one chosen before, bool (point,)."""
    between = torch.cdist(visited, visited)
    between.fill_diagonal_(torch.inf)
    nearest = between.amin(dim=1)
    limit = far * torch.quantile(nearest[torch.isfinite(nearest)], 0.99) if len(visited) > 1 else torch.inf
    candidates = passed & (torch.cdist(points, visited).amin(dim=1) <= limit)
    close = torch.cdist(points, points, p=torch.inf) < merge
    chosen = torch.zeros_like(passed)
    for point in candidates.nonzero().flatten().tolist():
        chosen[point] = not bool((close[point] & chosen).any())
    return chosen


def spread(order: Tensor, kept: Tensor, most: int) -> Tensor:
    """Places of `most` kept points, evenly over their order by `order` (replica, point); (replica, most).

    Where fewer are kept some stand there twice; where none is kept, any.

    >>> spread(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), torch.tensor([[True, True, True, False]]), 2).tolist()
    [[1, 0]]
    """
    ranked = torch.where(kept, order, torch.inf).argsort(dim=1)
    last = (kept.sum(dim=1) - 1).clamp(min=0)
    shares = torch.linspace(0, 1, most, dtype=torch.float64, device=order.device)
    return ranked.gather(1, (last.unsqueeze(1) * shares).round().long())


def take(states: Tensor, places: Tensor) -> Tensor:
    """Points (replica, place, unit) at `places` (replica, place) of states (replica, point, unit)."""
    return states.gather(1, places.unsqueeze(2).expand(-1, -1, states.shape[2]))


def line_statistics(states: Tensor, kept: Tensor, readout: Tensor, ends: Tensor) -> Line:
    """How much the kept points are a curve that the readout runs along.

    Args:
        states: of points, (replica, point, unit).
        kept: which of them count, bool (replica, point).
        readout: w, (replica, unit): the readout of h is w . h.
        ends: last states of sequences, (replica, sequence, unit), over whose readouts the extent is measured.

    Raises:
        ShapeError: arguments that do not fit.

    >>> points = torch.linspace(-1, 1, 9).double()[None, :, None] * torch.tensor([3.0, 4.0]).double()
    >>> found = line_statistics(points, torch.ones(1, 9).bool(), torch.ones(1, 2).double(), 2 * points)
    >>> round(float(found.shares[0, 0]), 6), round(float(found.extent), 6), round(float(found.gap), 6)
    (1.0, 0.5, 0.125)
    """
    replicas, _, units = states.shape
    if kept.shape != states.shape[:2] or readout.shape != (replicas, units) or ends.shape[2] != units:
        raise ShapeError(
            f"states (replica, point, unit), kept, readout and ends must fit, {tuple(states.shape)}, "
            f"{tuple(kept.shape)}, {tuple(readout.shape)} and {tuple(ends.shape)} came"
        )
    found = [_line(*each) for each in zip(states, kept, readout, ends, strict=True)]
    shares, curve, extent, gap, tangents = (torch.stack(part) for part in zip(*found, strict=True))
    return Line(shares, curve, extent, gap, tangents, {"few points": kept.sum(dim=1) < FEWEST})


def _line(states: Tensor, kept: Tensor, readout: Tensor, ends: Tensor) -> tuple[Tensor, ...]:
    points, nan = states[kept], torch.nan
    values = (points @ readout).sort().values
    quantiles = torch.tensor(TRIMMED, dtype=states.dtype, device=states.device)
    reach = (ends @ readout).quantile(quantiles).diff()[0]
    if len(points) < 2:
        zero, one = states.new_zeros(()), states.new_ones(())
        return states.new_full((SHARES,), nan), zero * nan, zero, one, states * nan
    extent = values.quantile(quantiles).diff()[0] / reach
    length = values[-1] - values[0]
    gap = values.diff().max() / length
    if len(points) < FEWEST:
        return states.new_full((SHARES,), nan), extent * nan, extent, gap, states * nan
    centred = points - points.mean(dim=0)
    variances = torch.zeros(max(SHARES, states.shape[1]), dtype=states.dtype, device=states.device)
    variances[: states.shape[1]] = torch.linalg.eigvalsh(centred.T @ centred).flip(0).clamp(min=0)
    place = 2 * (points @ readout - values[0]) / length - 1
    powers = torch.arange(DEGREE + 1, device=states.device)
    basis = place.unsqueeze(1) ** powers
    weights = torch.linalg.lstsq(basis, centred).solution
    curve = 1 - (centred - basis @ weights).square().sum() / centred.square().sum()
    # beyond the kept points the curve is not known: their tangent is that of its end
    at = (2 * (states @ readout - values[0]) / length - 1).clamp(-1, 1)
    slope = (powers[1:] * at.unsqueeze(1) ** (powers[1:] - 1)).to(states) @ weights[1:]
    return (variances / variances.sum())[:SHARES], curve, extent, gap, slope / slope.norm(dim=1, keepdim=True)


def linearize(step: Step, states: Tensor, inputs: Tensor) -> Linearization:
    """J = dF/dh and dF/dx at every point, and J's eigenvalues.

    Args:
        step: see `Step`.
        states: points (replica, point, unit), float64.
        inputs: the constant input, (replica, input).

    Raises:
        ShapeError: states or inputs that do not fit, or are not finite.

    >>> def shrink(states, inputs):
    ...     return states * torch.tensor([0.5, 0.25]) + inputs
    >>> found = linearize(shrink, torch.zeros(1, 1, 2), torch.zeros(1, 2))
    >>> found.eigenvalues.real.tolist(), round(float(found.slow_ratio), 6)
    ([[[0.5, 0.25]]], 2.0)
    """
    _check(states, inputs)
    with torch.enable_grad():
        at = states.detach().requires_grad_()
        x = inputs.detach().unsqueeze(1).expand(-1, states.shape[1], -1).clone().requires_grad_()
        after = step(at, x)
        rows = []
        for unit in range(states.shape[2]):
            rows.append(torch.autograd.grad(after[..., unit].sum(), (at, x), retain_graph=True, materialize_grads=True))
    jacobians = torch.stack([row for row, _ in rows], dim=2)
    input_jacobians = torch.stack([row for _, row in rows], dim=2)
    values, vectors = torch.linalg.eig(jacobians)
    order = values.abs().argsort(dim=-1, descending=True, stable=True)
    values = values.gather(-1, order)
    right = _column_of(vectors, order[..., 0])
    # from the transpose, not the inverse: vectors of small eigenvalues may be nearly parallel
    left_values, left_vectors = torch.linalg.eig(jacobians.transpose(-1, -2))
    left = _column_of(left_vectors, (left_values - values[..., :1]).abs().argmin(dim=-1))
    rotating = values[..., 0].imag.abs() > 1e-9 * values[..., 0].abs()
    left = (left / (left * right).sum(dim=-1, keepdim=True)).real
    length = right.real.norm(dim=-1, keepdim=True)
    right, left = right.real / length, left * length
    unstable = values[..., 0].abs() >= 1
    flags = {
        "mostly unstable": unstable.double().mean(dim=1) > 0.5,
        "mostly rotating": rotating.double().mean(dim=1) > 0.5,
        "not finite": ~torch.isfinite(left).flatten(1).all(dim=1),
    }
    return Linearization(jacobians, input_jacobians, values, right, left, rotating, unstable, flags)


def _column_of(vectors: Tensor, column: Tensor) -> Tensor:
    index = column[..., None, None].expand(*vectors.shape[:-1], 1)
    return vectors.gather(-1, index).squeeze(-1)


@torch.no_grad()
def valences(
    step: Step,
    states: Tensor,
    inputs: Tensor,
    left: Tensor,
    tokens: Tensor,
    *,
    resting: Step | None = None,
    linear: Linearization | None = None,
) -> Tensor:
    """How far each token pushes along the slow mode, (replica, token), mean over points.

    Definition: I(v) = left . (F(h*, e_v) - F(h*, x0)); with `linear` the first order of it, left . dF/dx (e_v - x0),
    which is poor where embeddings are large (amended specification).

    Args:
        step: see `Step`.
        states: points h*, (replica, point, unit).
        inputs: the constant input x0, (replica, input).
        left: left eigenvectors at the points, their sign chosen, (replica, point, unit).
        tokens: embeddings e_v, (replica, token, input).
        resting: the step of the constant input, such as `mean_step`; `step` by default.
        linear: of the points, for the first order.
    """
    replicas, points, _ = states.shape
    number = tokens.shape[1]
    if linear is not None:
        pushes = torch.einsum("rpu,rpui->rpi", left, linear.input_jacobians)
        return torch.einsum("rpi,rti->rt", pushes, tokens - inputs.unsqueeze(1)) / points
    total = tokens.new_zeros(replicas, number)
    still = (resting or step)(states, inputs.unsqueeze(1).expand(-1, points, -1))
    for point in range(points):
        at = states[:, point : point + 1].expand(-1, number, -1)
        moved = step(at, tokens) - still[:, point : point + 1]
        total += (moved * left[:, point : point + 1]).sum(dim=2)
    return total / points


@torch.no_grad()
def linear_run(
    step: Step,
    states: Tensor,
    jacobians: Tensor,
    inputs: Tensor,
    sequences: Tensor,
    *,
    resting: Step | None = None,
) -> Tensor:
    """Last states (replica, batch, unit) of the dynamics that are linear around the nearest point.

    Definition: h_{t+1} = h* + J (h_t - h*) + F(h*, x_t) - F(h*, x0) at the point h* nearest to h_t, from h_0 = 0.

    Args:
        step: see `Step`.
        states: points h*, (replica, point, unit).
        jacobians: at them, (replica, point, unit, unit).
        inputs: the constant input x0, (replica, input).
        sequences: (replica, batch, time, input).
        resting: the step of the constant input, such as `mean_step`; `step` by default.
    """
    replicas, batch, times, _ = sequences.shape
    points, units = states.shape[1:]
    at = sequences.new_zeros(replicas, batch, units)
    shift = states - (resting or step)(states, inputs.unsqueeze(1).expand(-1, points, -1))
    for time in range(times):
        near = torch.cdist(at, states).argmin(dim=2)
        home = take(states, near)
        around = jacobians.flatten(2).gather(1, near.unsqueeze(2).expand(-1, -1, units * units))
        decayed = torch.einsum("rbuv,rbv->rbu", around.view(replicas, batch, units, units), at - home)
        at = decayed + step(home, sequences[:, :, time]) + take(shift, near)
    return at


def state_dimension(states: Tensor) -> Dimensionality:
    """Participation ratio and variance shares of a cloud of states (replica, sample, unit).

    >>> found = state_dimension(torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]]))
    >>> found.participation.tolist(), found.shares.tolist()
    ([2.0], [[0.5, 0.5]])
    """
    if states.ndim != 3 or states.shape[1] < 2:
        raise ShapeError(f"states must be (replica, at least 2 samples, unit), {tuple(states.shape)} came")
    centred = states - states.mean(dim=1, keepdim=True)
    variances = torch.linalg.eigvalsh(centred.transpose(1, 2) @ centred).flip(-1).clamp(min=0)
    total = variances.sum(dim=1)
    participation = total.square() / variances.square().sum(dim=1)
    return Dimensionality(participation, variances / total.unsqueeze(1), {"no spread": ~(total > 0)})


def _check(states: Tensor, inputs: Tensor) -> None:
    if states.ndim != 3 or states.numel() == 0:
        raise ShapeError(f"states must be (replica, point, unit) and not empty, {tuple(states.shape)} came")
    if inputs.ndim != 2 or len(inputs) != len(states):
        raise ShapeError(f"inputs must be ({len(states)} replicas, input), {tuple(inputs.shape)} came")
    if not bool(torch.isfinite(states).all() and torch.isfinite(inputs).all()):
        raise ShapeError("states and inputs must be finite: leave diverged replicas out")
