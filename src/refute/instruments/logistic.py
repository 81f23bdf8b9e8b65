"""Logistic regression of many replicas and penalties at once, to the minimum.

    sum_i s_i loss(W x_i + b, y_i) + penalty / 2 |W|_F^2, the loss -log sigmoid for one output, else -log softmax

by limited-memory BFGS (Liu & Nocedal 1989), preconditioned by the Hessian at 0, X^T X / 4 + penalty (of C classes
X^T X / C + penalty), with a line search on the outputs, which needs no further product with X.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MEMORY = 10
"""Pairs that the quasi-Newton method remembers."""
FLATTER, PAST = 0.9, 0.5
"""A step is taken once the slope along it is between -0.9 and 0.5 of the first one's size: approximate Wolfe conditions
(Hager & Zhang 2005); the objective is convex."""
ENOUGH = 16
"""Examples per feature that the preconditioner is made of."""
SHRUNK = 0.75
"""Share of fits still going at which the others are put aside."""


@dataclass(frozen=True)
class LogisticProblem:
    """Logistic regression of some replicas: `x` (replica, example, feature), the last feature the constant 1; `y`
    (replica, 1, output, example) of 0 and 1; `weights` (replica, 1, 1, example), None if all are 1; `penalties`
    (penalty,)."""

    x: Tensor
    y: Tensor
    weights: Tensor | None
    penalties: Tensor

    @property
    def shrinkage(self) -> Tensor:
        """Penalty of every coefficient, (penalty, 1, feature); the constant is free."""
        free = torch.ones(self.x.shape[2], dtype=self.x.dtype, device=self.x.device)
        free[-1] = 0
        return self.penalties.view(-1, 1, 1) * free

    def outputs(self, at: Tensor) -> Tensor:
        """(replica, penalty, output, example) of coefficients (replica, penalty, output, feature)."""
        # classes before examples: a softmax over the last axis takes twenty times as long on a CPU
        return (at.flatten(1, 2) @ self.x.transpose(1, 2)).view(*at.shape[:3], -1)

    def shares(self, outputs: Tensor) -> Tensor:
        """Probabilities of the classes."""
        return torch.sigmoid(outputs) if outputs.shape[2] == 1 else torch.softmax(outputs, dim=2)

    def weighted(self, each: Tensor) -> Tensor:
        """Times the examples' weights."""
        return each if self.weights is None else each * self.weights

    def gradient(self, at: Tensor, shares: Tensor) -> Tensor:
        """Derivative of the objective by the coefficients."""
        residual = self.weighted(shares - self.y)
        return (residual.flatten(1, 2) @ self.x).view_as(at).addcmul(self.shrinkage, at)

    def preconditioner(self) -> Tensor:
        """Cholesky factors of one output's Hessian at 0, (replica, penalty, feature, feature), from some examples."""
        examples, features = self.x.shape[1:]
        some = self.x[:, :: max(1, examples // (ENOUGH * features))]
        share = 1 / 4 if self.y.shape[2] == 1 else 1 / self.y.shape[2]
        gram = (some.transpose(1, 2) @ some) * (share * examples / some.shape[1])
        # a feature that is rarely above 0, such as a unit about to die, may have been missed
        full, seen = share * self.x.square().sum(dim=1), gram.diagonal(dim1=1, dim2=2)
        missed = torch.where(seen < full / 2, full - seen, 1e-4 * full)
        shifted = gram.unsqueeze(1) + torch.diag_embed(self.shrinkage.squeeze(1) + missed.unsqueeze(1))
        factors: Tensor = torch.linalg.cholesky(shifted)
        return factors

    def take(self, rows: Tensor, columns: Tensor) -> "LogisticProblem":
        """Some replicas and some penalties."""
        weights = None if self.weights is None else self.weights[rows]
        return LogisticProblem(
            self.x if len(rows) == len(self.x) else self.x[rows], self.y[rows], weights, self.penalties[columns]
        )


@dataclass
class _State:
    """Where the method is; everything leads with (replica, penalty)."""

    at: Tensor
    outputs: Tensor
    gradient: Tensor
    solved: Tensor
    factor: Tensor
    pairs: list[tuple[Tensor, Tensor, Tensor]]
    scale: Tensor

    def take(self, rows: Tensor, columns: Tensor) -> "_State":
        def some(part: Tensor) -> Tensor:
            return part[rows][:, columns]

        pairs = [(some(moved), some(change), some(inverse)) for moved, change, inverse in self.pairs]
        parts = (self.at, self.outputs, self.gradient, self.solved, self.factor)
        at, outputs, gradient, solved, factor = (some(part) for part in parts)
        return _State(at, outputs, gradient, solved, factor, pairs, some(self.scale))


@dataclass(frozen=True)
class Fitted:
    """`at` (replica, penalty, output, feature): coefficients; `steps` (replica, penalty) int64; `gradient`
    (replica, penalty): largest entry of the gradient, per example."""

    at: Tensor
    steps: Tensor
    gradient: Tensor


def minimize(problem: LogisticProblem, tolerance: float, iterations: int) -> Fitted:
    """The minimum for every replica and penalty, or what was reached.

    Args:
        problem: what is minimized.
        tolerance: for the largest entry of the gradient, per example.
        iterations: steps at most.
    """
    shape = (len(problem.x), len(problem.penalties))
    at = problem.x.new_zeros(*shape, problem.y.shape[2], problem.x.shape[2])
    found = Fitted(at, torch.zeros(shape, dtype=torch.int64, device=at.device), at.new_full(shape, torch.inf))
    outputs = problem.outputs(at)
    gradient = problem.gradient(at, problem.shares(outputs))
    factor = problem.preconditioner()
    state = _State(at.clone(), outputs, gradient, _solve(gradient, factor), factor, [], at.new_ones(shape))
    rows, columns = (torch.arange(size, device=at.device) for size in shape)
    for step in range(iterations + 1):
        place = (rows.unsqueeze(1), columns)
        largest = state.gradient.abs().amax(dim=(2, 3)) / problem.x.shape[1]
        found.gradient[place] = largest
        going = largest > tolerance
        here, there = going.any(dim=1), going.any(dim=0)
        done = step == iterations or not going.any()
        fewer = int(here.sum()) * int(there.sum()) <= SHRUNK * going.numel()
        if done or fewer:
            found.at[place] = state.at
        if done:
            break
        found.steps[place] += going
        if fewer:
            kept = here.nonzero().flatten(), there.nonzero().flatten()
            problem, state, going = problem.take(*kept), state.take(*kept), going[here][:, there]
            rows, columns = rows[kept[0]], columns[kept[1]]
        _advance(problem, state, going)
    return found


def _advance(problem: LogisticProblem, state: _State, going: Tensor) -> None:
    """One quasi-Newton step of those that have not converged, in place."""
    direction = _direction(state).mul_(-_wide(going).to(state.at.dtype))
    along = problem.outputs(direction)
    step, shares = _line_search(problem, state, direction, along)
    moved = _wide(step) * direction
    state.at = state.at + moved
    state.outputs.addcmul_(_wide(step), along)
    gradient = problem.gradient(state.at, shares)
    solved = _solve(gradient, state.factor)
    change, solved_change = gradient - state.gradient, solved - state.solved
    state.gradient, state.solved = gradient, solved
    curvature = _dot(moved, change)
    sound = curvature > 0  # one that has converged, or has come to rounding, adds a pair that does nothing
    inverse = torch.where(sound, 1 / torch.where(sound, curvature, 1.0), 0.0)
    state.scale = torch.where(sound, curvature / torch.where(sound, _dot(change, solved_change), 1.0), state.scale)
    state.pairs = [*state.pairs[-(MEMORY - 1) :], (moved, change, inverse)]


def _direction(state: _State) -> Tensor:
    """Liu & Nocedal's two loops around the scaled preconditioner."""
    if not state.pairs:
        return state.solved.clone()
    direction = state.gradient.clone()
    weights = []
    for moved, change, inverse in reversed(state.pairs):
        weight = inverse * _dot(moved, direction)
        direction.addcmul_(_wide(-weight), change)
        weights.append(weight)
    direction = _solve(direction, state.factor) * _wide(state.scale)
    for (moved, change, inverse), weight in zip(state.pairs, reversed(weights), strict=True):
        direction.addcmul_(_wide(weight - inverse * _dot(change, direction)), moved)
    return direction


def _solve(gradient: Tensor, factor: Tensor) -> Tensor:
    return torch.cholesky_solve(gradient.transpose(2, 3), factor).transpose(2, 3).contiguous()


def _line_search(
    problem: LogisticProblem, state: _State, direction: Tensor, along: Tensor, *, rounds: int = 30
) -> tuple[Tensor, Tensor]:
    """A step (replica, penalty) along the direction, and the classes' probabilities there."""
    shrunk = problem.shrinkage * direction
    inner, square = _dot(shrunk, state.at), _dot(shrunk, direction)
    weighted = problem.weighted(along)
    first = _dot(state.gradient, direction)
    target = _dot(weighted, problem.y.expand_as(along))
    going = first < 0
    low, high = torch.zeros_like(first), torch.full_like(first, torch.inf)
    step = going.to(first.dtype)
    for turn in range(rounds):
        shares = problem.shares(torch.addcmul(state.outputs, _wide(step), along))
        slope = _dot(weighted, shares) - target + inner + step * square
        accepted = ~going | ((slope >= FLATTER * first) & (slope <= -PAST * first))
        if turn == rounds - 1 or accepted.all():
            break
        mean = along if along.shape[2] == 1 else along - (shares * along).sum(dim=2, keepdim=True)
        other = 1 - shares if along.shape[2] == 1 else 1
        bend = problem.weighted(shares * other * mean.square()).sum(dim=(2, 3)) + square
        low, high = torch.where(slope < 0, step, low), torch.where(slope > 0, step, high)
        newton = step - slope / bend.clamp(min=torch.finfo(step.dtype).tiny)
        longest = torch.where(torch.isinf(high), 10 * step, high)  # far out the curvature says little
        inside = (newton > low) & (newton < longest)
        middle = torch.where(torch.isinf(high), longest, (low + high) / 2)
        step = torch.where(accepted, step, torch.where(inside, newton, middle))
    return step, shares


def _dot(one: Tensor, two: Tensor) -> Tensor:
    """Inner products of (replica, penalty, ...), (replica, penalty)."""
    product: Tensor = torch.linalg.vecdot(one.flatten(2), two.flatten(2), dim=2)
    return product


def _wide(values: Tensor) -> Tensor:
    return values.unsqueeze(-1).unsqueeze(-1)
