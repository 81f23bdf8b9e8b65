"""One small picture for every family of instruments, of a real measurement; docs/instruments.py puts them on the page.

Most show three nets on the digits; where an instrument measures something else, a small case that the caption names.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn import functional

from refute import architectures, datasets
from refute.algorithms import SGD
from refute.architectures import Network, Weights
from refute.datasets import Data
from refute.instruments.accuracy import accuracy
from refute.instruments.activations import layer_outputs
from refute.instruments.alignment import align
from refute.instruments.angular_hardness import angular_hardness
from refute.instruments.association import auroc
from refute.instruments.attractors import contraction
from refute.instruments.bezier import train_curve
from refute.instruments.cka import cka_matrix
from refute.instruments.concentration import concentration
from refute.instruments.confidence import confidence
from refute.instruments.corruptions import corruption_accuracy
from refute.instruments.covariate_shift import input_drift
from refute.instruments.critical import critical_sharpness
from refute.instruments.criticality import reset_accuracy
from refute.instruments.curve_fits import power_law
from refute.instruments.dead_units import filter_activity
from refute.instruments.decomposition import bias_variance
from refute.instruments.directional import gradient_curvature
from refute.instruments.double_descent import double_descent
from refute.instruments.effective_dimension import effective_dimension
from refute.instruments.eigenvalues import eigenvalues
from refute.instruments.evasion import universal_evasion
from refute.instruments.example_agreement import example_agreement
from refute.instruments.explained_information import explained_information
from refute.instruments.features import last_layer, projected, representations
from refute.instruments.fixed_points import fixed_points, linearize, recurrence, visited_states
from refute.instruments.forgetting import forgetting
from refute.instruments.frames import frame_accuracy, pseudo_video, trajectory
from refute.instruments.gradient_norms import gradient_norms
from refute.instruments.half_radius import half_accuracy_noise
from refute.instruments.hessian import curvature
from refute.instruments.layer_norms import ranks_of
from refute.instruments.learning_order import correctness, learning_speed
from refute.instruments.linear_probes import logistic_probe
from refute.instruments.matrix_recovery import (
    frobenius_interpolant,
    matrix_recovery,
    measured,
    nuclear_norm_interpolant,
)
from refute.instruments.max_margin import max_margin
from refute.instruments.memorization import memorization
from refute.instruments.modes import exact_curve, half_times, mode_strengths, rates, singular_modes, whiten
from refute.instruments.neural_collapse import neural_collapse
from refute.instruments.normalized_margin import normalized_margin
from refute.instruments.pac_bayes import pac_bayes_sigma
from refute.instruments.paths import line_profile
from refute.instruments.perturbation import sam_sharpness
from refute.instruments.procedural_noise import gabor_patterns, white_patterns
from refute.instruments.ranking import kendall_tau
from refute.instruments.recurrent_gradients import step_gradients
from refute.instruments.relative_flatness import relative_flatness
from refute.instruments.reproduction import reproduction
from refute.instruments.robustness import robust_accuracy
from refute.instruments.rotation import layer_rotation
from refute.instruments.sharpness import epsilon_sharpness
from refute.instruments.singular_trajectories import singular_trajectories
from refute.instruments.spatial import spatial_accuracy
from refute.instruments.spectrum import spectral_density
from refute.instruments.steps import step_angles
from refute.instruments.trace import trace
from refute.instruments.working_range import working_range
from refute.training import Run, train

SEEDS = [0, 1, 2]
STEPS = 400
BLUE, GREEN, ORANGE = "#2a78d6", "#0d8a63", "#d9730d"
SIDE = 8


@dataclass(frozen=True)
class Example:
    """Three nets on the digits, trained, with the moments between."""

    network: Network
    data: Data
    run: Run

    @property
    def moments(self) -> list[tuple[int, Weights]]:
        return sorted(self.run.snapshots.items())

    @property
    def examples(self) -> tuple[Tensor, Tensor]:
        batch = self.data.first(300)
        return batch.inputs, batch.labels

    @property
    def tests(self) -> tuple[Tensor, Tensor]:
        return self.data.test_inputs, self.data.test_labels

    @property
    def images(self) -> Tensor:
        """The test inputs as images, (example, 1, 8, 8)."""
        return self.data.test_inputs.view(-1, 1, SIDE, SIDE)

    @cached_property
    def linear(self) -> Tensor:
        """What a linear model of the first replica's examples says of the test inputs, (example,)."""
        inputs, labels = self.examples
        probe = logistic_probe(inputs[:1], labels[:1], penalties=[10.0])
        return probe.predicted(self.data.test_inputs[None])[0, 0]


def example() -> Example:
    data = datasets.load("digits", train=300, seeds=SEEDS, test=300, flatten=True, standardize=True)
    network = architectures.build("mlp", data.input_shape, data.classes, depth=3, width=24)
    moments = [0, 5, 10, 20, 40, 80, 160, 280, STEPS]
    run = train(network, data, SGD(0.9), learning_rate=0.02, seeds=SEEDS, steps=STEPS, batch=50, snapshots=moments)
    return Example(network, data, run)


# --- kinds of pictures ----------------------------------------------------------------------------------------------

Draw = Callable[[Example, Axes], None]


def along(measure: Callable[[Example, Weights], Tensor], y: str, *, log: bool = False) -> Draw:
    """A picture of a quantity along training, one line per replica."""

    def draw(shown: Example, axes: Axes) -> None:
        found = torch.stack([measure(shown, weights).detach() for _, weights in shown.moments], dim=1)
        for line in found:
            axes.plot([step + 1 for step, _ in shown.moments], line.tolist(), color=BLUE, alpha=0.8)
        axes.set(xscale="log", xlabel="step + 1", ylabel=y, yscale="log" if log else "linear")

    return draw


def by_layer(measure: Callable[[Example], dict[str, Tensor]], y: str, *, log: bool = False) -> Draw:
    """A picture of a quantity of each layer, one dot per replica."""

    def draw(shown: Example, axes: Axes) -> None:
        found = measure(shown)
        for place, values in enumerate(found.values()):
            axes.plot([place] * len(values), values.tolist(), "o", color=BLUE, alpha=0.7, markersize=4)
        axes.set_xticks(range(len(found)), [name.removesuffix(".weight") for name in found], fontsize=6, rotation=30)
        axes.set(ylabel=y, yscale="log" if log else "linear")

    return draw


def lines(
    axes: Axes, x: list[float], values: Tensor, color: str = BLUE, label: str | None = None, **how: object
) -> None:
    """One line per replica, values (replica, point), with one entry in the legend."""
    for number, line in enumerate(values):
        axes.plot(x, line.tolist(), color=color, label=label if number == 0 else None, **how)


def legend(axes: Axes) -> None:
    axes.legend(fontsize=6, frameon=False)


# --- along training, and by layer -----------------------------------------------------------------------------------


def nc1(shown: Example, weights: Weights) -> Tensor:
    inputs, labels = shown.examples
    return neural_collapse(last_layer(shown.network, weights, inputs), labels).nc1


def hardness(shown: Example, weights: Weights) -> Tensor:
    inputs, labels = shown.examples
    return angular_hardness(last_layer(shown.network, weights, inputs), labels).value.mean(dim=1)


def margins(shown: Example, weights: Weights) -> Tensor:
    inputs, labels = shown.examples
    return confidence(shown.network.evaluate(weights, inputs), labels).margin


def told_by_confidence(shown: Example, weights: Weights) -> Tensor:
    inputs, labels = shown.tests
    found = confidence(shown.network.evaluate(weights, inputs), labels)
    return auroc(found.largest, found.right).value


def like_the_end(shown: Example, weights: Weights) -> Tensor:
    return kendall_tau(margins(shown, weights), margins(shown, shown.run.end))


def kappa(shown: Example, weights: Weights) -> Tensor:
    inputs, labels = shown.tests
    return example_agreement(shown.network.evaluate(weights, inputs).argmax(dim=2) == labels).kappa


def deviations(shown: Example) -> dict[str, Tensor]:
    found = layer_outputs(shown.network, shown.run.end, shown.data.test_inputs)
    return {name: values.flatten(1).std(dim=1) for name, values in found.items() if name != "flatten"}


def dimensions(shown: Example) -> dict[str, Tensor]:
    found = representations(shown.network, shown.run.end, shown.data.test_inputs)
    return {name: next(iter(effective_dimension(values).values.values())) for name, values in found.items()}


def concentrations(shown: Example) -> dict[str, Tensor]:
    found = layer_outputs(shown.network, shown.run.end, shown.data.test_inputs).of_kind("relu")
    return {name: concentration(values).gini.nanmean(dim=-1) for name, values in found.items()}


def norms(shown: Example) -> dict[str, Tensor]:
    found = gradient_norms(shown.network, shown.run.start, *shown.examples)
    return dict(zip(found.kernels, found.norms.T, strict=True))


def resets(shown: Example) -> dict[str, Tensor]:
    found = reset_accuracy(shown.network, shown.run.end, shown.run.start, *shown.tests)
    return dict(zip(shown.network.units, found.T, strict=True))


def ranks(shown: Example) -> dict[str, Tensor]:
    return {name: ranks_of(shown.run.end[name]).stable_rank for name in shown.network.kernels}


def rotations(shown: Example) -> dict[str, Tensor]:
    return dict(zip(shown.network.kernels, layer_rotation(shown.run.start, shown.run.end).T, strict=True))


def flatness(shown: Example) -> dict[str, Tensor]:
    found = relative_flatness(shown.network, shown.run.end, *shown.examples, seeds=SEEDS)
    return dict(zip(found.kernels, found.value.T, strict=True))


def drifts(shown: Example) -> dict[str, Tensor]:
    moments = dict(shown.moments)
    found = input_drift(shown.network, moments[20], moments[40], shown.data.test_inputs, seeds=SEEDS)
    return dict(zip(found.layers, found.moments.T, strict=True))


def probes(shown: Example) -> dict[str, Tensor]:
    inputs, labels = shown.examples
    seen, unseen = (representations(shown.network, shown.run.end, x) for x in (inputs, shown.data.test_inputs))
    return {
        name: logistic_probe(seen[name], labels).accuracy(unseen[name], shown.data.test_labels)[:, 0] for name in seen
    }


# --- three nets on the digits ---------------------------------------------------------------------------------------


def draw_spectrum(shown: Example, axes: Axes) -> None:
    found = spectral_density(shown.network, shown.run.end, *shown.examples, seeds=SEEDS, probes=4, steps=60)
    axes.plot(found.nodes[0].flatten().tolist(), found.weights[0].flatten().tolist(), ".", markersize=3)
    axes.set(xlabel="eigenvalue", ylabel="weight", yscale="log")


def rolled(shown: Example) -> Weights:
    """Every net's neighbour."""
    return Weights(shown.run.end.slots, shown.run.end.flat.roll(1, dims=0), shown.run.end.buffers)


def draw_line(shown: Example, axes: Axes) -> None:
    found = line_profile(shown.network, shown.run.end, rolled(shown), *shown.examples)
    lines(axes, found.fractions.tolist(), found.losses)
    axes.set(xlabel="from one net to another", ylabel="loss")


def draw_alignment(shown: Example, axes: Axes) -> None:
    other = rolled(shown)
    aligned = align(shown.network, shown.run.end, other, seeds=SEEDS).weights
    for second, color, label in ((other, BLUE, "as trained"), (aligned, GREEN, "units aligned")):
        found = line_profile(shown.network, shown.run.end, second, *shown.examples)
        lines(axes, found.fractions.tolist(), found.losses, color, label)
    axes.set(xlabel="from one net to another", ylabel="loss")
    legend(axes)


def draw_curve(shown: Example, axes: Axes) -> None:
    found = train_curve(shown.network, shown.run.end, rolled(shown), *shown.examples, seeds=SEEDS, steps=200)
    axes.plot(found.losses[0].tolist(), color=BLUE)
    axes.set(xlabel="step", ylabel="loss on the curve", yscale="log")


def draw_steps(shown: Example, axes: Axes) -> None:
    axes.plot(step_angles([weights for _, weights in shown.moments]).angles.T.tolist(), color=BLUE)
    axes.set(xlabel="moment", ylabel="angle between steps")


def draw_cka(shown: Example, axes: Axes) -> None:
    layers = list(representations(shown.network, shown.run.end, shown.data.test_inputs).values())
    axes.imshow(cka_matrix(layers)[0], vmin=0, vmax=1, cmap="viridis")
    axes.set(xlabel="layer", ylabel="layer")


def draw_features(shown: Example, axes: Axes) -> None:
    last = last_layer(shown.network, shown.run.end, shown.data.test_inputs)
    found = projected(last.features, 2, seeds=SEEDS)[0]
    axes.scatter(*found.T.tolist(), c=shown.data.test_labels.tolist(), cmap="tab10", s=3)
    axes.set(xlabel="random direction", ylabel="another")


def draw_robust(shown: Example, axes: Axes) -> None:
    radii = [0.05 * k for k in range(9)]
    found = robust_accuracy(shown.network, shown.run.end, *shown.tests, radii=radii, seeds=SEEDS, steps=10)
    lines(axes, radii, found.accuracy)
    axes.set(xlabel="radius (l-infinity)", ylabel="accuracy", ylim=(0, 1))


def draw_noise(shown: Example, axes: Axes) -> None:
    levels = [0.25 * k for k in range(9)]
    found = corruption_accuracy(shown.network, shown.run.end, *shown.tests, kind="gaussian", levels=levels, seeds=SEEDS)
    lines(axes, levels, found.accuracy)
    axes.set(xlabel="noise, sd of a pixel", ylabel="accuracy", ylim=(0, 1))


def draw_half(shown: Example, axes: Axes) -> None:
    found = half_accuracy_noise(shown.network, shown.run.end, *shown.tests, seeds=SEEDS, start=0.5)
    for radii, accuracies in zip(found.radii, found.accuracies, strict=True):
        axes.plot(radii.tolist(), accuracies.tolist(), ".", color=BLUE, markersize=4)
    away = torch.stack([found.radius - found.low, found.high - found.radius]).tolist()
    half = (found.clean / 2).tolist()
    axes.errorbar(found.radius.tolist(), half, xerr=away, fmt="|", color=ORANGE, label="half, 95 %")
    axes.set(xlabel="noise, sd of a pixel", ylabel="accuracy")
    legend(axes)


def draw_evasion(shown: Example, axes: Axes) -> None:
    radii = [0.1, 0.2, 0.4, 0.8, 1.6]
    kinds = (
        ("Gabor", gabor_patterns(SIDE, 10, seed=0).signs, ORANGE),
        ("white", white_patterns(SIDE, 10, seed=0), BLUE),
    )
    for name, patterns, color in kinds:
        found = [
            universal_evasion(shown.network, shown.run.end, shown.data.test_inputs, patterns, radius=radius)
            for radius in radii
        ]
        lines(axes, radii, torch.stack([each.rate.mean(dim=1) for each in found], dim=1), color, name)
    axes.set(xlabel="radius", ylabel="changed predictions", xscale="log")
    legend(axes)


def draw_spatial(shown: Example, axes: Axes) -> None:
    degrees = [float(k) for k in range(-45, 46, 9)]
    poses = torch.tensor([[angle, 0.0, 0.0] for angle in degrees])
    found = spatial_accuracy(
        shown.network, shown.run.end, shown.images, shown.data.test_labels, poses=poses, padding="border"
    )
    lines(axes, degrees, found.each)
    for worst in found.worst.tolist():
        axes.axhline(worst, color=ORANGE, linewidth=0.8)
    axes.set(xlabel="degrees (orange: worst of all)", ylabel="accuracy", ylim=(0, 1))


def draw_frames(shown: Example, axes: Axes) -> None:
    path = trajectory(len(shown.images), seed=0, side=SIDE)
    low, high = float(shown.images.min()), float(shown.images.max())
    frames = pseudo_video(shown.images, path, low=low, high=high)
    found = frame_accuracy(shown.network, shown.run.end, frames, shown.data.test_labels, accepted=path.accepted)
    lines(axes, [float(k) for k in range(found.worst.shape[1])], found.worst)
    axes.set(xlabel="frames to either side", ylabel="right on all of them", ylim=(0, 1))


def draw_dead(shown: Example, axes: Axes) -> None:
    found = filter_activity(shown.network, shown.run.end, shown.data.test_inputs)
    for (name, values), color in zip(found.selectivity.items(), (BLUE, GREEN, ORANGE), strict=True):
        ordered = values.sort(dim=1).values
        lines(axes, torch.linspace(0, 1, ordered.shape[1]).tolist(), ordered, color, name, linewidth=0.8)
    axes.set(xlabel="units, in order", ylabel="share of silent inputs", ylim=(0, 1))
    legend(axes)


def draw_information(shown: Example, axes: Axes) -> None:
    steps = [step + 1 for step, _ in shown.moments]
    said = [shown.network.evaluate(weights, shown.data.test_inputs).argmax(dim=2) for _, weights in shown.moments]
    halves = (torch.stack(said, dim=1) >= 5).long()
    found = explained_information(halves, (shown.linear >= 5).long(), (shown.data.test_labels >= 5).long(), classes=2)
    lines(axes, steps, found.total, BLUE, "of the net")
    lines(axes, steps, found.explained, ORANGE, "explained")
    axes.set(xlabel="step + 1", ylabel="bits: digit 5 or more", xscale="log")
    legend(axes)


def draw_order(shown: Example, axes: Axes) -> None:
    steps, checkpoints = zip(*shown.moments, strict=True)
    correct = correctness(shown.network, checkpoints, *shown.tests)
    found = learning_speed(correct, steps, shown.linear == shown.data.test_labels)
    at = [step + 1 for step in steps]
    lines(axes, at, found.group_accuracy, BLUE, "a linear model is right")
    lines(axes, at, found.others_accuracy, ORANGE, "it is wrong")
    axes.set(xlabel="step + 1", ylabel="accuracy", xscale="log", ylim=(0, 1.02))
    legend(axes)


def draw_forgetting(shown: Example, axes: Axes) -> None:
    """The same nets with a fifth of the labels wrong, looked at every 10 steps."""
    data = datasets.load("digits", train=300, seeds=SEEDS, test=300, flatten=True, standardize=True, label_noise=0.2)
    moments = list(range(0, STEPS + 1, 10))
    run = train(
        shown.network, data, SGD(0.9), learning_rate=0.02, seeds=SEEDS, steps=STEPS, batch=50, snapshots=moments
    )
    batch = data.first(300)
    correct = correctness(shown.network, [run.snapshots[step] for step in moments], batch.inputs, batch.labels)
    events, wrong = forgetting(correct).events, data.labels != data.clean_labels
    both = [events[~wrong].tolist(), events[wrong].tolist()]
    bins = [k - 0.5 for k in range(int(events.max()) + 2)]
    axes.hist(both, bins=bins, density=True, color=[BLUE, ORANGE], label=["label right", "label wrong"])
    axes.set(xlabel="forgetting events", ylabel="share of examples")
    legend(axes)


def draw_normalized(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    """Nets without biases, on 100 digits."""
    data = datasets.load("digits", train=100, seeds=SEEDS, test=100, flatten=True, standardize=True)
    network = architectures.build("mlp", data.input_shape, data.classes, depth=2, width=24, bias=False)
    moments = [10, 20, 50, 100, 200, 500, 1000, 2000]
    run = train(network, data, learning_rate=0.1, seeds=SEEDS, steps=2000, batch=None, snapshots=moments)
    batch = data.first(100)
    found = [normalized_margin(network, run.snapshots[step], batch.inputs, batch.labels) for step in moments]
    lines(axes, moments, torch.stack([each.normalized for each in found], dim=1))
    axes.axhline(0, color="grey", linestyle=":")
    axes.set(xlabel="step", ylabel="normalized margin", xscale="log")


def draw_hessian(shown: Example, axes: Axes) -> None:
    """A net of 4-4-3 units at its initial weights, on digits of 2 x 2 pixels."""
    inputs = functional.avg_pool2d(shown.images, SIDE // 2).flatten(1)
    network = architectures.build("mlp", (4,), 3, depth=1, width=4, activation="tanh")
    at = curvature(network, network.initialize([0]), inputs, shown.data.test_labels % 3)
    matrix = at.product(torch.eye(at.parameters)[None])[0]
    most = float(matrix.abs().max())
    axes.imshow(matrix, cmap="RdBu", vmin=-most / 2, vmax=most / 2)
    axes.set(xlabel="parameter", ylabel="parameter")


# --- small cases of their own ---------------------------------------------------------------------------------------


def fitted(parts: list[nn.Module], inputs: Tensor, steps: int, *, rate: float = 1e-3) -> nn.Sequential:
    """A module trained by Adam to give its inputs back."""
    made = nn.Sequential(*parts)
    optimizer = torch.optim.Adam(made.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(made(inputs), inputs).backward()
        optimizer.step()
    return made


@cache
def autoencoder() -> tuple[nn.Sequential, Tensor, Tensor]:
    """An autoencoder of 6 layers trained on 10 digits, these, and 40 others."""
    data = datasets.load("digits", train=10, seeds=[0], test=40, flatten=True)
    images = data.first(10).inputs[0]
    torch.manual_seed(0)
    widths = [64, 128, 128, 128, 128, 128]
    parts = [part for pair in itertools.pairwise(widths) for part in (nn.Linear(*pair), nn.LeakyReLU())]
    return fitted([*parts, nn.Linear(128, 64)], images, 2000), images, data.test_inputs


def draw_attractors(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    made, seen, unseen = autoencoder()
    for images, color, label in ((unseen, BLUE, "unseen digits"), (seen, ORANGE, "trained digits")):
        found = contraction(made, None, images)
        axes.plot(found.radius[0].tolist(), found.error[0].tolist(), "o", color=color, markersize=3, label=label)
    axes.axvline(1, color="grey", linestyle=":")
    axes.set(xlabel="spectral radius of the Jacobian", ylabel="|f(x) - x| / |x|", yscale="log")
    legend(axes)


def draw_memorization(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    made, seen, unseen = autoencoder()
    found = memorization(made, None, unseen, seen)
    axes.plot(found.identity_error[0].tolist(), found.span_residual[0].tolist(), "o", color=BLUE, markersize=3)
    axes.axhline(found.span_reference.item(), color="grey", linestyle=":", label="a random direction")
    axes.set(xlabel="error as an identity", ylabel="residual to the span", ylim=(0, 1))
    legend(axes)


def draw_reproduction(shown: Example, axes: Axes) -> None:
    """Nets trained on one digit alone, shown others."""
    images = (shown.images - shown.images.min()).flatten(1) / 10
    depths = [1, 2, 3, 5, 7]
    found = []
    for depth in depths:
        outputs = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            parts = [part for _ in range(depth - 1) for part in (nn.Linear(64, 64), nn.ReLU())]
            made = fitted([*parts, nn.Linear(64, 64)], images[seed : seed + 1], 300)
            outputs.append(made(images[50:150]).detach())
        others = images[50:150].expand(len(SEEDS), -1, -1)
        found.append(reproduction(torch.stack(outputs), others, images[: len(SEEDS)]).bias)
    lines(axes, depths, torch.stack(found, dim=1), marker="o", markersize=3)
    axes.set(xlabel="layers", ylabel="constant -1 ... 1 identity", ylim=(-1, 1))


def gru(seed: int, size: int, hidden: int, gain: float) -> dict[str, Tensor]:
    """A recurrent layer's initial weights, the recurrent ones scaled by the gain."""
    torch.manual_seed(seed)
    made = {name.removesuffix("_l0"): each.detach()[None] for name, each in nn.GRU(size, hidden).named_parameters()}
    return {**made, "weight_hh": gain * made["weight_hh"]}


def draw_fixed(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    step = recurrence("gru", gru(0, 4, 32, 3.0))
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(1, 20, 30, 4, generator=generator, dtype=torch.float64)
    visited = visited_states(step, words, 32).flatten(1, 2)
    rest = torch.zeros(1, 4, dtype=torch.float64)
    found = fixed_points(step, visited[:, ::20], rest, tolerance=1e-6)
    points = found.states[found.kept][None]
    values = linearize(step, points, rest).eigenvalues.flatten()
    axes.plot(values.real.tolist(), values.imag.tolist(), ".", color=BLUE, markersize=4)
    around = [2 * math.pi * k / 200 for k in range(201)]
    axes.plot([math.cos(a) for a in around], [math.sin(a) for a in around], color="grey", linestyle=":")
    axes.set(xlabel="real part", ylabel="imaginary part", aspect="equal")


def draw_recurrent(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    generator = torch.Generator().manual_seed(0)
    layers = [gru(number, 16, 16, 1.0) for number in range(4)]
    words, targets = (
        torch.randn(1, 8, 20, 16, generator=generator),
        torch.randint(0, 5, (1, 8, 20), generator=generator),
    )
    kernel = torch.randn(1, 5, 16, generator=generator) / 4
    found = step_gradients("gru", words, layers, kernel, None, targets)
    axes.boxplot([own.norm(dim=3).flatten().tolist() for own in found.gradients], showfliers=False)
    axes.set(xlabel="layer", ylabel="|gradient|", yscale="log")


def draw_fit(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    x = torch.logspace(1, 4, 13, dtype=torch.float64)
    noise = torch.randn(1, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (2 * x**-0.5 + 0.02) * (0.05 * noise).exp()
    found = power_law(x, y, floor=True)
    label = f"exponent {found.exponent.item():.2f} +- {found.exponent_error.item():.2f}"
    axes.plot(x.tolist(), y[0].tolist(), "o", color=BLUE, markersize=3)
    axes.plot(x.tolist(), found(x)[0].tolist(), color=ORANGE, label=label)
    axes.set(xlabel="x", ylabel="y", xscale="log", yscale="log")
    legend(axes)


WIDTHS = [2, 4, 8, 16, 24, 32, 40, 48, 64, 96, 128, 256]


@cache
def random_features() -> tuple[Tensor, Tensor]:
    """Predictions (width, training set, start, example, 1) of least-norm fits on random relu features, and values.

    10 training sets of 40 noisy examples of a linear function of 10 numbers, 5 draws of the features.
    """
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(10, 1, generator=generator, dtype=torch.float64) / 10**0.5
    unseen = torch.randn(200, 10, generator=generator, dtype=torch.float64)
    sets = torch.randn(10, 40, 10, generator=generator, dtype=torch.float64)
    values = sets @ truth + 0.5 * torch.randn(10, 40, 1, generator=generator, dtype=torch.float64)
    drawn = torch.randn(5, 10, max(WIDTHS), generator=generator, dtype=torch.float64)
    found = []
    for width in WIDTHS:
        seen, shown = ((x.unsqueeze(-3) @ drawn[..., :width]).relu() for x in (sets, unseen))
        found.append(shown @ torch.linalg.pinv(seen) @ values.unsqueeze(1))
    return torch.stack(found), unseen @ truth


def draw_parts(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    predictions, values = random_features()
    found = bias_variance(predictions, values).parts
    for name, color in (("risk", "grey"), ("bias_squared", GREEN), ("variance", BLUE)):
        axes.plot(WIDTHS, getattr(found, name).tolist(), color=color, label=name.replace("_", " "))
    axes.set(xlabel="features", ylabel="squared error", xscale="log", yscale="log")
    legend(axes)


def draw_descent(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    predictions, values = random_features()
    errors = (predictions - values).square().mean(dim=(3, 4))[:, :3, 0].T
    found = double_descent(errors.log(), WIDTHS)
    lines(axes, WIDTHS, errors)
    for peak in found.location.tolist():
        axes.axvline(peak, color=ORANGE, linewidth=0.8)
    axes.set(xlabel="features (orange: peaks found)", ylabel="squared error", xscale="log", yscale="log")


def draw_recovery(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 6, 1, generator=generator, dtype=torch.float64)
    truth, numbers, errors = vectors @ vectors.mT, [3, 6, 9, 12, 15, 18, 21], []
    maps = torch.randn(3, max(numbers), 6, 6, generator=generator, dtype=torch.float64)
    maps = (maps + maps.mT) / 2
    for number in numbers:
        own, values = maps[:, :number], measured(maps[:, :number], truth)
        least = nuclear_norm_interpolant(own, values)
        for found in (least.matrix, frobenius_interpolant(own, values)):
            errors.append(matrix_recovery(found, own, values, least, truth).error)
    lines(axes, numbers, torch.stack(errors[::2], dim=1).clamp(min=1e-7), ORANGE, "nuclear norm")
    lines(axes, numbers, torch.stack(errors[1::2], dim=1).clamp(min=1e-7), BLUE, "Frobenius norm")
    axes.set(xlabel="measurements of a 6 x 6 matrix of rank 1", ylabel="relative error", yscale="log")
    legend(axes)


def draw_margin(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    points = points[(points[:, 0] + points[:, 1]).abs() > 0.4]
    sides = (points.sum(dim=1) > 0).double() * 2 - 1
    with_bias = torch.cat([points, torch.full_like(points[:, :1], 10.0)], dim=1)  # a large constant: the bias is free
    a, b, c = max_margin((sides.unsqueeze(1) * with_bias)[None]).direction[0].tolist()
    axes.scatter(*points.T.tolist(), c=sides.tolist(), cmap="coolwarm", s=6)
    across = [-2.5, 2.5]
    for level, style in ((-1, ":"), (0, "-"), (1, ":")):
        axes.plot(across, [(level - 10 * c - a * x) / b for x in across], color="grey", linestyle=style)
    axes.set(xlabel="x", ylabel="y", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))


def descent(target: Tensor, depth: int, *, steps: int, rate: float, start: float) -> tuple[Tensor, list[float]]:
    """Products (1, moment, row, column) of `depth` matrices under gradient descent, and the times.

    On |product - target|^2 / 2, all from `start` times an orthogonal frame of the target, so that they are balanced.
    """
    left, _, right = torch.linalg.svd(target, full_matrices=False)
    middle = torch.eye(len(right), dtype=target.dtype)
    matrices = [start * right, *[start * middle] * (depth - 2), start * left]
    matrices = [each.clone().requires_grad_() for each in matrices]
    kept, times = [], []
    for step in range(steps + 1):
        product = matrices[0]
        for each in matrices[1:]:
            product = each @ product
        if step % (steps // 100) == 0:
            kept.append(product.detach())
            times.append(rate * step)
        slopes = torch.autograd.grad((product - target).square().sum() / 2, matrices)
        for each, slope in zip(matrices, slopes, strict=True):
            each.data.sub_(rate * slope)
    return torch.stack(kept)[None], times


def draw_modes(shown: Example, axes: Axes) -> None:
    """A linear net of two matrices on 6 whitened components of the digits, against the exact curves."""
    inputs = whiten(shown.data.test_inputs[None].double(), components=6)
    targets = functional.one_hot(shown.data.test_labels).double()[None]
    targets = targets - targets.mean(dim=1, keepdim=True)
    modes = singular_modes(inputs, targets)
    target = ((modes.left * modes.values.unsqueeze(1)) @ modes.right.mT)[0]
    start = 0.03
    maps, times = descent(target, 2, steps=2000, rate=0.05, start=start)
    strengths = torch.stack([mode_strengths(one[None], modes)[0] for one in maps[0]])
    half = half_times(modes.values, torch.full_like(modes.values, start**2), 2)
    elapsed = rates(modes.values, 2)[0] * (torch.tensor(times, dtype=torch.float64).unsqueeze(1) - half)
    axes.plot(times, strengths.tolist(), color=BLUE)
    axes.plot(times, (modes.values * exact_curve(elapsed, 2)).tolist(), color=ORANGE, linestyle=":")
    axes.set(xlabel="time (dotted: exact curves)", ylabel="strength of modes")


def draw_trajectories(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    generator = torch.Generator().manual_seed(0)
    frames = torch.linalg.qr(torch.randn(2, 5, 5, generator=generator, dtype=torch.float64)).Q
    target = frames[0] @ torch.diag(torch.tensor([3.0, 2.0, 1.4, 1.0, 0.7], dtype=torch.float64)) @ frames[1]
    maps, times = descent(target, 3, steps=2000, rate=0.005, start=0.2)
    found = singular_trajectories(maps, times)
    axes.plot(times, found.values[0].tolist(), color=BLUE)
    last = found.values[0, -1] / 2
    axes.plot(found.half_times[0].tolist(), last.tolist(), "o", color=ORANGE, markersize=3, label="half")
    axes.set(xlabel="time", ylabel="singular values")
    legend(axes)


def draw_patterns(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    found = gabor_patterns(32, 6, seed=0).signs
    framed = functional.pad(found, (2, 2, 2, 2), value=0.0)
    axes.imshow(torch.cat([torch.cat(list(row), dim=1) for row in framed.view(2, 3, 36, 36)]), cmap="gray")
    axes.set(xticks=[], yticks=[])


def draw_range(shown: Example, axes: Axes) -> None:  # noqa: ARG001
    x = torch.linspace(-4, 4, 17)
    y = torch.exp(-((x + 0.5) ** 2) / 4).unsqueeze(0)
    found = working_range(x, y, torch.tensor([0.5]))
    axes.plot(x.tolist(), y[0].tolist(), color=BLUE)
    axes.axvspan(found.low.item(), found.high.item(), color=GREEN, alpha=0.2)
    axes.axhline(0.5, color="grey", linestyle=":")
    axes.set(xlabel="setting", ylabel="result")


# --- all of them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """`caption`: what is shown, where it is not three nets on the digits as they are."""

    draw: Draw
    caption: str = ""


AUTOENCODER = "An autoencoder of 6 layers, 128 units wide, trained on 10 digits."
RANDOM_FEATURES = "Least-norm fits on random relu features, 40 noisy examples of a linear function."
PICTURES: dict[str, Picture] = {
    "accuracy": Picture(along(lambda e, w: accuracy(e.network, w, *e.tests), "test accuracy")),
    "activations": Picture(by_layer(deviations, "sd of outputs")),
    "alignment": Picture(draw_alignment),
    "angular_hardness": Picture(along(hardness, "mean AVH")),
    "association": Picture(
        along(told_by_confidence, "area under ROC"), "How well confidence tells right from wrong test answers."
    ),
    "attractors": Picture(draw_attractors, AUTOENCODER),
    "bezier": Picture(draw_curve),
    "cka": Picture(draw_cka),
    "concentration": Picture(by_layer(concentrations, "Gini index")),
    "confidence": Picture(along(lambda e, w: margins(e, w).mean(dim=1), "mean margin")),
    "corruptions": Picture(draw_noise),
    "covariate_shift": Picture(by_layer(drifts, "drift of moments"), "Inputs of the layers, from step 20 to 40."),
    "critical": Picture(
        along(lambda e, w: critical_sharpness(e.network, w, *e.examples).value, "critical sharpness", log=True)
    ),
    "criticality": Picture(by_layer(resets, "accuracy after a reset")),
    "curve_fits": Picture(draw_fit, "2 x^(-1/2) + 0.02 with 5 % noise."),
    "dead_units": Picture(draw_dead),
    "decomposition": Picture(draw_parts, RANDOM_FEATURES),
    "directional": Picture(
        along(lambda e, w: gradient_curvature(e.network, w, *e.examples).hessian, "curvature along g")
    ),
    "double_descent": Picture(draw_descent, RANDOM_FEATURES),
    "effective_dimension": Picture(by_layer(dimensions, "effective dimension")),
    "eigenvalues": Picture(
        along(lambda e, w: eigenvalues(e.network, w, *e.examples, seeds=SEEDS).values[:, 0], "top eigenvalue", log=True)
    ),
    "evasion": Picture(draw_evasion),
    "example_agreement": Picture(along(kappa, "error consistency")),
    "explained_information": Picture(draw_information, "What a linear model explains of the nets."),
    "features": Picture(draw_features, "Inputs of the last layer, test digits by class."),
    "fixed_points": Picture(draw_fixed, "Eigenvalues around the fixed points of a random GRU of 32 units."),
    "forgetting": Picture(draw_forgetting, "The same nets with a fifth of the labels wrong."),
    "frames": Picture(draw_frames),
    "gradient_norms": Picture(by_layer(norms, "gradient norm", log=True)),
    "half_radius": Picture(draw_half),
    "hessian": Picture(draw_hessian, "The Hessian of a net of 4-4-3 units, a product with each unit vector."),
    "layer_norms": Picture(by_layer(ranks, "stable rank")),
    "learning_order": Picture(draw_order),
    "linear_probes": Picture(by_layer(probes, "test accuracy")),
    "matrix_recovery": Picture(draw_recovery, "Random measurements of three matrices."),
    "max_margin": Picture(draw_margin, "Two separable clouds."),
    "memorization": Picture(draw_memorization, AUTOENCODER),
    "modes": Picture(draw_modes, "A linear net of two matrices on whitened digits."),
    "neural_collapse": Picture(along(nc1, "NC1", log=True)),
    "normalized_margin": Picture(draw_normalized, "Nets of 24-24 units without biases, 100 digits."),
    "pac_bayes": Picture(
        along(lambda e, w: pac_bayes_sigma(e.network, w, *e.examples, seeds=SEEDS).sigma, "tolerated noise")
    ),
    "paths": Picture(draw_line),
    "perturbation": Picture(
        along(lambda e, w: sam_sharpness(e.network, w, *e.examples, rho=0.1).value, "rise of the loss")
    ),
    "procedural_noise": Picture(draw_patterns, "Gabor patterns of 32 x 32 pixels."),
    "ranking": Picture(along(like_the_end, "Kendall's tau"), "Order of the examples' margins, compared with the last."),
    "recurrent_gradients": Picture(draw_recurrent, "A random GRU of 4 layers, 16 units each."),
    "relative_flatness": Picture(by_layer(flatness, "relative flatness")),
    "reproduction": Picture(draw_reproduction, "Relu nets of 64 units trained on one digit alone, shown 100 others."),
    "robustness": Picture(draw_robust),
    "rotation": Picture(by_layer(rotations, "cosine distance")),
    "sharpness": Picture(
        along(lambda e, w: epsilon_sharpness(e.network, w, *e.examples, seeds=SEEDS, steps=5).value, "sharpness")
    ),
    "singular_trajectories": Picture(draw_trajectories, "A product of three 5 x 5 matrices, fitted to a matrix."),
    "spatial": Picture(draw_spatial),
    "spectrum": Picture(draw_spectrum),
    "steps": Picture(draw_steps),
    "trace": Picture(along(lambda e, w: trace(e.network, w, *e.examples, seeds=SEEDS).value, "Hessian trace")),
    "working_range": Picture(draw_range, "A bell-shaped curve."),
}
