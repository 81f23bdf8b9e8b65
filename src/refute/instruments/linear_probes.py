"""Linear probes: what a linear map can read from a representation, fitted for all replicas at once.

    ridge     min_{W, b}  sum_i |y_i - W x_i - b|^2 + penalty |W|_F^2
    logistic  min_{W, b}  sum_i s_i loss(W x_i + b, y_i) + penalty / 2 |W|_F^2

with the loss -log softmax for several classes and -log sigmoid for two (one output, for class 1), x the standardized
features, s_i = 1 or balanced weights. Intercepts are free; those of several classes sum to 0. These are the objectives
of scikit-learn's Ridge (alpha = penalty) and LogisticRegression (C = 1 / penalty), and both minima are unique.

Source: Alain & Bengio 2016 (arXiv 1610.01644), section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.features import check_features, own_labels
from refute.instruments.interface import Flags
from refute.instruments.logistic import LogisticProblem, minimize

TOLERANCE = 1e-4
"""Largest entry of the gradient of the mean loss at which a logistic probe has converged; scikit-learn's default."""
GROUP_BYTES = 2**23
"""Features of the replicas that are fitted together: about a core's share of cache (benchmarks/probes.py)."""


@dataclass(frozen=True)
class LinearProbe:
    """Linear maps fitted to features.

    `kernel` (replica, penalty, output, feature) and `bias` (replica, penalty, output), for features as they came;
    `penalties`; `steps` (replica, penalty) int64, of the quasi-Newton method, 0 for ridge; `gradient`
    (replica, penalty): largest entry of the gradient of the mean loss where it stopped. Flags: "not converged",
    "a class is empty", "fewer examples than features" (the smallest penalty decides what is read).
    """

    kernel: Tensor
    bias: Tensor
    penalties: tuple[float, ...]
    steps: Tensor
    gradient: Tensor
    flags: Flags

    def scores(self, features: Tensor) -> Tensor:
        """W x + b, (replica, penalty, example, output)."""
        check_features(features)
        flat = self.kernel.flatten(1, 2).to(features)
        found = torch.baddbmm(self.bias.flatten(1).unsqueeze(1).to(features), features, flat.transpose(1, 2))
        return found.view(*found.shape[:2], *self.kernel.shape[1:3]).transpose(1, 2)

    def predicted(self, features: Tensor) -> Tensor:
        """Class of the largest score, or of the sign of a single one, int64 (replica, penalty, example)."""
        scores = self.scores(features)
        return (scores.squeeze(-1) > 0).long() if scores.shape[-1] == 1 else scores.argmax(dim=-1)

    def accuracy(self, features: Tensor, labels: Tensor) -> Tensor:
        """Share of examples told right, in [0, 1], float64 (replica, penalty)."""
        own = own_labels(labels, features)
        return (self.predicted(features) == own.unsqueeze(1)).double().mean(dim=2)

    def chosen(self, index: Tensor) -> "LinearProbe":
        """The probe of one penalty for each replica, as one penalty (nan as its number); `index` (replica,)."""
        rows = torch.arange(len(index), device=index.device)
        kernel, bias, steps, gradient = (
            part[rows, index].unsqueeze(1) for part in (self.kernel, self.bias, self.steps, self.gradient)
        )
        return LinearProbe(kernel, bias, (float("nan"),), steps, gradient, self.flags)


@torch.no_grad()
def ridge_probe(
    features: Tensor, targets: Tensor, *, penalties: Sequence[float] = (1.0,), standardize: bool = True
) -> LinearProbe:
    """Ridge regression of values, or of classes as targets +1 and -1 (as scikit-learn's RidgeClassifier).

    Args:
        features: (replica, example, feature).
        targets: values (replica, example, output), or labels (replica, example) or (example,); two classes have one
            output.
        penalties: each at least 0; with 0 and fewer examples than features, the solution of least norm.
        standardize: divide features by their standard deviation first; they are centred in any case.

    Raises:
        ShapeError: features or targets that do not fit.
        UsageError: penalties that are missing or negative.

    >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
    >>> found = ridge_probe(x, 3 * x + 1, penalties=[0.0])
    >>> round(found.kernel.item(), 4), round(found.bias.item(), 4)
    (3.0, 1.0)
    """
    check_features(features)
    values, empty = _values(features, targets)
    settings = _checked(penalties, least=0.0)
    found = []
    for rows in _groups(features):
        prepared = _prepare(features[rows], standardize)
        y = values[rows].to(prepared.x)
        centre = y.mean(dim=1, keepdim=True)
        gram = (prepared.x.transpose(1, 2) @ prepared.x).double()
        moment = (prepared.x.transpose(1, 2) @ (y - centre)).double()
        solved = torch.stack([_solved(gram, moment, penalty) for penalty in settings], dim=1)
        found.append(prepared.restored(solved, centre.double().expand(-1, len(settings), -1)))
    kernel, bias = (torch.cat(part) for part in zip(*found, strict=True))
    nothing = torch.zeros(kernel.shape[:2], device=kernel.device)
    flags = _flags(features, empty, torch.zeros_like(empty))
    return LinearProbe(kernel, bias, settings, nothing.long(), nothing, flags)


@torch.no_grad()
def logistic_probe(
    features: Tensor,
    labels: Tensor,
    *,
    penalties: Sequence[float] = (1.0,),
    balanced: bool = False,
    standardize: bool = True,
    tolerance: float = TOLERANCE,
    iterations: int = 1000,
) -> LinearProbe:
    """Logistic regression, of two classes (one output) or more.

    Args:
        features: (replica, example, feature); the type they come in is the type of the fit.
        labels: 0 to C - 1, (replica, example) or (example,); bool for two.
        penalties: each above 0, all fitted in the same passes over the features.
        balanced: every class weighs the same in all, s_i = examples / (C x examples of the class).
        standardize: divide features by their standard deviation first; they are centred in any case.
        tolerance: for the largest entry of the gradient of the mean loss.
        iterations: quasi-Newton steps at most.

    Raises:
        ShapeError: features or labels that do not fit.
        UsageError: penalties that are missing or not above 0, fewer than 2 classes, a tolerance not above 0.

    >>> x = torch.randn(2, 200, 3, generator=torch.Generator().manual_seed(0))
    >>> found = logistic_probe(x, x[..., 0] > 0)
    >>> bool((found.accuracy(x, x[..., 0] > 0) > 0.97).all())
    True
    """
    own = own_labels(labels, features).long()
    check_features(features, own)
    settings = _checked(penalties, least=torch.finfo(torch.float64).tiny)
    classes = int(own.max()) + 1
    if classes < 2 or int(own.min()) < 0:
        raise UsageError(f"labels must be of 2 classes or more from 0 on, {int(own.min())} to {classes - 1} came")
    if tolerance <= 0 or iterations < 1:
        raise UsageError(f"tolerance must be above 0 and iterations at least 1, {tolerance}, {iterations} came")
    counts = torch.nn.functional.one_hot(own, classes).sum(dim=1)
    weights = own.shape[1] / (classes * counts).double() if balanced else torch.ones_like(counts, dtype=torch.float64)
    found, steps, gradients, unfinished = [], [], [], []
    for rows in _groups(features):
        prepared = _prepare(features[rows], standardize)
        x = prepared.whole
        problem = LogisticProblem(
            x,
            _one_hot(own[rows], classes).to(x).transpose(1, 2).unsqueeze(1).contiguous(),
            weights[rows].gather(1, own[rows]).to(x).view(len(x), 1, 1, -1) if balanced else None,
            torch.tensor(settings, dtype=x.dtype, device=x.device),
        )
        fitted = minimize(problem, tolerance, iterations)
        solved = fitted.at.double().transpose(2, 3)
        found.append(prepared.restored(solved[:, :, :-1], solved[:, :, -1]))
        steps.append(fitted.steps)
        gradients.append(fitted.gradient)
        unfinished.append(fitted.gradient > tolerance)
    kernel, bias = (torch.cat(part) for part in zip(*found, strict=True))
    flags = _flags(features, (counts == 0).any(dim=1), torch.cat(unfinished).any(dim=1))
    return LinearProbe(kernel, bias, settings, torch.cat(steps), torch.cat(gradients), flags)


@dataclass(frozen=True)
class _Prepared:
    """Centred, scaled features, and the constant 1 after them: `whole` (replica, example, direction + 1); with `frame`
    where these directions were rotated."""

    whole: Tensor
    mean: Tensor
    scale: Tensor
    frame: Tensor | None

    @property
    def x(self) -> Tensor:
        """Without the constant, (replica, example, direction)."""
        return self.whole[:, :, :-1]

    def restored(self, solved: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel (replica, penalty, output, feature) and bias for features as they came, from float64
        (replica, penalty, direction, output) and (replica, penalty, output)."""
        own = solved if self.frame is None else self.frame.double().unsqueeze(1) @ solved
        kernel = (own / self.scale.double().transpose(1, 2).unsqueeze(1)).transpose(2, 3)
        shift = (kernel @ self.mean.double().transpose(1, 2).unsqueeze(1)).squeeze(3)
        return kernel.to(self.x), (bias - shift).to(self.x)


def _prepare(features: Tensor, standardize: bool) -> _Prepared:
    mean = features.mean(dim=1, keepdim=True)
    whole = features.new_ones(*features.shape[:2], features.shape[2] + 1)
    centred = torch.sub(features, mean, out=whole[:, :, :-1])
    scale = torch.ones_like(mean)
    if standardize:
        deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
        rounding = 4 * torch.finfo(features.dtype).eps * mean.abs()
        scale = torch.where(deviation > rounding, deviation, scale)
        centred *= 1 / scale
    if features.shape[2] <= features.shape[1]:
        return _Prepared(whole, mean, scale, None)
    # solutions lie in the span of the examples: an orthonormal frame of it leaves the penalty as it is
    frame, triangle = torch.linalg.qr(centred.transpose(1, 2))
    turned = triangle.transpose(1, 2)
    return _Prepared(torch.cat([turned, torch.ones_like(turned[:, :, :1])], dim=2), mean, scale, frame)


def _solved(gram: Tensor, moment: Tensor, penalty: float) -> Tensor:
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(gram + penalty * identity)
    if penalty > 0 and not failed.any():
        return torch.cholesky_solve(moment, factor)
    solution: Tensor = torch.linalg.pinv(gram + penalty * identity, rtol=1e-12, hermitian=True) @ moment
    return solution


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return labels.unsqueeze(2) if classes == 2 else torch.nn.functional.one_hot(labels, classes)


def _values(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Targets of a ridge regression (replica, example, output), and where a class is empty (replica,)."""
    if targets.is_floating_point():
        if targets.ndim != 3 or targets.shape[:2] != features.shape[:2] or not bool(torch.isfinite(targets).all()):
            raise ShapeError(
                f"targets must be finite values ({features.shape[0]}, {features.shape[1]}, output), or labels; "
                f"{tuple(targets.shape)} came"
            )
        return targets, torch.zeros(len(features), dtype=torch.bool, device=features.device)
    own = own_labels(targets, features).long()
    check_features(features, own)
    classes = max(int(own.max()) + 1, 2)
    counts = torch.nn.functional.one_hot(own, classes).sum(dim=1)
    return 2.0 * _one_hot(own, classes) - 1, (counts == 0).any(dim=1)


def _checked(penalties: Sequence[float], *, least: float) -> tuple[float, ...]:
    found = tuple(float(penalty) for penalty in penalties)
    if not found or any(not least <= penalty < float("inf") for penalty in found):
        bound = "at least 0" if least == 0 else "above 0"
        raise UsageError(f"penalties must be numbers {bound}, one or more; {found} came")
    return found


def _groups(features: Tensor) -> list[slice]:
    each = max(1, GROUP_BYTES // (features[0].numel() * features.element_size()))
    return [slice(first, first + each) for first in range(0, len(features), each)]


def _flags(features: Tensor, empty: Tensor, unfinished: Tensor) -> Flags:
    few = torch.full_like(empty, features.shape[1] < features.shape[2])
    return {"not converged": unfinished, "a class is empty": empty, "fewer examples than features": few}
