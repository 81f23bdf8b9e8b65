"""Stage-like learning: a deep net learns the singular modes of its data one after the other, strongest first."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute import datasets
from refute.architectures.initialization import orthogonal
from refute.core import (
    Claim,
    Cohort,
    Condition,
    Grid,
    Level,
    Lines,
    Phenomenon,
    Protocol,
    Quantity,
    Scatter,
    Source,
    Value,
    at_least,
    at_most,
    log_ratio,
    looped,
    stacked,
    within,
)
from refute.instruments import kendall_tau
from refute.instruments.modes import (
    Modes,
    crossing_times,
    exact_curve,
    fit_exact_curves,
    half_times,
    mode_strengths,
    plateau_count,
    rates,
    separated,
    singular_modes,
    whiten,
)
from refute.randomness import stream

TREE_LEVELS = 3
"""A binary tree of 8 items and 15 nodes; each node is a feature of the items below it (Saxe et al. 2019, figure 3)."""
EQUAL_MODES, EQUAL_OUTPUTS, EQUAL_INPUTS, EQUAL_STRENGTH = 9, 10, 50, 0.3
"""The shape of the image problems, all nine modes as strong as their strongest."""
MOST_EXAMPLES = {"digits": 1000}
"""Fewer than there are, so that every seed draws a subset of its own."""
FEWEST_MODES = 3
"""Modes that an order or a slope needs."""
MOST_SPREAD_OUT = 10.0
"""Stage index of a mode that is half learned at the start, so that one such mode does not make a mean infinite."""
CURVE_POINTS, CURVE_DECIMALS = 60, 3
"""What the figure needs; more would fill the record with digits that nobody sees."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z,
    "relu": functional.relu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Problem:
    """White inputs and centred targets, each (replica, example, ...), their modes, and which of them are kept."""

    inputs: Tensor
    targets: Tensor
    modes: Modes
    kept: Tensor


@dataclass(frozen=True)
class Course:
    """A training run: v_a = u_a / s_a (replica, mode, step), time = learning rate x step and loss (replica, step)."""

    curves: Tensor
    times: Tensor
    losses: Tensor


class Theory(NamedTuple):
    """Exact curves (replica, mode, step), their mean distance (replica,), and the slope of log t50 on the log of the
    predicted one, minus 1 (replica,)."""

    curves: Tensor
    error: Tensor
    law_excess: Tensor


def trial(cohort: Cohort) -> dict[str, Any]:
    """Train one cohort by gradient descent and time every mode; scalars (replica,), curves (replica, mode[, time])."""
    kind, depth = cohort["architecture"].split("-")[0], int(cohort["architecture"].split("-")[1])
    problem = _problem(cohort)
    kept, values = problem.kept, problem.modes.values
    weights = _initial_weights(cohort, problem, depth)
    norm = torch.linalg.matrix_norm(_product(weights), ord=2) / values[:, 0]
    step_size = cohort.setting("rate") / rates(values[:, 0], depth)
    course = _descend(_condensed(problem) if kind == "linear" else problem, weights, kind, step_size, cohort)
    curves, times = course.curves, course.times
    t10, t50, t90 = (crossing_times(curves, times, level) for level in (0.1, 0.5, 0.9))
    stage = torch.where(t50 > 0, (t90 - t10) / t50, MOST_SPREAD_OUT).clamp(max=MOST_SPREAD_OUT)
    theory = _theory(course, problem, kind, depth)

    number = range(1, values.shape[1] + 1)
    thin = torch.linspace(0, times.shape[1] - 1, CURVE_POINTS, device=times.device).round().long()
    clock = (number, (thin * (cohort.setting("rate") / depth)).tolist())
    shown = torch.where(kept, 1.0, math.nan)
    return {
        "initial_norm": norm,
        "modes": kept.double().sum(dim=1),
        "learned": (kept & t50.isfinite()).double().sum(dim=1) / kept.sum(dim=1),
        "order_tau": _over_modes(lambda s, t: kendall_tau(s, t), kept, values, t50),
        "time_slope": _over_modes(_log_slope, kept, values, t50),
        "law_excess": theory.law_excess,
        "stage_index": _over_modes(_median, kept, stage),
        "separation": _over_modes(lambda early, late: (early[1:] > late[:-1]).double().mean(), kept, t10, t50),
        "half_time_spread": _over_modes(lambda t: t.log().max() - t.log().min(), kept, t50),
        "curve_error": theory.error,
        "plateaus": plateau_count(course.losses, times),
        "mode_strength": ((curves * shown[..., None])[..., thin].round(decimals=CURVE_DECIMALS), clock),
        "exact_strength": ((theory.curves * shown[..., None])[..., thin].round(decimals=CURVE_DECIMALS), clock),
        "singular_value": (values * shown, (number,)),
        "half_time": (torch.where(t50.isfinite(), t50, math.nan) * shown, (number,)),
        "diverged": ~torch.isfinite(course.losses).all(dim=1),
    }


def _theory(course: Course, problem: Problem, kind: str, depth: int) -> Theory:
    """The closed forms beside a linear net's training; NaN for other nets, and no law of s where t50 has none.

    The curves have one fitted u_0 a mode; the law has one for the whole net (their median), else it would hold by
    construction.
    """
    values, kept, nothing = problem.modes.values, problem.kept, course.times[:, 0] * math.nan
    if kind != "linear":
        return Theory(course.curves * math.nan, nothing, nothing)
    fit = fit_exact_curves(course.curves, course.times, values, depth)
    elapsed = course.times[:, None] - fit.half_time[..., None]
    curves = exact_curve(rates(values, depth)[..., None] * elapsed, depth)
    error = _over_modes(torch.mean, kept, fit.error)
    if depth == 1:
        return Theory(curves, error, nothing)
    start = _over_modes(_median, kept, fit.start * values)
    predicted = half_times(values, start[:, None].expand_as(values), depth)
    measured = crossing_times(course.curves, course.times, 0.5)
    return Theory(curves, error, _over_modes(_log_slope, kept, predicted, measured) - 1)


# --- the problem: white inputs, centred targets, their modes ------------------------------------------------------


def _problem(cohort: Cohort) -> Problem:
    if cohort["dataset"] in ("tree", "equal"):
        exact = tree_covariance(TREE_LEVELS) if cohort["dataset"] == "tree" else equal_covariance()
        return _synthetic(exact.to(cohort.device), len(cohort), apart=cohort["dataset"] == "tree")
    name, size = cohort["dataset"], int(cohort.setting("size"))
    data = datasets.load(
        name,
        train=min(int(cohort.setting("examples")), MOST_EXAMPLES.get(name, int(cohort.setting("examples")))),
        seeds=cohort.seeds,
        size=size if size and name != "digits" else None,
        flatten=True,
        device=cohort.device,
    )
    components = int(cohort.setting("components"))
    inputs = torch.cat([whiten(data.inputs[rows].double()[None], components=components) for rows in data.index])
    labels = functional.one_hot(data.labels, data.classes).double()
    targets = labels - labels.mean(dim=1, keepdim=True)
    modes = singular_modes(inputs, targets)
    return Problem(inputs, targets, modes, separated(modes.values))


def tree_covariance(levels: int) -> Tensor:
    """Sigma_yx (feature, item) of a binary tree of 2^levels items in the basis of its modes, so V = 1 and V is exact.

    A node of depth k is a feature of the 2^(levels - k) items below it; the items are one-hot and made white. Their
    Haar basis (root: all items alike; then left against right below each node) holds the right singular vectors.
    """
    items = 2**levels
    features = [torch.eye(2**k).repeat_interleave(items // 2**k, dim=1) for k in range(levels + 1)]
    waves = [torch.ones(1, items)]
    waves += [feature[::2] - feature[1::2] for feature in features[1:]]
    haar = functional.normalize(torch.cat(waves).double(), dim=1)
    return torch.cat(features).double() @ haar.T / math.sqrt(items)


def equal_covariance() -> Tensor:
    """Sigma_yx (output, input) whose nine modes are equally strong."""
    covariance = torch.zeros(EQUAL_OUTPUTS, EQUAL_INPUTS, dtype=torch.float64)
    covariance[range(EQUAL_MODES), range(EQUAL_MODES)] = EQUAL_STRENGTH
    return covariance


def _synthetic(covariance: Tensor, replicas: int, *, apart: bool) -> Problem:
    """The problem with this Sigma_yx, whose columns are orthogonal and sorted: they are the modes."""
    values = covariance.norm(dim=0)
    values = values[values > 0].expand(replicas, -1)
    count, inputs = values.shape[1], covariance.shape[1]
    right = torch.eye(inputs, count).to(covariance).expand(replicas, -1, -1)
    left = covariance[:, :count] / values.unsqueeze(1)
    modes = Modes(values, left, right)
    whole = covariance.expand(replicas, -1, -1)
    return Problem(*_examples(whole), modes, separated(values) if apart else values > 0)


def _condensed(problem: Problem) -> Problem:
    """The same problem for linear nets, which see of the data only Sigma_yx (inputs are white): one example a feature.

    The loss changes by a constant, its gradient not at all.
    """
    whole = problem.targets.transpose(1, 2) @ problem.inputs / problem.inputs.shape[1]
    inputs, targets = _examples(whole)
    return replace(problem, inputs=inputs, targets=targets)


def _examples(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """As many examples as inputs, with second moment 1 and this Sigma_yx (replica, output, input)."""
    count = covariance.shape[-1]
    inputs = math.sqrt(count) * torch.eye(count).to(covariance).expand(len(covariance), -1, -1)
    return inputs, math.sqrt(count) * covariance.transpose(1, 2)


# --- the net and its training -------------------------------------------------------------------------------------


def _initial_weights(cohort: Cohort, problem: Problem, depth: int) -> list[Tensor]:
    """Matrices W_1 .. W_D (replica, out, in) with ||W_D .. W_1|| = scale x s_1; a seed draws the same at any scale."""
    hidden = [int(cohort.setting("width"))] * (depth - 1)
    sizes = [problem.inputs.shape[2], *hidden, problem.targets.shape[2]]
    aligned = cohort["init"] == "aligned"
    shapes = (
        [(size, problem.modes.values.shape[1]) for size in hidden]
        if aligned
        else [(after, before) for before, after in itertools.pairwise(sizes)]
    )
    law = _gaussian if cohort["init"] == "gaussian" else orthogonal
    drawn = [
        torch.stack([law(shape, stream(seed, f"layer-{layer}")) for seed in cohort.seeds]).to(problem.modes.values)
        for layer, shape in enumerate(shapes)
    ]
    if aligned:  # W_1 = R_1 V^T, W_i = R_i R_(i-1)^T, W_D = U R_(D-1)^T: every mode starts equally strong
        frames = [problem.modes.right, *drawn, problem.modes.left]
        drawn = [after @ before.transpose(1, 2) for before, after in itertools.pairwise(frames)]
    target = torch.tensor(cohort["scale"]).to(problem.modes.values) * problem.modes.values[:, 0]
    factor = (target / torch.linalg.matrix_norm(_product(drawn), ord=2)) ** (1 / depth)
    return [factor[:, None, None] * weight for weight in drawn]


def _gaussian(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _product(weights: list[Tensor]) -> Tensor:
    """W_D .. W_1, (replica, output, input)."""
    return reduce(lambda before, weight: weight @ before, weights)


def _descend(problem: Problem, weights: list[Tensor], kind: str, step_size: Tensor, cohort: Cohort) -> Course:
    """Full-batch gradient descent on (1/2) mean |y - f(x)|^2; float64 for linear nets, float32 for others."""
    precision = torch.float64 if kind == "linear" else torch.float32
    inputs, targets = problem.inputs.to(precision), problem.targets.to(precision)
    modes = Modes(*(part.to(precision) for part in problem.modes))
    layers = [weight.to(precision).requires_grad_() for weight in weights]
    activation, rate = ACTIVATIONS[kind], step_size.to(precision)[:, None, None]
    strengths, losses = [], []
    for _ in range(int(cohort.setting("steps")) + 1):
        outputs = inputs
        for depth, layer in enumerate(layers, start=1):
            outputs = outputs @ layer.transpose(1, 2)
            outputs = activation(outputs) if depth < len(layers) else outputs
        loss = (targets - outputs).square().sum(dim=2).mean(dim=1) / 2
        covariance = outputs.detach().transpose(1, 2) @ inputs / inputs.shape[1]
        strengths.append(mode_strengths(covariance, modes) / modes.values)
        losses.append(loss.detach())
        for layer, gradient in zip(layers, torch.autograd.grad(loss.sum(), layers), strict=True):
            layer.detach().sub_(rate * gradient)
    times = step_size[:, None] * torch.arange(len(losses)).to(step_size)
    return Course(torch.stack(strengths, dim=2).double(), times, torch.stack(losses, dim=1).double())


# --- over the kept modes of each replica --------------------------------------------------------------------------


def _over_modes(measure: Callable[..., Tensor], kept: Tensor, *columns: Tensor) -> Tensor:
    """measure(the kept modes' numbers, one tensor a column) of each replica (replica,); NaN with too few modes."""
    found = []
    for row, mask in enumerate(kept):
        enough = int(mask.sum()) >= FEWEST_MODES
        found.append(measure(*(column[row][mask] for column in columns)) if enough else columns[0].new_tensor(math.nan))
    return torch.stack(found)


def _median(numbers: Tensor) -> Tensor:
    return numbers.sort().values[[(len(numbers) - 1) // 2, len(numbers) // 2]].mean()


def _log_slope(x: Tensor, y: Tensor) -> Tensor:
    """Least-squares slope of log y on log x; NaN where y is not finite or x does not vary."""
    across, up = (part.log() - part.log().mean() for part in (x, y))
    return (across * up).sum() / across.square().sum()


IMAGES = ("digits", "mnist", "fashion-mnist")
PROBLEMS = ("tree", *IMAGES, "cifar10")
DEEP_LINEAR = ("linear-2", "linear-3", "linear-4", "linear-5")
NONLINEAR = ("relu-2", "relu-3", "relu-4", "tanh-2", "tanh-3", "tanh-4")
RANDOM = ("gaussian", "orthogonal")
SMALL_START: dict[str, tuple[Level, ...]] = {"dataset": PROBLEMS, "init": ("gaussian",), "scale": (1e-3,)}
SWEEP = (1e-4, 1e-2, 1e-1, 1.0)
LEARNED = (Condition("learned", at_least=1.0),)
SMALL_NORM = Condition("initial_norm", at_most=1e-3 * (1 + 1e-6))
SETTINGS = {"examples": 5000, "size": 14, "components": 50, "width": 32, "rate": 0.1, "steps": 600}
STEPS_1: dict[str, Level] = {"steps": 100}
STEPS_3: dict[str, Level] = {"steps": 2500}
WIDE: dict[str, Level] = {"examples": 1000, "width": 64, "rate": 0.2}


PHENOMENON = Phenomenon(
    name="stage-like-learning",
    statement="Trained from small weights, a net of two or more layers learns the singular modes of its data one "
    "after the other, the strongest first, each after a plateau longer than its rise; one layer, or large weights, "
    "show no stages.",
    source=Source(
        authors="Andrew M. Saxe, James L. McClelland, Surya Ganguli",
        title="Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
        year=2014,
        venue="ICLR 2014; invited talk at the ICML 2019 workshop Identifying and Understanding Deep Learning Phenomena",
        arxiv="1312.6120",
    ),
    factors={
        "dataset": looped(
            "images (classes as targets); tree: 8 items of a binary tree and their 15 features; equal: nine modes of "
            "the same strength"
        ),
        "architecture": looped(
            "linear-D: a product of D matrices; relu-D, tanh-D: D matrices with the activation between them; no biases"
        ),
        "init": looped(
            "gaussian: one standard deviation for all matrices; orthogonal: random orthogonal matrices; aligned: "
            "balanced and along the modes, all equally strong",
            default="gaussian",
        ),
        "scale": stacked("spectral norm of the initial map W_D ... W_1, in units of s_1", default=1e-3),
    },
    quantities={
        "initial_norm": Quantity(definition="spectral norm of the initial map over s_1", low=0),
        "modes": Quantity(definition="modes kept: s_a >= 0.05 s_1, 5 % below the last one kept", low=0, quantum=1),
        "learned": Quantity(definition="share of the kept modes with v >= 1/2 at some step", low=0, high=1),
        "order_tau": Quantity(
            definition="Kendall tau over kept modes of strength s and half-way time t50; -1: strongest first",
            low=-1,
            high=1,
            quantum=1 / 18,
        ),
        "time_slope": Quantity(definition="slope of log t50 on log s over kept modes"),
        "law_excess": Quantity(
            definition="slope of log t50 on the log of the closed form's t50, minus 1; one fitted u_0 per net"
        ),
        "stage_index": Quantity(
            definition="Z = (t90 - t10) / t50, median over kept modes, at most 10; small: long plateau, sharp rise",
            low=0,
            high=MOST_SPREAD_OUT,
        ),
        "separation": Quantity(
            definition="share of neighbouring kept modes of which the weaker starts (10 %) after the stronger is half "
            "learned",
            low=0,
            high=1,
        ),
        "half_time_spread": Quantity(definition="largest minus smallest log t50 over kept modes", low=0),
        "curve_error": Quantity(
            definition="relative L2 distance of v(t) from the exact curve with one fitted u_0 a mode, up to twice t90, "
            "mean over kept modes",
            low=0,
        ),
        "plateaus": Quantity(
            definition="minima of |dL/dlog t| below 30 % of both maxima beside them", low=0, quantum=1
        ),
        "mode_strength": Quantity(
            definition="v = u/s, learned share of a mode; time in units of s_1^(2/D - 2)", axes=("mode", "time")
        ),
        "exact_strength": Quantity(definition="the exact curve fitted to it (linear nets)", axes=("mode", "time")),
        "singular_value": Quantity(definition="s of the kept modes", low=0, axes=("mode",)),
        "half_time": Quantity(definition="t50 of the kept modes, time = learning rate x step", low=0, axes=("mode",)),
    },
    protocols={
        "smoke": Protocol(
            grids=(
                Grid(levels={"dataset": ("digits", "tree"), "architecture": ("linear-1",)}, seeds=3, settings=STEPS_1),
                Grid(
                    levels={
                        "dataset": ("digits", "tree"),
                        "architecture": ("linear-2",),
                        "init": (*RANDOM, "aligned"),
                        "scale": (1e-3, 1.0),
                    },
                    seeds=3,
                ),
                Grid(levels={"dataset": ("equal",), "architecture": ("linear-2",), "init": RANDOM}, seeds=3),
                Grid(
                    levels={"dataset": ("digits",), "architecture": ("relu-2", "tanh-2")},
                    seeds=3,
                    settings={**WIDE, "examples": 500, "steps": 400},
                ),
            ),
            settings=SETTINGS,
        ),
        "small": Protocol(
            grids=(
                Grid(levels={"dataset": PROBLEMS[:4], "architecture": ("linear-1",)}, seeds=40, settings=STEPS_1),
                Grid(
                    levels={
                        "dataset": PROBLEMS[:4],
                        "architecture": ("linear-2",),
                        "init": (*RANDOM, "aligned"),
                    },
                    seeds=40,
                ),
                Grid(
                    levels={
                        "dataset": PROBLEMS[:4],
                        "architecture": ("linear-3",),
                        "init": (*RANDOM, "aligned"),
                    },
                    seeds=20,
                    settings=STEPS_3,
                ),
                Grid(levels={"dataset": PROBLEMS[:4], "architecture": ("linear-2",), "scale": SWEEP}, seeds=20),
                Grid(levels={"dataset": ("equal",), "architecture": ("linear-2",), "init": RANDOM}, seeds=40),
                Grid(
                    levels={"dataset": IMAGES, "architecture": ("relu-2", "tanh-2")},
                    seeds=10,
                    settings={**WIDE, "steps": 600},
                ),
                Grid(
                    levels={"dataset": IMAGES, "architecture": ("relu-3", "tanh-3")},
                    seeds=10,
                    settings={**WIDE, "steps": 1500},
                ),
                Grid(
                    levels={"dataset": IMAGES, "architecture": ("relu-4",)},
                    seeds=10,
                    settings={**WIDE, "rate": 0.25, "steps": 3200},
                ),
                Grid(
                    levels={"dataset": IMAGES, "architecture": ("tanh-4",)},
                    seeds=10,
                    settings={**WIDE, "rate": 0.25, "steps": 2200},
                ),
            ),
            settings=SETTINGS,
            cohort=40,
            note="Images pooled to 14x14 (digits 8x8), 50 white principal components; linear nets on 5000 images.",
        ),
        "full": Protocol(
            grids=(
                Grid(levels={"dataset": ("cifar10", "tree"), "architecture": ("linear-1",)}, seeds=20),
                Grid(
                    levels={
                        "dataset": ("cifar10", "tree"),
                        "architecture": ("linear-2",),
                        "init": (*RANDOM, "aligned"),
                        "scale": (1e-3, *SWEEP),
                    },
                    seeds=20,
                ),
                Grid(
                    levels={
                        "dataset": ("cifar10", "tree"),
                        "architecture": DEEP_LINEAR[1:],
                        "init": (*RANDOM, "aligned"),
                    },
                    seeds=20,
                    settings={"steps": 30_000},
                ),
                Grid(levels={"dataset": ("equal",), "architecture": ("linear-2",), "init": RANDOM}, seeds=40),
                Grid(
                    levels={"dataset": ("mnist", "fashion-mnist", "cifar10"), "architecture": NONLINEAR},
                    seeds=20,
                    settings={"rate": 0.2, "steps": 8000},
                ),
            ),
            settings={"examples": 50_000, "size": 0, "components": 512, "width": 512, "rate": 0.1, "steps": 4000},
            cohort=10,
            note="512 white principal components, width 512; needs a GPU.",
        ),
    },
    trial=trial,
    claims=(
        Claim(
            id="C1-order",
            statement="In two-layer linear nets with small random weights the modes are learned in the order of their "
            "strength.",
            effect=Value("order_tau"),
            holds=at_most(-0.9, reason="with 4 to 9 modes hardly a pair may be swapped"),
            within=("dataset", "init"),
            among={**SMALL_START, "architecture": ("linear-2",), "init": RANDOM},
            where=(SMALL_NORM, *LEARNED),
            paper="learning time inversely proportional to the singular value [verified: abstract of the 2019 paper]",
        ),
        Claim(
            id="C1-law",
            statement="Their half-way times follow the closed form, with one initial strength for all modes: the "
            "slope of log t50 on its prediction is 1 within 0.15.",
            effect=Value("law_excess"),
            holds=within(0.15, reason="t50 ~ s^(-1/2) or s^(-3/2) would miss it by 0.4 or more"),
            within=("dataset", "init"),
            among={**SMALL_START, "architecture": ("linear-2",), "init": RANDOM},
            where=(SMALL_NORM, *LEARNED),
        ),
        Claim(
            id="C2",
            statement="Two layers learn in stages and one layer does not: the stage index of one layer is at least "
            "2.5 times that of two, on the same data.",
            effect=log_ratio("stage_index", "architecture", "linear-2", "linear-1"),
            holds=at_least(math.log(2.5), reason="half of the factor 5 that the closed forms give at u_0 = s / 1000"),
            within=("dataset",),
            among=SMALL_START,
            where=LEARNED,
            headline=True,
            paper="long plateaus followed by rapid transitions [verified: abstract]",
        ),
        Claim(
            id="C2-deep",
            statement="In two-layer linear nets a mode waits at least as long as it takes to rise.",
            effect=Value("stage_index"),
            holds=at_most(1.0, reason="the rise from 10 to 90 % takes no longer than the wait until 50 %; theory 0.64"),
            within=("dataset",),
            among={**SMALL_START, "architecture": ("linear-2",)},
            where=LEARNED,
        ),
        Claim(
            id="C2-shallow",
            statement="In one-layer nets it does not: the curves are exponentials.",
            effect=Value("stage_index"),
            holds=at_least(2.8, reason="an exponential has ln 9 / ln 2 = 3.17"),
            within=("dataset",),
            among={**SMALL_START, "architecture": ("linear-1",)},
            where=LEARNED,
            control=True,
        ),
        Claim(
            id="C3-aligned",
            statement="From aligned, balanced weights the mode strengths follow the exact curves.",
            effect=Value("curve_error"),
            holds=at_most(0.05, reason="what the finite step and one fitted number leave"),
            within=("dataset", "architecture"),
            among={**SMALL_START, "architecture": DEEP_LINEAR, "init": ("aligned",)},
            where=LEARNED,
            paper="exact for these initial conditions [verified: abstract]",
        ),
        Claim(
            id="C3-random",
            statement="From small random weights they still do, roughly.",
            effect=Value("curve_error"),
            holds=at_most(0.20, reason="a curve of the right shape at the right time, though modes are coupled"),
            within=("dataset", "architecture", "init"),
            among={**SMALL_START, "architecture": DEEP_LINEAR, "init": RANDOM},
            where=LEARNED,
        ),
        Claim(
            id="C4",
            statement="Non-linear nets on images keep the order: strong linear modes first. The inputs are white, so "
            "it is not an order of input variances.",
            effect=Value("order_tau"),
            holds=at_most(-0.6, reason="four pairs of modes of five in order"),
            within=("dataset", "architecture"),
            among={**SMALL_START, "architecture": NONLINEAR},
            where=LEARNED,
            paper="similar phenomena in simulations of non-linear nets [verified: abstract]",
        ),
        Claim(
            id="C5-large",
            statement="Large initial weights show no stages.",
            effect=Value("stage_index"),
            holds=at_least(2.0, reason="twice what a stage may have, two thirds of an exponential's 3.17"),
            within=("dataset",),
            among={**SMALL_START, "architecture": ("linear-2",), "scale": (1.0,)},
            where=LEARNED,
            control=True,
        ),
        Claim(
            id="C5-equal",
            statement="Equally strong modes are learned together.",
            effect=Value("half_time_spread"),
            holds=at_most(0.1, reason="10 % in time, a tenth of what unequal modes of images spread over"),
            within=("init",),
            among={**SMALL_START, "dataset": ("equal",), "architecture": ("linear-2",), "init": RANDOM},
            where=LEARNED,
            control=True,
        ),
        Claim(
            id="C5-shallow",
            statement="In one-layer nets on white inputs the time does not depend on the strength.",
            effect=Value("time_slope"),
            holds=within(0.1, reason="a tenth of the exponent -1 of deep nets"),
            within=("dataset",),
            among={**SMALL_START, "architecture": ("linear-1",)},
            where=LEARNED,
            control=True,
        ),
    ),
    figures=(
        Lines(
            title="Strength of each mode over time, exact curves dashed",
            x="time",
            y=("mode_strength", "exact_strength"),
            colour="mode",
            panels=("dataset", "architecture"),
            among={
                "dataset": ("tree", "digits", "fashion-mnist"),
                "architecture": ("linear-1", "linear-2", "linear-3"),
                "init": ("gaussian",),
                "scale": (1e-3,),
            },
            dashed=("exact_strength",),
            caption="Kept modes; time in units of s_1^(2/D - 2).",
        ),
        Scatter(
            title="When a mode is half learned, by its strength",
            x="singular_value",
            y="half_time",
            colour="architecture",
            panels=("dataset",),
            among=SMALL_START,
            log_x=True,
            log_y=True,
            caption="Two linear layers: t50 = ln(s/u_0 - 1) / 2s, a slope a little flatter than -1; one: flat.",
        ),
        Lines(
            title="Stage index by size of the initial weights (two linear layers)",
            x="scale",
            y=("stage_index",),
            colour="dataset",
            among={"architecture": ("linear-2",), "init": ("gaussian",), "dataset": PROBLEMS},
            log_x=True,
            reference=1.0,
        ),
    ),
    deviations=(
        "The law (C1-law) has one fitted u_0 per net, the median over its modes: with one per mode, as for the curves "
        "(C3), the slope would be 1 by construction. The plain slope on log s is reported as time_slope.",
        "Bounds decide both ways (docs/statistics.md); the specification would refute C1-law only beyond 0.25 and C2 "
        "only below a ratio of 1.5.",
        "u_0 is fitted by Gauss-Newton steps instead of on a grid; distances count up to twice t90 of the mode.",
        "The tree is not centred, as in the paper: its modes are all items alike, then one split a level; of equally "
        "strong modes one is kept.",
        "MNIST and Fashion-MNIST are pooled to 14x14 before the 50 principal components; digits: 1000 of the 1297 "
        "training images, so that seeds differ in their data; non-linear nets train on 1000 images.",
        "Whitened inputs only (amended specification): on raw inputs the order is that of the input variances.",
        "Steps fit the slowest kept mode (100, 600, 2500 for 1, 2, 3 linear layers), not 4000 for all; the step is "
        "0.1 / (D s_1^(2 - 2/D)), so 0.05 / s_1 for two layers as specified, and 2 to 2.5 times that for non-linear "
        "nets.",
        "The spread of equal modes (C5-equal) is taken as largest minus smallest log t50, the strictest reading.",
        "Lazy output scaling, the alternative to large initial weights in C5, is left out.",
        "Full scale without CIFAR-100 and ImageNet-100, which the data sets here do not include, and so without the "
        "ResNet-18 on coarse and fine classes.",
    ),
    findings="Theory and measurement agree in every linear cell: two layers learn strong modes first (tau -0.98 to "
    "-1), their half-way times follow the closed form within 3 %, the stage index is 0.54 to 0.60 against 3.16 for one "
    "layer (5.2 to 5.8 times as large), and the exact curves fit to 0.2 % from aligned and to 8 % at worst from random "
    "weights. On images non-linear nets keep the order on average (tau -0.84). Where it stops: in tanh nets of every "
    "depth and in relu nets of two and three layers the order is clear, in relu nets of four layers it is -0.55 to "
    "-0.64 and ten seeds do not decide it. Equally strong modes are learned within 8 % (orthogonal) and 10 % "
    "(Gaussian) of each other: what is left of their spread comes from unequal initial strengths.",
)
