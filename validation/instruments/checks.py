"""Every family of instruments against an independent computation, in float64, on small cases of its own.

The others: dense Hessians and Jacobians of an nn.Module of the same weights by torch.func, numpy, scipy, scikit-learn,
curvlinops and torchattacks where they are installed, closed forms, and plain loops. Every number of
docs/instrument_checks.md comes from here; a deviation above its tolerance ends the script with 1.
Run: python validation/instruments/checks.py --write docs/instrument_checks.md
"""

import argparse
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import integrate, interpolate, ndimage, optimize, signal, special, stats
from scipy.spatial import distance
from sklearn import linear_model, metrics, svm
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev
from torch.nn import functional

from refute import architectures
from refute import instruments as tools
from refute.architectures import Network, Weights
from refute.instruments.covariate_shift import layer_inputs
from refute.instruments.hessian import cast
from refute.instruments.paths import profile_of
from refute.instruments.warping import warp
from refute.randomness import stream

try:
    import curvlinops
except ImportError:
    curvlinops = None
try:
    import torchattacks
except ImportError:
    torchattacks = None


class Check(NamedTuple):
    """`deviation` and `tolerance` in `unit`; a deviation of None: `against` is not installed."""

    quantity: str
    against: str
    deviation: float | None
    tolerance: float
    unit: str = ""


Checks = Iterator[Check]
EXACT, DIGITS, SOLVED = 0.0, 1e-10, 1e-6
"""Counts and classes; the same formula in another order; what an iteration has found."""


def off(found: Tensor | np.ndarray | float, other: Tensor | np.ndarray | float | list[float]) -> float:
    """Largest |found - other| in units of the largest |other| (of 1 where that is 0); inf where only one is nan."""
    one, two = (
        np.asarray(each.detach() if isinstance(each, Tensor) else each, dtype=np.float64) for each in (found, other)
    )
    if one.shape != two.shape:
        raise ValueError(f"{one.shape} is compared with {two.shape}")
    if not np.array_equal(np.isfinite(one), np.isfinite(two)):
        return math.inf
    endless = ~np.isfinite(one)
    if not np.array_equal(one[endless], two[endless], equal_nan=True):
        return math.inf
    one, two = one[~endless], two[~endless]
    if one.size == 0:
        raise ValueError("nothing is left to compare")
    return float(np.abs(one - two).max() / (np.abs(two).max() or 1.0))


# --- small cases ----------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A cohort off its initial weights, with examples that all replicas share."""

    network: Network
    weights: Weights
    inputs: Tensor
    labels: Tensor
    seeds: list[int]

    @property
    def arguments(self) -> tuple[Network, Weights, Tensor, Tensor]:
        return self.network, self.weights, self.inputs, self.labels

    @property
    def replicas(self) -> range:
        return range(self.weights.replicas)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(seed: int, count: int, *shape: int) -> Tensor:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(seed))


def case(
    seed: int, *, replicas: int = 3, examples: int = 24, features: int = 4, spread: float = 0.4, **options: object
) -> Case:
    chosen = {"depth": 2, "width": 5, "activation": "tanh"} | options
    network = architectures.build("mlp", (features,), 3, **chosen)
    seeds = [1000 + seed + r for r in range(replicas)]
    weights = cast(network.initialize(seeds), torch.float64)
    weights.flat.add_(spread * normal(seed, *weights.flat.shape))
    return Case(network, weights, normal(seed + 1, examples, features), classes(seed + 2, 3, examples), seeds)


FUNCTIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def module(made: Case, replica: int, weights: Weights | None = None) -> nn.Sequential:
    """One replica of an mlp as a module of torch alone."""
    own = made.weights if weights is None else weights
    parts: list[nn.Module] = []
    for layer in made.network.layers:
        kind = type(layer).__name__
        if kind == "Dense":
            kernel, bias = own[f"{layer.name}.weight"][replica], own.get(f"{layer.name}.bias")
            linear = nn.Linear(kernel.shape[1], kernel.shape[0], bias=bias is not None, dtype=torch.float64)
            linear.weight.data.copy_(kernel)
            if bias is not None:
                linear.bias.data.copy_(bias[replica])
            parts.append(linear)
        elif kind == "Activation":
            parts.append(FUNCTIONS[layer.function]())
        elif kind != "Flatten":
            raise ValueError(f"{kind} has no counterpart here")
    return nn.Sequential(*parts)


def function_of(alone: nn.Module) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """(vector of parameters, inputs) -> outputs, and the vector."""
    named = {name: each.detach() for name, each in alone.named_parameters()}

    def outputs(flat: Tensor, inputs: Tensor) -> Tensor:
        pieces = torch.split(flat, [each.numel() for each in named.values()])
        own = {name: piece.view(each.shape) for (name, each), piece in zip(named.items(), pieces, strict=True)}
        return functional_call(alone, own, inputs)

    return outputs, torch.cat([each.flatten() for each in named.values()])


def loss_of(made: Case, replica: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    outputs, flat = function_of(module(made, replica))
    return lambda at: functional.cross_entropy(outputs(at, made.inputs), made.labels), flat


def gradients(made: Case) -> Tensor:
    return torch.stack([torch.func.grad(loss)(flat) for loss, flat in (loss_of(made, r) for r in made.replicas)])


def hessians(made: Case) -> Tensor:
    """(replica, parameter, parameter)."""
    return torch.stack([hessian(loss)(flat) for loss, flat in (loss_of(made, r) for r in made.replicas)])


def gauss_newtons(made: Case) -> Tensor:
    """mean_i J_i^T (diag(p_i) - p_i p_i^T) J_i."""
    found = []
    for replica in made.replicas:
        outputs, flat = function_of(module(made, replica))
        jacobian = jacrev(outputs)(flat, made.inputs)
        p = outputs(flat, made.inputs).softmax(dim=1)
        bend = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
        found.append(torch.einsum("nkp,nkl,nlq->pq", jacobian, bend, jacobian) / len(p))
    return torch.stack(found)


def outputs_of(made: Case, weights: Weights | None = None, inputs: Tensor | None = None) -> Tensor:
    """(replica, example, output), each replica a module by itself."""
    x = made.inputs if inputs is None else inputs
    return torch.stack([module(made, r, weights)(x) for r in made.replicas]).detach()


def accuracies(outputs: Tensor, labels: Tensor) -> list[float]:
    return [float(metrics.accuracy_score(labels, own.argmax(dim=1))) for own in outputs]


def bowl(seed: int) -> tuple[Network, Weights, Tensor, Tensor, Tensor]:
    """A linear net at its minimum, with the Hessian diag(values), under the loss "squared"."""
    network = architectures.build("mlp", (4,), 1, depth=0, bias=False)
    weights = cast(network.initialize([seed]), torch.float64)
    scales = 0.5 + 2 * uniform(seed, 4)
    inputs = torch.diag(scales)
    return network, weights, inputs, inputs @ weights.flat[0].unsqueeze(1), scales.square() / 4


# --- curvature ------------------------------------------------------------------------------------------------------


def check_hessian() -> Checks:
    made = case(100)
    at = tools.curvature(*made.arguments)
    vectors = normal(101, 3, 4, at.parameters)
    dense, middle = hessians(made), gauss_newtons(made)
    theirs = {"hessian": dense, "gauss-newton": middle, "residual": dense - middle}
    worst = max(off(at.product(vectors, name), vectors @ matrix) for name, matrix in theirs.items())
    yield Check("products with Hessian, Gauss-Newton matrix, residual", "dense matrices by torch.func", worst, DIGITS)
    yield Check("gradient", "torch.func.grad of modules alone", off(at.gradient, gradients(made)), DIGITS)
    if curvlinops is None:
        yield Check("products with Hessian, Gauss-Newton matrix", "curvlinops", None, DIGITS)
        return
    worst, identity = 0.0, torch.eye(at.parameters, dtype=torch.float64)
    for replica in made.replicas:
        alone, data = module(made, replica), [(made.inputs, made.labels)]
        for name, kind in (("hessian", "HessianLinearOperator"), ("gauss-newton", "GGNLinearOperator")):
            operator = getattr(curvlinops, kind)(alone, nn.CrossEntropyLoss(), list(alone.parameters()), data)
            found = at.product(identity.expand(3, -1, -1), name)[replica]
            worst = max(worst, off(found, (operator @ identity).T))
    yield Check("products with Hessian, Gauss-Newton matrix", "curvlinops", worst, DIGITS)


def check_eigenvalues() -> Checks:
    made = case(110)
    dense, middle = hessians(made), gauss_newtons(made)
    # 24 examples of 3 classes leave the Gauss-Newton matrix the eigenvalue 0 many times, and Lanczos sees no copies
    for name, matrix, smallest in (("hessian", dense, 3), ("gauss-newton", middle, 1), ("residual", dense - middle, 3)):
        found = tools.eigenvalues(
            *made.arguments,
            seeds=made.seeds,
            largest=4,
            smallest=smallest,
            matrix=name,
            tolerance=1e-8,
        )
        exact = torch.linalg.eigvalsh(matrix)
        exact = torch.cat([exact.flip(1)[:, :4], exact[:, :smallest].flip(1)], dim=1)
        quantity = f"{name} matrix: 4 largest, {smallest} smallest{' (0, a multiple one)' if smallest == 1 else ''}"
        yield Check(quantity, "eigvalsh, dense", off(found.values, exact), SOLVED)


def check_trace() -> Checks:
    made = case(120)
    dense = hessians(made)
    exact = dense.diagonal(dim1=1, dim2=2).sum(dim=1)
    full = tools.trace(*made.arguments, seeds=made.seeds, products=3 * dense.shape[1], method="hutch++")
    yield Check("Hutch++ with as many products as it takes", "trace, dense", off(full.value, exact), DIGITS)
    drawn = tools.trace(*made.arguments, seeds=made.seeds, products=4000)
    away = ((drawn.value - exact).abs() / drawn.standard_error).max().item()
    yield Check("Hutchinson, 4000 products", "trace, dense", away, 4.0, "standard errors")


def check_spectrum() -> Checks:
    made = case(130)
    exact = torch.linalg.eigvalsh(hessians(made))
    found = tools.spectral_density(*made.arguments, seeds=made.seeds, probes=1, steps=exact.shape[1])
    yield Check(
        "nodes of as many Lanczos steps as parameters", "eigvalsh, dense", off(found.nodes[:, 0], exact), SOLVED
    )
    many = tools.spectral_density(*made.arguments, seeds=made.seeds, probes=400, steps=8)
    worst = 0.0
    for order in (1, 2, 3, 4):
        estimate = many.moment(order)
        away = (estimate.value - (exact**order).sum(dim=1)).abs() / estimate.standard_error
        worst = max(worst, away.max().item())
    yield Check("tr A to tr A^4, 400 probes", "powers of dense eigenvalues", worst, 4.0, "standard errors")


def check_directional() -> Checks:
    made = case(140)
    found = tools.gradient_curvature(*made.arguments, seeds=made.seeds)
    g = gradients(made)
    unit, whole, middle = g / g.norm(dim=1, keepdim=True), hessians(made), gauss_newtons(made)
    along = {name: torch.einsum("ri,rij,rj->r", unit, matrix, unit) for name, matrix in zip("AG", (whole, middle))}  # noqa: B905
    size = torch.linalg.matrix_norm(whole - middle, ord=2)
    other = torch.stack([along["A"], along["G"], along["A"] - along["G"], (along["A"] - along["G"]).abs() / size])
    mine = torch.stack([found.hessian, found.gauss_newton, found.residual, found.orthogonality])
    yield Check("curvatures along the gradient, orthogonality", "quadratic forms, dense", off(mine, other), SOLVED)
    step = tools.step_curvature(*made.arguments, -1e-4 * g)
    yield Check("second difference along a short step", "quadratic form, dense", off(step.value, along["A"]), 1e-3)


def check_critical() -> Checks:
    made = case(150)
    found = tools.critical_sharpness(*made.arguments, bisections=40)
    g, other = gradients(made), []
    for replica in made.replicas:
        loss, flat = loss_of(made, replica)
        rise = lambda eta, loss=loss, flat=flat, g=g[replica]: float(loss(flat - eta * g) - loss(flat))
        grid = np.geomspace(1e-2, 1e4, 3000)
        first = next(place for place, eta in enumerate(grid) if rise(eta) > 0)
        other.append(2 / optimize.brentq(rise, grid[first - 1], grid[first], xtol=1e-13))
    yield Check("critical sharpness", "first root on a fine grid, scipy brentq", off(found.value, other), SOLVED)


def check_sharpness() -> Checks:
    network, weights, inputs, values, bend = bowl(160)
    epsilon = 0.01
    found = tools.epsilon_sharpness(network, weights, inputs, values, seeds=[161], epsilon=epsilon, loss="squared")
    half = epsilon * (weights.flat[0].abs() + 1)
    other = 100 * (bend * half.square()).sum() / 2
    yield Check("epsilon-sharpness of a separable bowl", "its value at a corner", off(found.value[0], other), DIGITS)


def check_perturbation() -> Checks:
    network, weights, inputs, values, bend = bowl(170)
    near = weights.clone()
    near.flat.add_(1e-7)
    worst = tools.sam_sharpness(
        network, near, inputs, values, rho=0.2, steps=300, starts=3, seeds=[171], loss="squared"
    )
    yield Check("largest rise in a ball, of a bowl", "lambda_1 rho^2 / 2", off(worst.value[0], bend.max() * 0.02), 1e-2)
    made = case(172)
    mine = tools.sam_sharpness(*made.arguments, rho=0.1)
    other = []
    for replica, g in enumerate(gradients(made)):
        loss, flat = loss_of(made, replica)
        other.append(float(loss(flat + 0.1 * g / g.norm()) - loss(flat)))
    yield Check("rise after the first-order step", "a module alone", off(mine.value, other), DIGITS)
    mean = tools.average_sharpness(*made.arguments, seeds=made.seeds, rho=0.02, draws=2000)
    trace = hessians(made).diagonal(dim1=1, dim2=2).sum(dim=1)
    expected = 0.02**2 * trace / made.weights.flat.shape[1] / 2
    away = ((mean.value - expected).abs() / mean.standard_error).max().item()
    yield Check("mean rise in a small ball", "sigma^2 tr A / 2, dense", away, 4.0, "standard errors")


def check_pac_bayes() -> Checks:
    network = architectures.build("mlp", (6,), 2, depth=0, bias=False)
    weights = cast(network.initialize([180, 181]), torch.float64)
    inputs = normal(182, 300, 6)
    w = weights["output.weight"]
    labels = ((w[:, 1] - w[:, 0]) @ inputs.T > 0).long()
    own = inputs.expand(2, -1, -1)
    found = tools.pac_bayes_sigma(
        network, weights, own, labels, seeds=[183, 184], draws=8000, bisections=30, tolerance=1e-4
    )
    other = []
    for replica in range(2):
        margin = ((w[replica, 1] - w[replica, 0]) @ inputs.T).abs() / inputs.norm(dim=1)
        fall = lambda s, m=margin: stats.norm.cdf(m.numpy() / (s * math.sqrt(2))).mean() - 0.9
        other.append(optimize.brentq(fall, 1e-6, 10))
    yield Check("largest noise of linear nets, 8000 draws", "Gaussian integral, brentq", off(found.sigma, other), 0.01)


def check_relative_flatness() -> Checks:
    made = case(190)
    squares = []
    for replica in made.replicas:
        outputs, flat = function_of(module(made, replica))
        each = jacrev(lambda at, f=outputs: functional.cross_entropy(f(at, made.inputs), made.labels, reduction="none"))
        squares.append((each(flat) @ flat).square().mean().sqrt())
    found = tools.fisher_rao_norm(*made.arguments)
    yield Check("Fisher-Rao norm", "gradients of single examples", off(found.value, torch.stack(squares)), DIGITS)
    flat = tools.relative_flatness(*made.arguments, seeds=made.seeds, probes=1000)
    dense, places = hessians(made).diagonal(dim1=1, dim2=2), tools.curvature(*made.arguments).places
    exact = [
        dense[:, places[name]].sum(dim=1) * made.weights[name].flatten(1).square().sum(dim=1) for name in flat.kernels
    ]
    away = ((flat.value - torch.stack(exact, dim=1)).abs() / flat.standard_error).max().item()
    yield Check("relative flatness, 1000 probes", "blocks of the dense Hessian", away, 4.0, "standard errors")


# --- weights and paths ----------------------------------------------------------------------------------------------


def check_alignment() -> Checks:
    one, two = case(200, width=4), case(205, width=4)
    found = tools.align(one.network, one.weights, two.weights, seeds=one.seeds, starts=30)
    other = []
    for replica in one.replicas:
        a, b = ([each[replica] for each in own.weights.values()] for own in (one, two))
        best = math.inf
        for p, q in itertools.product(itertools.permutations(range(4)), repeat=2):
            first, second = list(p), list(q)
            moved = [b[0][first], b[1][first], b[2][second][:, first], b[3][second], b[4][:, second], b[5]]
            best = min(best, float(sum((x - y).square().sum() for x, y in zip(a, moved, strict=True))))
        other.append(math.sqrt(best))
    yield Check("least distance over hidden permutations", "all 576 of them", off(found.after, other), DIGITS)


def check_bezier() -> Checks:
    one, two = case(210), case(215)
    curve = tools.train_curve(
        one.network, one.weights, two.weights, one.inputs, one.labels, seeds=one.seeds, steps=20, bends=2
    )
    points = torch.cat([one.weights.flat[:, None], curve.bends, two.weights.flat[:, None]], dim=1)
    shares = [0.0, 0.2, 0.5, 0.9, 1.0]
    mine = torch.stack([curve.at(share).flat for share in shares])
    other = np.stack([interpolate.BPoly(points[r].numpy()[:, None], [0, 1])(shares) for r in one.replicas], axis=1)
    yield Check("points of a trained cubic curve", "scipy BPoly", off(mine, other), DIGITS)
    lowest = profile_of(one.network, curve.at, one.inputs, one.labels, points=11)
    losses = [
        functional.cross_entropy(
            outputs_of(one, curve.at(share)).transpose(1, 2), one.labels.expand(3, -1), reduction="none"
        )
        for share in lowest.fractions.tolist()
    ]
    other_losses = torch.stack(losses, dim=1).mean(dim=2)
    yield Check("loss along it", "modules alone", off(lowest.losses, other_losses), DIGITS)


def check_paths() -> Checks:
    one, two = case(220), case(225)
    found = tools.line_profile(one.network, one.weights, two.weights, one.inputs, one.labels, points=9)
    losses, wrong = [], []
    for share in np.linspace(0, 1, 9):
        between = Weights(one.weights.slots, one.weights.flat.lerp(two.weights.flat, float(share)))
        outputs = outputs_of(one, between)
        losses.append([functional.cross_entropy(own, one.labels).item() for own in outputs])
        wrong.append([1 - share_right for share_right in accuracies(outputs, one.labels)])
    yield Check("loss on a straight line", "modules alone", off(found.losses, np.array(losses).T), DIGITS)
    yield Check("error on it", "scikit-learn accuracy_score", off(found.errors, np.array(wrong).T), DIGITS)
    own = np.array(losses)
    height = own.max(axis=0) - (own[0] + own[-1]) / 2
    yield Check("height of the barrier", "numpy", off(tools.barrier(found).loss, height), DIGITS)


def check_steps() -> Checks:
    snapshots = [case(230 + k).weights for k in range(5)]
    found = tools.step_angles([Weights(snapshots[0].slots, each.flat) for each in snapshots])
    moves = torch.stack([b.flat - a.flat for a, b in itertools.pairwise(snapshots)], dim=1).numpy()
    cosines = [[1 - distance.cosine(u, v) for u, v in itertools.pairwise(own)] for own in moves]
    yield Check("cosines of successive steps", "scipy distance.cosine", off(found.cosines, np.array(cosines)), DIGITS)
    lengths = np.linalg.norm(moves, axis=2)
    direct = np.linalg.norm(moves.sum(axis=1), axis=1) / lengths.sum(axis=1)
    yield Check("directness", "numpy", off(found.directness, direct), DIGITS)


def check_rotation() -> Checks:
    one, two = case(240), case(245)
    kernels = one.network.kernels
    other = [
        [distance.cosine(one.weights[k][r].flatten(), two.weights[k][r].flatten()) for k in kernels]
        for r in one.replicas
    ]
    found = tools.layer_rotation(one.weights, two.weights)
    yield Check("cosine distance of kernels", "scipy distance.cosine", off(found, np.array(other)), DIGITS)


def check_criticality() -> Checks:
    one, two = case(250, examples=200), case(255)
    found = tools.reset_accuracy(one.network, one.weights, two.weights, one.inputs, one.labels)
    other = []
    for names in one.network.units.values():
        mixed = one.weights.clone()
        for name in names:
            mixed[name].copy_(two.weights[name])
        other.append(accuracies(outputs_of(one, mixed), one.labels))
    yield Check(
        "accuracy after one layer's reset", "a module of the mixed weights", off(found, np.array(other).T), EXACT
    )


def check_layer_norms() -> Checks:
    made = case(260)
    found = tools.layer_norms(made.network, made.weights)
    other = np.empty((4, 3, 3))
    for r, (k, name) in itertools.product(made.replicas, enumerate(made.network.kernels)):
        matrix = made.weights[name][r].numpy()
        values = np.linalg.svd(matrix, compute_uv=False)
        rank = np.exp(stats.entropy(values))
        other[:, r, k] = (
            np.linalg.norm(matrix, 2),
            np.linalg.norm(matrix, "nuc"),
            rank,
            (values**2).sum() / values[0] ** 2,
        )
    mine = torch.stack([found.spectral, found.nuclear, found.effective_rank, found.stable_rank])
    yield Check("norms and ranks of kernels", "numpy, scipy entropy", off(mine, other), DIGITS)
    kernel, side = normal(261, 2, 3, 2, 3, 3), 6
    largest = []
    for own in kernel:
        images = torch.eye(2 * side * side, dtype=torch.float64).view(-1, 2, side, side)
        padded = functional.pad(images, (1, 1, 1, 1), mode="circular")
        largest.append(np.linalg.norm(functional.conv2d(padded, own).flatten(1).numpy(), 2))
    found_norms = tools.convolution_norms(kernel, (side, side))
    yield Check("norm of a circular convolution", "its dense matrix", off(found_norms, largest), DIGITS)


def check_normalized_margin() -> Checks:
    made = case(270, activation="relu", bias=False, spread=0.0)
    labels = made.network.evaluate(made.weights, made.inputs)[0].argmax(dim=1)
    found = tools.normalized_margin(made.network, made.weights, made.inputs, labels)
    normalized, smoothed = [], []
    for replica, outputs in enumerate(outputs_of(made).numpy()):
        size = float(made.weights.flat[replica].norm()) ** 3
        margins = [row[y] - max(np.delete(row, y)) for row, y in zip(outputs, labels.tolist(), strict=True)]
        losses = special.logsumexp(outputs, axis=1) - outputs[np.arange(len(labels)), labels]
        normalized.append(min(margins) / size)
        smoothed.append(-math.log(math.expm1(losses.sum())) / size)
    mine = torch.stack([found.normalized, found.smoothed])
    yield Check(
        "normalized and smoothed margin",
        "a loop over modules alone",
        off(mine, np.array([normalized, smoothed])),
        DIGITS,
    )


def check_max_margin() -> Checks:
    w = normal(280, 3, 5)
    x = normal(281, 3, 60, 5)
    scores = torch.einsum("rnf,rf->rn", x, w)
    z = (
        x
        + 0.3
        * (scores.sign() / w.norm(dim=1, keepdim=True)).unsqueeze(2)
        * (w / w.norm(dim=1, keepdim=True)).unsqueeze(1)
    ) * scores.sign().unsqueeze(2)
    found = tools.max_margin(z)
    margins = []
    for own in z.numpy():
        both, y = np.concatenate([own, -own]), np.repeat([1, -1], len(own))
        machine = svm.SVC(C=1e8, kernel="linear", tol=1e-9).fit(both, y)
        margins.append(1 / np.linalg.norm(machine.coef_))
    yield Check("largest L2 margin", "scikit-learn SVC, C = 1e8", off(found.margin, margins), 1e-5)
    other = []
    for own in z.numpy():
        count = len(own)
        equal, cost = np.ones((1, count)), np.r_[np.zeros(count), np.ones(5)]
        bounds = np.block([[own.T, -np.eye(5)], [-own.T, -np.eye(5)]])
        solved = optimize.linprog(cost, bounds, np.zeros(10), np.c_[equal, np.zeros((1, 5))], [1.0])
        other.append(solved.fun)
    yield Check(
        "largest L-infinity margin", "the dual linear program", off(tools.max_margin_infinity(z), other), SOLVED
    )


# --- layers and representations -------------------------------------------------------------------------------------


def hooked(alone: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Outputs of every part, caught by forward hooks."""
    seen: list[Tensor] = []
    for part in alone:
        part.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    alone(inputs)
    return seen


def check_activations() -> Checks:
    made = case(300)
    found = list(tools.layer_outputs(made.network, made.weights, made.inputs).values())[1:]  # but the flattened inputs
    worst = 0.0
    for replica in made.replicas:
        theirs = hooked(module(made, replica), made.inputs)
        worst = max(worst, *(off(a[replica], b) for a, b in zip(found, theirs, strict=True)))
    yield Check("outputs of every layer", "forward hooks on modules alone", worst, DIGITS)


def check_features() -> Checks:
    made = case(310)
    found = tools.representations(made.network, made.weights, made.inputs)
    last = tools.last_layer(made.network, made.weights, made.inputs)
    worst = 0.0
    for replica in made.replicas:
        parts = hooked(module(made, replica), made.inputs)
        theirs = [made.inputs, parts[1], parts[3], parts[4]]
        worst = max(worst, *(off(a[replica], b) for a, b in zip(found.values(), theirs, strict=True)))
        worst = max(worst, off(last.features[replica], parts[3]))
    yield Check("representations, inputs of the last layer", "forward hooks on modules alone", worst, DIGITS)
    small = tools.projected(torch.eye(9, dtype=torch.float64).expand(3, -1, -1), 4, seeds=made.seeds)
    yield Check(
        "projection on a random frame", "orthonormality", off(small.mT @ small, torch.eye(4).expand(3, -1, -1)), DIGITS
    )


def check_cka() -> Checks:
    x, y = normal(320, 2, 9, 6), normal(321, 2, 9, 4)
    y = y + x[:, :, :4]
    plain, unbiased = [], []
    for a, b in zip(x.numpy(), y.numpy(), strict=True):
        kernels = {("x", "x"): (a @ a.T, a @ a.T), ("y", "y"): (b @ b.T, b @ b.T), ("x", "y"): (a @ a.T, b @ b.T)}
        centre = np.eye(9) - 1 / 9
        value = {key: np.trace(k @ centre @ m @ centre) for key, (k, m) in kernels.items()}
        plain.append(value["x", "y"] / math.sqrt(value["x", "x"] * value["y", "y"]))
        # the U-statistic: mean over four different examples of K_ij (L_ij + L_qr - 2 L_iq)
        value = {
            key: np.mean(
                [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in itertools.permutations(range(9), 4)]
            )
            for key, (k, m) in kernels.items()
        }
        unbiased.append(value["x", "y"] / math.sqrt(value["x", "x"] * value["y", "y"]))
    mine = tools.linear_cka(x, y, debiased=False).value
    yield Check("biased CKA", "centred Gram matrices, numpy", off(mine, plain), DIGITS)
    yield Check("debiased CKA", "U-statistic over all quadruples", off(tools.linear_cka(x, y).value, unbiased), DIGITS)


def check_effective_dimension() -> Checks:
    features, labels = normal(330, 2, 60, 7) * torch.arange(1, 8), torch.arange(60) % 3
    found = tools.effective_dimension(features, labels)
    other: dict[str, list[float]] = {name: [] for name in found.values}
    for own, label in itertools.product(features.numpy(), range(3)):
        values = np.linalg.eigvalsh(np.cov(own[labels == label].T))[::-1]
        p = values / values.sum()
        other["participation"].append(values.sum() ** 2 / (values**2).sum())
        other["singular"].append(np.sqrt(values).sum() ** 2 / values.sum())
        other["entropy"].append(math.exp(stats.entropy(p)))
        other["ninety"].append(int(np.searchsorted(np.cumsum(p), 0.9)) + 1)
        other["stable"].append(values.sum() / values[0])
    worst = max(off(found.values[name].flatten(), values) for name, values in other.items())
    yield Check("five definitions per class", "numpy cov, scipy entropy", worst, DIGITS)


def check_neural_collapse() -> Checks:
    made = case(340, examples=60)
    last = tools.last_layer(made.network, made.weights, made.inputs)
    found = tools.neural_collapse(last, made.labels)
    names, other = ("nc1", "equinorm", "equiangle", "nc3", "nc4"), []
    y = made.labels.numpy()
    for replica in made.replicas:
        h, w = last.features[replica].numpy(), last.kernel[replica].numpy()
        means = np.stack([h[y == c].mean(axis=0) for c in range(3)])
        m = (means - means.mean(axis=0)).T
        inside = sum(np.outer(row - means[c], row - means[c]) for row, c in zip(h, y, strict=True)) / len(h)
        nc1 = np.trace(inside @ np.linalg.pinv(m @ m.T / 3, rcond=1e-10)) / 3
        lengths = np.linalg.norm(m, axis=0)
        angles = [1 - distance.cosine(m[:, i], m[:, j]) for i, j in itertools.combinations(range(3), 2)]
        nc3 = np.square(w.T / np.linalg.norm(w) - m / np.linalg.norm(m)).sum()
        said = last.outputs[replica].argmax(dim=1).numpy()
        nc4 = np.mean(said != distance.cdist(h, means).argmin(axis=1))
        other.append([nc1, lengths.std(ddof=1) / lengths.mean(), np.abs(np.array(angles) + 0.5).mean(), nc3, nc4])
    for name, values in zip(names, np.array(other).T, strict=True):
        yield Check(name, "numpy", off(getattr(found, name), values), DIGITS if name != "nc4" else EXACT)


def check_linear_probes() -> Checks:
    x, y = normal(350, 2, 80, 6), classes(351, 3, 2, 80)
    x = x + functional.one_hot(y, 6)
    penalties = (0.1, 10.0)
    ridge = tools.ridge_probe(x, y, penalties=penalties, standardize=False)
    logistic = tools.logistic_probe(x, y, penalties=penalties, standardize=False, tolerance=1e-10)
    off_ridge = off_logistic = 0.0
    for (r, own), (k, penalty) in itertools.product(enumerate(x.numpy()), enumerate(penalties)):
        one_hot = 2.0 * np.eye(3)[y[r]] - 1
        theirs = linear_model.Ridge(alpha=penalty).fit(own, one_hot)
        off_ridge = max(off_ridge, off(ridge.kernel[r, k], theirs.coef_), off(ridge.bias[r, k], theirs.intercept_))
        theirs = linear_model.LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=10000, solver="newton-cg").fit(
            own, y[r]
        )
        off_logistic = max(off_logistic, off(logistic.kernel[r, k], theirs.coef_))
    yield Check("ridge coefficients", "scikit-learn Ridge", off_ridge, DIGITS)
    yield Check("logistic coefficients", "scikit-learn LogisticRegression", off_logistic, SOLVED)


def check_concentration() -> Checks:
    x = normal(360, 2, 5, 12) * uniform(361, 2, 5, 12).square()
    found = tools.concentration(x)
    other: list[list[float]] = []
    for vector in np.abs(x.numpy()).reshape(-1, 12):
        spread = np.abs(np.subtract.outer(vector, vector)).sum() / (2 * 12 * vector.sum())
        taxi = vector.sum() / math.sqrt((vector**2).sum())
        shares = vector**2 / (vector**2).sum()
        hoyer = (math.sqrt(12) - taxi) / (math.sqrt(12) - 1)
        other.append([taxi, hoyer, spread, stats.entropy(vector), 1 / (shares**2).sum()])
    mine = [found.taxi_euclidean, found.hoyer, found.gini, found.entropy, found.participation]
    worst = max(off(a.flatten(), np.array(other)[:, k]) for k, a in enumerate(mine))
    yield Check("five measures", "mean absolute differences, scipy entropy, numpy", worst, DIGITS)


def check_dead_units() -> Checks:
    made = case(370, activation="relu", width=12, examples=80)
    made.weights["dense1.bias"].sub_(2.0)
    found = tools.filter_activity(made.network, made.weights, made.inputs, faint=0.1)
    dead, quiet = [], []
    for replica in made.replicas:
        parts = hooked(module(made, replica), made.inputs)
        units = torch.cat([parts[1], parts[3]], dim=1).T.tolist()
        silent = [max(unit) == 0 for unit in units]
        dead.append(100 * sum(silent) / len(units))
        quiet.append(
            [sum(a <= 0.1 * max(unit) for a in unit) / len(unit) if max(unit) > 0 else math.nan for unit in units]
        )
    yield Check("share of dead units", "a loop over hooked activations", off(found.sparsity, dead), DIGITS)
    mine = torch.cat(list(found.selectivity.values()), dim=1)
    yield Check("selectivity", "a loop over hooked activations", off(mine, np.array(quiet)), DIGITS)


def check_gradient_norms() -> Checks:
    made = case(380)
    found = tools.gradient_norms(*made.arguments)
    norms, variances = [], []
    for replica in made.replicas:
        alone = module(made, replica)
        functional.cross_entropy(alone(made.inputs), made.labels).backward()
        norms.append([part.weight.grad.norm().item() for part in alone if isinstance(part, nn.Linear)])
        variances.append([each.numpy().var() for each in hooked(alone, made.inputs)[::2]])
    yield Check("gradient norms of kernels", "backward of modules alone", off(found.norms, np.array(norms)), DIGITS)
    yield Check(
        "variances of pre-activations", "numpy on hooked outputs", off(found.variances, np.array(variances)), DIGITS
    )


def check_covariate_shift() -> Checks:
    one, two = case(390, examples=40), case(395)
    found = tools.input_drift(one.network, one.weights, two.weights, one.inputs, seeds=one.seeds, directions=20)
    before, after = (layer_inputs(one.network, own, one.inputs) for own in (one.weights, two.weights))
    moments, sliced = np.zeros((3, 3)), np.zeros((3, 3))
    for (k, name), r in itertools.product(enumerate(before), one.replicas):
        a, b = before[name][r].numpy(), after[name][r].numpy()
        drift = math.sqrt(np.mean((b.mean(0) - a.mean(0)) ** 2 / (a.var(0) + 1e-8)))
        stretch = math.sqrt(np.mean((np.log(b.var(0) + 1e-8) - np.log(a.var(0) + 1e-8)) ** 2) / 4)
        moments[r, k] = drift + stretch
        generator = stream(one.seeds[r], f"directions-{a.shape[1]}")
        lines = torch.randn(a.shape[1], 20, generator=generator, dtype=torch.float64).numpy()
        lines /= np.linalg.norm(lines, axis=0)
        each = [stats.wasserstein_distance(a @ line, b @ line) for line in lines.T]
        sliced[r, k] = np.mean(each) / math.sqrt(a.var(0).sum())
    yield Check("drift of moments", "numpy", off(found.moments, moments), DIGITS)
    yield Check("sliced Wasserstein distance", "scipy wasserstein_distance", off(found.distribution, sliced), DIGITS)
    shift = tools.gradient_shift(one.network, one.weights, two.weights, one.inputs, one.labels)
    other = np.zeros((3, 3))
    for (k, names), r in itertools.product(enumerate(one.network.units.values()), one.replicas):
        mixed = one.weights.clone()
        for below in list(one.network.units.values())[:k]:
            for name in below:
                mixed[name].copy_(two.weights[name])
        slopes = []
        for weights in (one.weights, mixed):
            alone = module(one, r, weights)
            functional.cross_entropy(alone(one.inputs), one.labels).backward()
            layer = alone[2 * k]
            slopes.append(torch.cat([layer.weight.grad.flatten(), layer.bias.grad]))
        other[r, k] = (slopes[0] - slopes[1]).norm()
        assert len(names) == 2
    yield Check("shift of gradients", "backward of modules alone", off(shift.distance, other), DIGITS)


# --- outputs and examples -------------------------------------------------------------------------------------------


def check_accuracy() -> Checks:
    made = case(400, examples=300)
    other = accuracies(outputs_of(made), made.labels)
    yield Check("accuracy", "scikit-learn accuracy_score", off(tools.accuracy(*made.arguments), other), DIGITS)


def check_confidence() -> Checks:
    outputs, labels = 3 * normal(410, 2, 50, 4), classes(411, 4, 2, 50)
    found = tools.confidence(outputs, labels)
    p = special.softmax(outputs.numpy(), axis=2)
    right = np.take_along_axis(p, labels.numpy()[..., None], axis=2)[..., 0]
    ordered = np.sort(outputs.numpy(), axis=2)
    mine = torch.stack([found.hardness, found.largest, found.lead, found.entropy])
    other = np.stack([1 - right, p.max(axis=2), ordered[..., -1] - ordered[..., -2], stats.entropy(p, axis=2)])
    yield Check("hardness, largest, lead, entropy", "scipy softmax and entropy", off(mine, other), DIGITS)
    temperatures = []
    for f, y in zip(outputs, labels, strict=True):
        loss = lambda log_t, f=f, y=y: functional.cross_entropy(f / math.exp(log_t), y).item()
        temperatures.append(
            math.exp(optimize.minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-10}).x)
        )
    yield Check(
        "temperature", "scipy minimize_scalar", off(tools.fit_temperature(outputs, labels).value, temperatures), SOLVED
    )


def check_angular_hardness() -> Checks:
    made = case(420)
    last = tools.last_layer(made.network, made.weights, made.inputs)
    found = tools.angular_hardness(last, made.labels)
    other = np.zeros((3, 24))
    for r, i in itertools.product(made.replicas, range(24)):
        z, w = last.features[r, i].numpy(), last.kernel[r].numpy()
        angles = [math.acos(z @ row / math.hypot(*z) / math.hypot(*row)) for row in w]
        other[r, i] = angles[int(made.labels[i])] / sum(angles)
    yield Check("angular visual hardness", "math.acos in a loop", off(found.value, other), DIGITS)


def check_association() -> Checks:
    x, y = classes(430, 20, 3, 60).double(), classes(431, 20, 3, 60).double()
    y = y + x
    other = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    yield Check("Spearman correlation, with ties", "scipy spearmanr", off(tools.spearman(x, y), other), DIGITS)
    positive = uniform(432, 3, 60) < 0.4
    other = [metrics.roc_auc_score(p, s) for p, s in zip(positive, x, strict=True)]
    yield Check(
        "area under the ROC curve, with ties", "scikit-learn", off(tools.auroc(x, positive).value, other), DIGITS
    )
    z, groups = classes(433, 20, 3, 60).double(), classes(434, 3, 60)
    other = []
    for a, b, c in zip(x.numpy(), y.numpy(), z.numpy(), strict=True):
        design = np.column_stack([np.ones(60), stats.rankdata(c), np.eye(3)[groups][:, 1:]])
        left = [v - design @ np.linalg.lstsq(design, v)[0] for v in (stats.rankdata(a), stats.rankdata(b))]
        other.append(np.corrcoef(*left)[0, 1])
    mine = tools.partial_spearman(x, y, given=(z,), groups=groups)
    yield Check("partial correlation of ranks", "numpy lstsq and corrcoef", off(mine, other), DIGITS)


def check_ranking() -> Checks:
    x, y = classes(440, 6, 4, 15).double(), classes(441, 6, 4, 15).double()
    other = [stats.kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    yield Check("Kendall's tau b, with ties", "scipy kendalltau", off(tools.kendall_tau(x, y), other), DIGITS)


def check_forgetting() -> Checks:
    correct = uniform(450, 2, 9, 30) < 0.7
    found, events, first = tools.forgetting(correct), np.zeros((2, 30)), np.zeros((2, 30))
    for r, i in itertools.product(range(2), range(30)):
        told = correct[r, :, i].tolist()
        events[r, i] = sum(a and not b for a, b in itertools.pairwise(told))
        first[r, i] = told.index(True) if any(told) else -1
    yield Check(
        "forgetting events, first learned",
        "a loop",
        max(off(found.events, events), off(found.first_learned, first)),
        EXACT,
    )


def check_learning_order() -> Checks:
    steps, correct = [0, 1, 3, 10, 30, 100, 300], uniform(460, 2, 7, 40) < torch.linspace(0.3, 0.98, 7).view(1, 7, 1)
    found, first, settled = tools.learning_times(correct, steps), np.zeros((2, 40)), np.zeros((2, 40))
    for r, i in itertools.product(range(2), range(40)):
        told = correct[r, :, i].tolist()
        held = [t for t in range(5) if told[t] and told[t + 1] and told[t + 2]]
        stays = [t for t in range(7) if all(told[t:])]
        first[r, i] = steps[held[0]] if held else math.inf
        settled[r, i] = steps[stays[0]] if stays else math.inf
    yield Check("first learned, settled", "a loop", max(off(found.first, first), off(found.settled, settled)), EXACT)
    group, strata, shares = uniform(461, 40) < 0.5, classes(462, 3, 40), []
    for own in first:
        wins, pairs = 0.0, 0
        for i, j in itertools.product(range(40), repeat=2):
            if group[i] and not group[j] and strata[i] == strata[j]:
                wins, pairs = wins + (own[i] < own[j]) + (own[i] == own[j]) / 2, pairs + 1
        shares.append(wins / pairs)
    mine = tools.precedence(found.first, group, strata=strata).value
    yield Check("precedence within strata", "a loop over pairs", off(mine, shares), DIGITS)


def check_example_agreement() -> Checks:
    hard = uniform(470, 80)
    correct = uniform(471, 4, 80) < 0.4 + 0.5 * hard
    other = [np.mean([metrics.cohen_kappa_score(correct[a], correct[b]) for b in range(4) if b != a]) for a in range(4)]
    yield Check(
        "error consistency",
        "scikit-learn cohen_kappa_score",
        off(tools.example_agreement(correct).kappa, other),
        DIGITS,
    )
    reference = uniform(472, 80) < 0.6
    found = tools.shared_errors(correct, reference)
    members = sum(bool(reference[i]) and not any(correct[:, i].tolist()) for i in range(80))
    low, high = stats.binomtest(members, 80).proportion_ci(method="exact")
    mine = torch.stack([found.share, found.low, found.high])
    yield Check(
        "shared errors and their interval", "a loop, scipy binomtest", off(mine, [members / 80, low, high]), DIGITS
    )


def check_explained_information() -> Checks:
    y, f, other = classes(480, 2, 400), classes(481, 2, 2, 400), classes(482, 2, 400)
    f, other = torch.where(uniform(483, 2, 400) < 0.6, y, f), torch.where(uniform(484, 400) < 0.5, y, other)
    found = tools.explained_information(f, other, y, classes=2)

    def bits(*columns: Tensor) -> float:
        counts = list(Counter(zip(*(each.tolist() for each in columns), strict=True)).values())
        return stats.entropy(counts, base=2) + (len(counts) - 1) / (2 * 400 * math.log(2))

    total = [bits(own) + bits(y) - bits(own, y) for own in f]
    given = [bits(own, other) + bits(y, other) - bits(own, y, other) - bits(other) for own in f]
    explained = np.subtract(total, given)
    mine = torch.stack([found.total, found.explained])
    yield Check(
        "information, and its explained part",
        "Counter and scipy entropy",
        off(mine, np.stack([total, explained])),
        DIGITS,
    )


# --- robustness -----------------------------------------------------------------------------------------------------


def linear_nets(seed: int, examples: int) -> tuple[Case, Tensor]:
    """Two linear nets of two classes, and the distance (l-infinity) at which each example falls, 0 if it is wrong."""
    network = architectures.build("mlp", (6,), 2, depth=0)
    weights = cast(network.initialize([seed, seed + 1]), torch.float64)
    weights.flat.add_(0.1 * normal(seed, *weights.flat.shape))
    inputs = normal(seed + 1, examples, 6)
    w, b = weights["output.weight"], weights["output.bias"]
    lead = torch.einsum("rf,nf->rn", w[:, 1] - w[:, 0], inputs) + (b[:, 1] - b[:, 0]).unsqueeze(1)
    labels = (lead[0] > 0).long()
    labels[uniform(seed + 2, examples) < 0.1] ^= 1
    reach = lead * (2 * labels - 1) / (w[:, 1] - w[:, 0]).abs().sum(dim=1, keepdim=True)
    return Case(network, weights, inputs, labels, [seed + 3, seed + 4]), reach.clamp(min=0)


def check_robustness() -> Checks:
    made, reach = linear_nets(500, 400)
    radii = [0.0, 0.05, 0.2, 0.5, 1.0]
    found = tools.robust_accuracy(*made.arguments, radii=radii, seeds=made.seeds, steps=10)
    other = torch.stack([(reach > radius).double().mean(dim=1) for radius in radii], dim=1)
    yield Check("accuracy under attack, linear nets", "|margin| / |w|_1", off(found.accuracy, other), DIGITS)
    if torchattacks is None:
        yield Check("accuracy under 1 and 10 steps, relu nets", "torchattacks FGSM, PGD", None, 0.02)
        return
    net = case(505, activation="relu", examples=200, width=16)
    inputs, radii = uniform(506, 200, 4), [0.02, 0.1, 0.3]
    labels = net.network.evaluate(net.weights, inputs)[0].argmax(dim=1)
    arguments = {"radii": radii, "seeds": net.seeds, "random_starts": 0, "low": 0.0, "high": 1.0}
    once = tools.robust_accuracy(net.network, net.weights, inputs, labels, steps=1, **arguments)
    found = tools.robust_accuracy(net.network, net.weights, inputs, labels, steps=10, step_size=0.2, **arguments)
    steps, theirs = np.zeros((3, 3)), np.zeros((3, 3))
    for r, (k, radius) in itertools.product(net.replicas, enumerate(radii)):
        alone = module(net, r)
        clean = alone(inputs).argmax(dim=1) == labels
        attacks = (
            torchattacks.FGSM(alone, eps=radius),
            torchattacks.PGD(alone, eps=radius, alpha=0.2 * radius, steps=10, random_start=False),
        )
        for attack, shares in zip(attacks, (steps, theirs), strict=True):
            stands = clean & (alone(attack(inputs, labels)).argmax(dim=1) == labels)
            shares[r, k] = stands.double().mean()
    yield Check("accuracy under 1 step, relu nets", "torchattacks FGSM", off(once.accuracy, steps), DIGITS)
    # ours counts every wrong point on the way, theirs the last one alone
    yield Check("accuracy under 10 steps, relu nets", "torchattacks PGD", off(found.accuracy, np.array(theirs)), 0.02)


def check_half_radius() -> Checks:
    made, reach = linear_nets(510, 2001)
    found = tools.half_accuracy_radius(
        *made.arguments, seeds=made.seeds, start=0.1, precision=0.001, steps=5, resamples=10
    )
    other = []
    for own in reach.numpy():
        fallen = np.sort(own)[::-1]
        other.append(fallen[math.ceil((own > 0).sum() / 2) - 1])
    yield Check("radius of half accuracy, linear nets", "quantile of |margin| / |w|_1", off(found.radius, other), 1e-3)


def check_corruptions() -> Checks:
    images = uniform(520, 5, 2, 9, 9)
    other = ndimage.gaussian_filter(images.numpy(), sigma=(0, 0, 1.3, 1.3), mode="nearest")
    yield Check("blurred images", "scipy gaussian_filter", off(tools.corrupt(images, "blur", 1.3), other), DIGITS)
    made = case(521, examples=100)
    levels = [0.0, 0.5, 1.0, 2.0]
    found = tools.corruption_accuracy(*made.arguments, kind="gaussian", levels=levels, seeds=made.seeds, draws=2)
    shares = np.zeros((3, 4))
    for r, (k, level), draw in itertools.product(made.replicas, enumerate(levels), range(2)):
        generator = stream(made.seeds[r], f"gaussian-{draw}")
        moved = made.inputs + level * torch.randn(made.inputs.shape, generator=generator)
        said = module(made, r)(moved).argmax(dim=1)
        shares[r, k] += metrics.accuracy_score(made.labels, said) / 2
    yield Check("accuracy under noise", "modules alone, same draws", off(found.accuracy, shares), DIGITS)


def check_evasion() -> Checks:
    made = case(530, examples=80)
    patterns = uniform(531, 6, 4).mul(2).sub(1)
    found = tools.universal_evasion(made.network, made.weights, made.inputs, patterns, radius=0.7, labels=made.labels)
    before, rates, drops = outputs_of(made).argmax(dim=2), np.zeros((3, 6)), np.zeros((3, 6))
    for (k, pattern), r in itertools.product(enumerate(patterns), made.replicas):
        after = module(made, r)(made.inputs + 0.7 * pattern).argmax(dim=1)
        rates[r, k] = np.mean([a != b for a, b in zip(after.tolist(), before[r].tolist(), strict=True)])
        drops[r, k] = metrics.accuracy_score(made.labels, before[r]) - metrics.accuracy_score(made.labels, after)
    worst = max(off(found.rate, rates), off(found.accuracy_drop, drops))
    yield Check("evasion rate, drop of accuracy", "modules alone", worst, DIGITS)


def warped(image: np.ndarray, degrees: float, right: float, down: float, zoom: float = 1.0) -> np.ndarray:
    """One channel, turned about its centre, zoomed, then moved, by scipy; axes are (down, right)."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])  # counter-clockwise seen
    back = np.linalg.inv(zoom * turn)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - back @ (centre + np.array([down, right]))
    return ndimage.affine_transform(image, back, offset, order=1, mode="grid-constant")


def check_spatial() -> Checks:
    images = uniform(540, 6, 1, 8, 8)
    poses = 20 * (uniform(541, 6, 3) - 0.5) * torch.tensor([3.0, 0.2, 0.2])
    zoom = 0.8 + 0.4 * uniform(542, 6)
    mine = warp(images, poses, zoom=zoom)
    other = np.stack(
        [
            warped(image[0].numpy(), *pose, z)
            for image, pose, z in zip(images, poses.tolist(), zoom.tolist(), strict=True)
        ]
    )
    yield Check("warped images", "scipy affine_transform", off(mine[:, 0], other), 1e-9)
    made = case(543, features=64, examples=2)
    views, labels = uniform(544, 60, 1, 8, 8), classes(545, 3, 60)
    labels = torch.where(uniform(546, 60) < 0.7, module(made, 0)(views.flatten(1)).argmax(dim=1), labels)
    grid = tools.pose_grid(degrees=30, pixels=1, angles=3, shifts=3).double()
    found = tools.spatial_accuracy(made.network, made.weights, views, labels, poses=grid)
    worst, mean = np.zeros(3), np.zeros(3)
    for r in made.replicas:
        alone = module(made, r)
        told = [alone(views.flatten(1)).argmax(dim=1) == labels]
        for pose in grid.tolist():
            seen = torch.from_numpy(np.stack([warped(view[0].numpy(), *pose) for view in views]))
            told.append(alone(seen.flatten(1)).argmax(dim=1) == labels)
        worst[r], mean[r] = torch.stack(told).all(dim=0).double().mean(), torch.stack(told[1:]).double().mean()
    deviation = max(off(found.worst, worst), off(found.average, mean))
    yield Check("worst and mean accuracy over 27 poses", "modules alone, scipy warps", deviation, DIGITS)


def check_frames() -> Checks:
    made = case(550, examples=50)
    frames = [made.inputs + 0.5 * abs(k - 3) * normal(551 + k, 50, 4) for k in range(7)]
    accepted = uniform(560, 50, 7) < 0.8
    found = tools.frame_accuracy(made.network, made.weights, frames, made.labels, accepted=accepted)
    pmk, of_two, bounds = np.zeros((3, 4)), np.zeros(3), np.zeros((3, 2))
    for r in made.replicas:
        told = torch.stack([module(made, r)(frame).argmax(dim=1) == made.labels for frame in frames], dim=1).tolist()
        kept, fine, chances = 0, [0] * 4, 0.0
        for row, similar in zip(told, accepted.tolist(), strict=True):
            similar[3] = True
            if sum(similar) < 3:
                continue
            kept += 1
            for k in range(4):
                fine[k] += all(row[t] for t in range(3 - k, 4 + k) if similar[t])
            hits, count = sum(a and s for a, s in zip(row, similar, strict=True)), sum(similar)
            chances += stats.hypergeom(count, hits, 2).pmf(2)
        pmk[r], of_two[r] = np.array(fine) / kept, chances / kept
        bounds[r] = stats.binomtest(fine[3], kept).proportion_ci(method="exact")
    yield Check("accuracy on all frames up to k away", "a loop", off(found.worst, pmk), DIGITS)
    mine = torch.stack([found.worst_of[:, 1], found.low, found.high], dim=1)
    yield Check(
        "worst of 2, interval", "scipy hypergeom, binomtest", off(mine, np.column_stack([of_two, bounds])), 1e-9
    )


def check_procedural_noise() -> Checks:
    gabor = tools.Gabor(0.7, 5.0, 1.5, sides=2, aspect=0.8)
    mine = tools.gabor_noise(12, gabor, stream(570, "noise"))
    generator = stream(570, "noise")
    where = torch.rand(24, 24, generator=generator, dtype=torch.float64) < 0.25
    impulses = (where * (2 * torch.rand(24, 24, generator=generator, dtype=torch.float64) - 1)).numpy()
    reach = math.ceil(3 * 1.5)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for side, v, u in itertools.product(range(2), range(-reach, reach + 1), range(-reach, reach + 1)):
        turned = (u + 1j * v) * np.exp(-1j * (0.7 + math.pi * side / 2))
        fading = math.exp(-(turned.real**2 + 0.64 * turned.imag**2) / (2 * 1.5**2))
        kernel[v + reach, u + reach] += fading * math.cos(2 * math.pi * turned.real / 5.0)
    other = signal.convolve2d(impulses, kernel, mode="same")[6:18, 6:18]
    yield Check("Gabor noise", "scipy convolve2d, kernel by a loop", off(mine, other), DIGITS)
    fields = normal(571, 3, 10, 10)
    theirs = np.abs(np.fft.fft2(fields.numpy()))
    mixed = np.abs(np.fft.fft2(tools.phase_randomized(fields, seed=572).numpy()))
    yield Check("Fourier magnitudes after new phases", "numpy fft2", off(mixed, theirs), DIGITS)


# --- dynamics -------------------------------------------------------------------------------------------------------


def check_attractors() -> Checks:
    network = architectures.build("mlp", (6,), 6, depth=1, width=9, activation="tanh")
    weights = cast(network.initialize([600, 601]), torch.float64)
    made = Case(network, weights, normal(602, 5, 6), classes(603, 2, 5), [604, 605])
    radius, norm = np.zeros((2, 5)), np.zeros((2, 5))
    for r in made.replicas:
        outputs, flat = function_of(module(made, r))
        for i, x in enumerate(made.inputs):
            jacobian = jacrev(outputs, argnums=1)(flat, x).numpy()
            radius[r, i], norm[r, i] = np.abs(np.linalg.eigvals(jacobian)).max(), np.linalg.norm(jacobian, 2)
    for method, tolerance in (("exact", DIGITS), ("arnoldi", SOLVED)):
        found = tools.contraction(network, weights, made.inputs, method=method, seeds=made.seeds)
        worst = max(off(found.radius, radius), off(found.norm, norm))
        yield Check(f"spectral radius and norm, {method}", "torch.func Jacobians, numpy", worst, tolerance)
    w = torch.tensor([[[3.0]], [[5.0]]], dtype=torch.float64)
    line = architectures.build("mlp", (1,), 1, depth=1, width=1, activation="tanh", bias=False)
    pull = Weights(line.slots, torch.cat([w[:, 0], torch.ones(2, 1, dtype=torch.float64)], dim=1))
    starts = normal(606, 40, 1)
    ends = tools.recovery(line, pull, starts, torch.ones(1, 1, dtype=torch.float64), tolerance=1e-13).ends[..., 0]
    roots = [optimize.brentq(lambda x, k=k: math.tanh(k * x) - x, 0.5, 1, xtol=1e-15) for k in (3.0, 5.0)]
    other = np.sign(starts[:, 0].numpy()) * np.array(roots)[:, None]
    yield Check("ends of x <- tanh(k x)", "scipy brentq", off(ends, other), DIGITS)


def layer_of(
    kind: type[nn.RNNBase], seed: int, size: int, hidden: int, **options: object
) -> tuple[nn.RNNBase, dict[str, Tensor]]:
    """A recurrent layer of torch and its weights with the replica axis."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = kind(size, hidden, batch_first=True, dtype=torch.float64, **options)
    return made, {name.removesuffix("_l0"): each.detach()[None] for name, each in made.named_parameters()}


def check_fixed_points() -> Checks:
    gru, layer = layer_of(nn.GRU, 610, 3, 6)
    step = tools.recurrence("gru", layer)
    x0 = normal(611, 1, 3)
    theirs = lambda h: gru(x0[None], h.view(1, 1, 6))[0].flatten()
    starts = normal(612, 1, 8, 6) * 0.3
    found = tools.fixed_points(step, starts, x0, tolerance=1e-9, steps=6000)
    root = optimize.root(
        lambda h: (theirs(torch.from_numpy(h)) - torch.from_numpy(h)).detach().numpy(), np.zeros(6), tol=1e-13
    )
    near = found.states[0][found.passed[0]]
    yield Check(
        "fixed point of a GRU, all searches", "scipy root on nn.GRU", off(near, np.tile(root.x, (len(near), 1))), SOLVED
    )
    linear = tools.linearize(step, starts, x0)
    jacobian = torch.stack([torch.autograd.functional.jacobian(theirs, h) for h in starts[0]])
    values = np.sort(np.abs(np.linalg.eigvals(jacobian.numpy())), axis=1)[:, ::-1]
    worst = max(off(linear.jacobians[0], jacobian), off(linear.eigenvalues[0].abs(), values.copy()))
    yield Check("Jacobians and their eigenvalues", "autograd of nn.GRU, numpy", worst, DIGITS)


def check_recurrent_gradients() -> Checks:
    layers = [layer_of(nn.LSTM, 620, 4, 5), layer_of(nn.LSTM, 621, 5, 5)]
    words, targets, kernel = normal(622, 1, 2, 6, 4), classes(623, 3, 1, 2, 6), normal(624, 1, 3, 5)
    found = tools.step_gradients("lstm", words, [own for _, own in layers], kernel, None, targets)
    worst = 0.0
    for sentence in range(2):
        states = [(torch.zeros(1, 1, 5).double(), torch.zeros(1, 1, 5).double()) for _ in layers]
        for time_ in range(6):
            below, hidden = words[:, sentence, time_ : time_ + 1], []
            for number, (lstm, _) in enumerate(layers):
                below, after = lstm(below, states[number])
                states[number] = tuple(each.detach() for each in after)
                if number == 0:
                    below = below.detach().requires_grad_()
                hidden.append(below)
            loss = functional.cross_entropy(below[0] @ kernel[0].T, targets[0, sentence, time_ : time_ + 1])
            for mine, by in zip(found.gradients, torch.autograd.grad(loss, hidden), strict=True):
                worst = max(worst, off(mine[0, sentence, time_], by[0, 0]))
    yield Check("gradients by own hidden states, 2 layers", "autograd of nn.LSTM, step by step", worst, DIGITS)


def check_modes() -> Checks:
    elapsed = torch.linspace(-6, 8, 40, dtype=torch.float64)
    worst = 0.0
    for depth in (1, 2, 3, 5):
        flow = lambda _, v, d=depth: v ** (2 - 2 / d) * (1 - v)
        own = elapsed[elapsed >= 0] if depth == 1 else elapsed
        sides = []
        for side in (own[own < 0].flip(0), own[own >= 0]):
            if len(side):
                times = np.concatenate([[0.0], side.numpy()])
                solved = integrate.solve_ivp(flow, (0, times[-1]), [0.5], t_eval=times, rtol=1e-11, atol=1e-13)
                sides.append(solved.y[0, 1:])
        other = np.concatenate([sides[0][::-1], sides[1]]) if len(sides) == 2 else sides[0]
        worst = max(worst, off(tools.exact_curve(own, depth), other))
    yield Check("exact curves of 1, 2, 3 and 5 matrices", "scipy solve_ivp", worst, SOLVED)
    x, y = normal(630, 2, 50, 5), normal(631, 2, 50, 3)
    found = tools.singular_modes(x, y).values
    other = np.stack([np.linalg.svd(b.T @ a / 50, compute_uv=False) for a, b in zip(x.numpy(), y.numpy(), strict=True)])
    yield Check("strengths of modes", "numpy svd", off(found, other), DIGITS)


def check_singular_trajectories() -> Checks:
    network = architectures.build("linear", (4,), 3, depth=3, width=6)
    moments = [cast(network.initialize([640 + k, 650 + k]), torch.float64) for k in range(5)]
    moments = [Weights(own.slots, own.flat * (k + 1)) for k, own in enumerate(moments)]
    maps = torch.stack([tools.end_to_end(network, own) for own in moments], dim=1)
    found = tools.singular_trajectories(maps, [0, 1, 2, 4, 8])
    values = np.zeros((2, 5, 3))
    for r, (k, own) in itertools.product(range(2), enumerate(moments)):
        product = np.linalg.multi_dot([own[name][r].numpy() for name in reversed(network.kernels)])
        values[r, k] = np.linalg.svd(product, compute_uv=False)
    half = np.zeros((2, 3))
    for r, c in itertools.product(range(2), range(3)):
        curve, goal = values[r, :, c], values[r, -1, c] / 2
        after = int(np.argmax(curve >= goal))
        times = [0, 1, 2, 4, 8]
        half[r, c] = (
            times[0] if after == 0 else np.interp(goal, curve[after - 1 : after + 1], times[after - 1 : after + 1])
        )
        if values[r, -1, c] < 0.05 * values[r, -1, 0]:
            half[r, c] = math.nan
    yield Check("singular values of the product", "numpy multi_dot and svd", off(found.values, values), DIGITS)
    yield Check("times of half their last values", "numpy interp", off(found.half_times, half), DIGITS)


def check_memorization() -> Checks:
    network = architectures.build("mlp", (8,), 8, depth=1, width=10, activation="tanh")
    weights = cast(network.initialize([660, 661]), torch.float64)
    made = Case(network, weights, normal(662, 6, 8), classes(663, 2, 6), [664, 665])
    examples = normal(666, 4, 8)
    found = tools.memorization(network, weights, made.inputs, examples)
    residual, correlation = np.zeros((2, 6)), np.zeros((2, 6))
    for (r, outputs), i in itertools.product(enumerate(outputs_of(made).numpy()), range(6)):
        coefficients = np.linalg.lstsq(examples.numpy().T, outputs[i])[0]
        residual[r, i] = np.linalg.norm(outputs[i] - examples.numpy().T @ coefficients) / np.linalg.norm(outputs[i])
        correlation[r, i] = max(np.corrcoef(outputs[i], example)[0, 1] for example in examples.numpy())
    worst = max(off(found.span_residual, residual), off(found.correlation, correlation))
    yield Check("residual to the span, largest correlation", "numpy lstsq and corrcoef", worst, DIGITS)


def check_reproduction() -> Checks:
    inputs, seen = uniform(670, 2, 25, 16), uniform(671, 2, 16)
    outputs = 0.6 * inputs + 0.4 * seen.unsqueeze(1) + 0.1 * normal(672, 2, 25, 16)
    found = tools.reproduction(outputs, inputs, seen)
    bias, identity = [], []
    for out, x, s in zip(outputs.numpy(), inputs.numpy(), seen.numpy(), strict=True):
        far = np.mean((x - s) ** 2, axis=1)
        kept = far >= 0.1 * np.sort(far)[(len(far) - 1) // 2]
        shares, z = [], []
        for o, i in zip(out[kept], x[kept], strict=True):
            to_input, to_seen = np.mean((o - i) ** 2), np.mean((o - s) ** 2)
            shares.append((to_seen - to_input) / (to_seen + to_input))
            z.append(math.atanh(np.corrcoef(o, i)[0, 1]))
        bias.append(np.mean(shares))
        identity.append(math.tanh(np.mean(z)))
    mine = torch.stack([found.bias, found.identity])
    yield Check("bias to identity, correlation", "numpy corrcoef", off(mine, np.array([bias, identity])), DIGITS)


# --- curves and linear problems -------------------------------------------------------------------------------------


def check_curve_fits() -> Checks:
    x = np.geomspace(10, 1000, 9)
    y = np.stack([4 * x**-0.6 + 0.05, 9 * x**-0.4 + 0.2]) * np.exp(0.02 * normal(700, 2, 9).numpy())
    line = tools.line_fit(torch.from_numpy(np.log(x)), torch.from_numpy(np.log(y)))
    theirs = [stats.linregress(np.log(x), np.log(own)) for own in y]
    mine = torch.stack([line.slope, line.intercept, line.slope_error, line.intercept_error])
    other = np.array([[t.slope, t.intercept, t.stderr, t.intercept_stderr] for t in theirs]).T
    yield Check("line and its standard errors", "scipy linregress", off(mine, other), DIGITS)
    law = tools.power_law(torch.from_numpy(x), torch.from_numpy(y), floor=True)
    fits = []
    for own in y:
        curve = lambda x, a, b, c: np.log(np.exp(a) * x**-b + c)
        best, covariance = optimize.curve_fit(
            curve, x, np.log(own), p0=[1.0, 0.5, 0.5 * own.min()], xtol=1e-14, ftol=1e-14
        )
        fits.append([math.exp(best[0]), best[1], best[2], *np.sqrt(np.diag(covariance))[1:]])
    found = torch.stack([law.amplitude, law.exponent, law.floor, law.exponent_error, law.floor_error])
    worst = max(off(a, b) for a, b in zip(found, np.array(fits).T, strict=True))
    yield Check("power law with a floor and its errors", "scipy curve_fit", worst, 1e-5)


def check_decomposition() -> Checks:
    h, y = normal(710, 1, 4, 3, 6, 2), normal(711, 6, 2)
    h = h + normal(712, 1, 4, 1, 6, 2)
    found = tools.bias_variance(h, y).parts
    nets = [(s, i, h[0, s, i].numpy()) for s, i in itertools.product(range(4), range(3))]
    apart, within, bias = [], [], []
    for (s, i, a), (t, j, b) in itertools.product(nets, nets):
        half = np.square(a - b).sum(axis=1).mean() / 2
        if s == t and i != j:
            within.append(half)
        if s != t:
            apart.append(half)
            bias.append(((a - y.numpy()) * (b - y.numpy())).sum(axis=1).mean())
    other = [np.mean(bias), np.mean(apart), np.mean(within), np.mean(apart) - np.mean(within)]
    mine = torch.stack([found.bias_squared, found.variance, found.initialization, found.sampling])[:, 0]
    yield Check("bias^2, variance and its two parts", "a loop over pairs of nets", off(mine, other), DIGITS)


def check_double_descent() -> Checks:
    positions = [1, 2, 4, 8, 16, 32, 64, 128]
    errors = 0.3 + 0.2 * uniform(720, 6, 8)
    found = tools.double_descent(errors, positions)
    smooth = np.stack([np.r_[e[0], signal.medfilt(e, 3)[1:-1], e[-1]] for e in errors.numpy()])
    drops = []
    for e in smooth:
        rise, top = max(((e[j] - e[i], -j) for i, j in itertools.combinations(range(8), 2)))
        drops.append([rise, e[-top] - e[-1]])
    mine = torch.stack([found.drop_in, found.drop_out], dim=1)
    yield Check("drop-in and drop-out", "a loop over pairs, scipy medfilt", off(mine, np.array(drops)), DIGITS)
    falling = errors.sort(dim=1, descending=True).values
    levels = [math.exp(np.interp(-0.4, -e, np.log(positions))) for e in falling.numpy()]
    reached = tools.interpolation_threshold(falling, positions, level=0.4).position
    yield Check("interpolation threshold", "numpy interp", off(reached, levels), DIGITS)


def check_working_range() -> Checks:
    setting, values, mark = (
        torch.linspace(-3, 3, 13, dtype=torch.float64),
        uniform(730, 4, 13),
        torch.full((4,), 0.5).double(),
    )
    found = tools.working_range(setting, values, mark)
    fine = np.linspace(-3, 3, 2_000_001)
    widths = [6 * np.mean(np.interp(fine, setting, own) >= 0.5) for own in values.numpy()]
    yield Check("width above a mark", "numpy interp at 2 million points", off(found.width, widths), 1e-5)


def check_matrix_recovery() -> Checks:
    maps, values = normal(740, 4, 2, 3), normal(741, 2, 4)
    rows = maps.flatten(1).numpy()
    other = np.stack([np.linalg.lstsq(rows, b)[0].reshape(2, 3) for b in values.numpy()])
    yield Check("least Frobenius norm", "numpy lstsq", off(tools.frobenius_interpolant(maps, values), other), DIGITS)
    found = tools.nuclear_norm_interpolant(maps, values, semidefinite=False, iterations=20000, tolerance=1e-9)
    free, least = np.linalg.svd(rows)[2][4:], []
    for start in other:
        norm = lambda c, s=start: np.linalg.norm(s + (c @ free).reshape(2, 3), "nuc")
        solved = optimize.minimize(
            norm, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-11, "fatol": 1e-13, "maxiter": 5000}
        )
        least.append(solved.fun)
    yield Check("least nuclear norm", "scipy Nelder-Mead over the null space", off(found.nuclear, least), SOLVED)


# --- the page -------------------------------------------------------------------------------------------------------


def families() -> dict[str, Callable[[], Checks]]:
    """Family -> its check: every function check_<family> of this file."""
    return {name.removeprefix("check_"): one for name, one in sorted(globals().items()) if name.startswith("check_")}


def unchecked() -> list[str]:
    """Families with exported functions that no check is for."""
    exported = {getattr(getattr(tools, name), "__module__", "") for name in tools.__all__}
    known = {name.removeprefix("refute.instruments.") for name in exported if name.startswith("refute.instruments.")}
    return sorted(known - set(families()) - {"interface"})


def number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if value < 0.01 else f"{value:.2g}"


def row(family: str, check: Check) -> list[str]:
    unit = f" {check.unit}" if check.unit else ""
    found = "not installed" if check.deviation is None else number(check.deviation) + unit
    return [family.replace("_", " "), check.quantity, check.against, found, number(check.tolerance) + unit]


def page(rows: list[list[str]]) -> str:
    lines = [
        "# How far instruments are from independent computations",
        "",
        "Computed by `validation/instruments/checks.py` in float64 on small cases of its own, not those of the "
        "unit tests. A deviation is the largest |instrument - other| over replicas, examples and entries, in units of "
        "the largest |other| of the same array; of estimates from random probes, in their own standard errors. What "
        "instruments measure: [instruments.md](instruments.md).",
        "",
        "| instrument | quantity checked | against what | largest deviation | tolerance |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in each) + " |" for each in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page")
    parser.add_argument("--only", nargs="*", help="some families")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, failed = [], []
    for family, check in families().items():
        if options.only and family not in options.only:
            continue
        started = time.perf_counter()
        for found in check():
            rows.append(row(family, found))
            fails = found.deviation is not None and not found.deviation <= found.tolerance
            failed += [family] if fails else []
            print(
                f"{'FAILED' if fails else '':7}" + "  ".join(rows[-1]),
                f"  {time.perf_counter() - started:.1f} s",
                flush=True,
            )
    if not options.only and unchecked():
        failed += unchecked()
        print("no check for", ", ".join(unchecked()))
    if options.write:
        options.write.write_text(page(rows), encoding="utf-8")
    if failed:
        sys.exit(f"{len(failed)} checks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
