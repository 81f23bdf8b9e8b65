"""Every instrument on a device that is not the CPU, against the same on the CPU.

The device is simulated (see `other_device`): it computes, and it refuses what CUDA refuses.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from other_device import assert_close, fetched, other_device, sent
from torch import Tensor, nn

from refute import architectures, instruments
from refute.architectures import Network, Weights
from refute.instruments.features import shuffled
from refute.instruments.hessian import cast
from refute.instruments.matrix_recovery import measured
from refute.randomness import stream

SEEDS = (5, 6, 7)
NETWORK = architectures.build("mlp", (6,), 3, depth=2, width=5, normalization="batch", activation="tanh")
PLAIN = architectures.build("mlp", (6,), 3, depth=2, width=5)
LINEAR = architectures.build("linear", (6,), 6, depth=2, width=4)
IMAGES = architectures.build("vgg", (1, 8, 8), 3, multiplier=0.25)
MODULE = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
STEPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(0, f"drawn-{shape}"), dtype=torch.float64)


def uniform(*shape: int) -> Tensor:
    return torch.rand(shape, generator=stream(0, f"uniform-{shape}"), dtype=torch.float64)


def weights(network: Network, purpose: str = "initialization") -> Weights:
    made = cast(network.initialize(SEEDS, purpose=purpose), torch.float64)
    made.flat.add_(0.2 * drawn(*made.flat.shape))
    return made


@dataclass(frozen=True)
class Lab:
    """What the instruments are given; replicas lead."""

    start: Weights
    end: Weights
    plain: Weights
    other: Weights
    linear: Weights
    convolutional: Weights
    inputs: Tensor
    labels: Tensor
    images: Tensor
    kinds: Tensor
    features: Tensor
    groups: Tensor
    outputs: Tensor
    correct: Tensor
    errors: Tensor
    curves: Tensor
    times: Tensor
    maps: Tensor
    layer: Mapping[str, Tensor]
    states: Tensor
    words: Tensor
    step: Tensor


def lab() -> Lab:
    errors = torch.tensor([[9.0, 5, 7, 8, 6, 4], [9.0, 6, 8, 8, 5, 3], [8.0, 5, 6, 9, 5, 4]], dtype=torch.float64)
    return Lab(
        start=weights(NETWORK),
        end=weights(NETWORK, "end"),
        plain=weights(PLAIN),
        other=weights(PLAIN, "other"),
        linear=weights(LINEAR),
        convolutional=weights(IMAGES),
        inputs=drawn(30, 6),
        labels=torch.arange(30) % 3,
        images=uniform(12, 1, 8, 8),
        kinds=torch.arange(12) % 3,
        features=drawn(3, 30, 4),
        groups=torch.arange(30) % 2 == 0,
        outputs=drawn(3, 30, 3),
        correct=uniform(3, 6, 30) < torch.linspace(0.2, 1, 6, dtype=torch.float64).view(6, 1),
        errors=errors,
        curves=torch.linspace(0.01, 0.99, 8, dtype=torch.float64).expand(3, 2, 8) * (1 - 0.1 * uniform(3, 2, 1)),
        times=torch.arange(8.0, dtype=torch.float64).expand(3, 8),
        maps=drawn(5, 3, 3) + drawn(5, 3, 3).mT,
        layer={"weight_ih": drawn(3, 16, 3), "weight_hh": 0.3 * drawn(3, 16, 4), "bias_ih": 0.1 * drawn(3, 16)},
        states=0.1 * drawn(3, 6, 8),
        words=drawn(3, 5, 7, 3),
        step=drawn(*weights(NETWORK).flat.shape),
    )


def examples(on: Lab) -> tuple[Any, ...]:
    return NETWORK, on.end, on.inputs, on.labels


def pictures(on: Lab) -> tuple[Any, ...]:
    return IMAGES, on.convolutional, on.images, on.kinds


def both_nets(on: Lab) -> tuple[Any, ...]:
    return PLAIN, on.plain, on.other, on.inputs, on.labels


def step_of(on: Lab) -> instruments.Recurrence:
    return instruments.recurrence("lstm", on.layer)


def last(on: Lab) -> instruments.LastLayer:
    return instruments.last_layer(PLAIN, on.plain, on.inputs)


def recovered(on: Lab) -> Any:
    found = instruments.frobenius_interpolant(on.maps, on.states[:, 0, :5])
    best = instruments.nuclear_norm_interpolant(on.maps, on.states[:, 0, :5], iterations=50)
    return best, instruments.matrix_recovery(found, on.maps, on.states[:, 0, :5], best, found)


def modes_of(on: Lab) -> Any:
    white = instruments.whiten(on.features, components=3)
    modes = instruments.singular_modes(white, on.outputs)
    return white, modes.values, instruments.mode_strengths(on.features[:, :3, :3], modes)


def linearized(on: Lab) -> Any:
    step, states, zero = step_of(on), on.states, torch.zeros_like(on.words[:, 0, 0])
    found = instruments.linearize(step, states, zero)
    resting = instruments.mean_step(step, on.words[:, 0])
    left = torch.ones_like(states)
    pushed = instruments.valences(step, states, zero, left, on.words[:, 0], resting=resting, linear=found)
    run = instruments.linear_run(step, states, found.jacobians, zero, on.words)
    return found.eigenvalues.abs().sort(dim=-1).values, found.slow_ratio, pushed, run


def fixed(on: Lab) -> Any:
    step = step_of(on)
    visited = instruments.visited_states(step, on.words, 8)
    starts = visited.flatten(1, 2)[:, :6]
    found = instruments.fixed_points(step, starts, torch.zeros_like(on.words[:, 0, 0]), tolerance=1e-1, steps=20)
    return visited, found, instruments.state_dimension(visited.flatten(1, 2))


def gabor(on: Lab) -> Any:
    patterns = instruments.gabor_patterns(8, 3, seed=0).signs.to(on.images)
    return instruments.permuted_patterns(patterns, seed=0), instruments.phase_randomized(patterns, seed=0)


def videos(on: Lab) -> Any:
    path = instruments.trajectory(12, seed=0, side=8, reach=2)
    frames = list(instruments.pseudo_video(on.images, path))
    return frames, instruments.frame_accuracy(IMAGES, on.convolutional, frames, on.kinds)


SECOND_ORDER: dict[str, Callable[[Lab], Any]] = {
    "curvature": lambda on: instruments.curvature(*examples(on)).product(on.step),
    "hessian_product": lambda on: instruments.hessian_product(*examples(on), on.step, matrix="gauss-newton"),
    "hessian_product, in training": lambda on: instruments.hessian_product(*examples(on), on.step, training=True),
    "hessian_product, convolutional": lambda on: instruments.hessian_product(
        *pictures(on), torch.ones_like(on.convolutional.flat)
    ),
    "eigenvalues": lambda on: instruments.eigenvalues(*examples(on), seeds=SEEDS, largest=2, smallest=1).values,
    "spectral_density": lambda on: instruments.spectral_density(
        *examples(on), seeds=SEEDS, probes=2, steps=8, largest=1
    ).moment(1),
    "trace": lambda on: instruments.trace(*examples(on), seeds=SEEDS, products=3),
    "trace, hutch++": lambda on: instruments.trace(*examples(on), seeds=SEEDS, products=6, method="hutch++"),
    "gradient_curvature": lambda on: instruments.gradient_curvature(*examples(on), seeds=SEEDS),
    "step_curvature": lambda on: instruments.step_curvature(*examples(on), 0.01 * on.step),
    "critical_sharpness": lambda on: instruments.critical_sharpness(*examples(on)),
    "epsilon_sharpness": lambda on: instruments.epsilon_sharpness(*examples(on), seeds=SEEDS, starts=1, steps=5),
    "epsilon_sharpness, subspace": lambda on: instruments.epsilon_sharpness(
        *examples(on), seeds=SEEDS, starts=1, steps=5, dimension=4
    ),
    "sam_sharpness": lambda on: instruments.sam_sharpness(*examples(on), rho=0.1, starts=2, seeds=SEEDS, steps=2),
    "average_sharpness": lambda on: instruments.average_sharpness(
        *examples(on), sigma=0.1, seeds=SEEDS, draws=4, scale="filter"
    ),
    "pac_bayes_sigma": lambda on: instruments.pac_bayes_sigma(*examples(on), seeds=SEEDS, draws=2, bisections=3),
    "relative_flatness": lambda on: instruments.relative_flatness(*examples(on), seeds=SEEDS, probes=2),
    "fisher_rao_norm": lambda on: instruments.fisher_rao_norm(*examples(on)),
}

NETWORKS: dict[str, Callable[[Lab], Any]] = {
    "accuracy": lambda on: instruments.accuracy(*examples(on)),
    "layer_outputs": lambda on: dict(instruments.layer_outputs(*examples(on)[:3], inside=True)),
    "align": lambda on: instruments.align(PLAIN, on.plain, on.other, seeds=SEEDS),
    "train_curve": lambda on: instruments.train_curve(*both_nets(on), seeds=SEEDS, steps=3, batch=10).bends,
    "layer_rotation": lambda on: instruments.layer_rotation(on.start, on.end),
    "layer_norms": lambda on: instruments.layer_norms(NETWORK, on.end),
    "layer_norms, convolutional": lambda on: instruments.layer_norms(IMAGES, on.convolutional),
    "convolution_norms": lambda on: instruments.convolution_norms(on.convolutional["conv1.weight"], (8, 8)),
    "reset_accuracy": lambda on: instruments.reset_accuracy(NETWORK, on.end, on.start, on.inputs, on.labels),
    "joint_reset_accuracy": lambda on: instruments.joint_reset_accuracy(
        NETWORK, on.end, on.start, on.features[:, :3, 0] > 0, on.inputs, on.labels
    ),
    "norm_matched": lambda on: instruments.norm_matched(NETWORK, on.start, on.end),
    "layer_distances": lambda on: instruments.layer_distances(NETWORK, on.start, on.end),
    "gradient_norms": lambda on: instruments.gradient_norms(*examples(on)),
    "gradient_cosines": lambda on: instruments.gradient_cosines(*examples(on), seeds=SEEDS),
    "gradient_shift": lambda on: instruments.gradient_shift(NETWORK, on.start, on.end, on.inputs, on.labels),
    "input_drift": lambda on: instruments.input_drift(NETWORK, on.start, on.end, on.inputs, seeds=SEEDS, directions=3),
    "step_smoothness": lambda on: instruments.step_smoothness(*examples(on), learning_rate=0.1),
    "filter_activity": lambda on: instruments.filter_activity(NETWORK, on.end, on.inputs),
    "filter_activity, convolutional": lambda on: instruments.filter_activity(*pictures(on)[:3]),
    "without_filters": lambda on: instruments.without_filters(
        NETWORK, on.end, instruments.smallest_scales(NETWORK, on.end, torch.full_like(on.labels[:3], 2))
    ),
    "line_profile": lambda on: instruments.line_profile(*both_nets(on), points=4),
    "linear_barrier": lambda on: instruments.linear_barrier(*both_nets(on), points=4, kind="maximum"),
    "barrier, statistics": lambda on: instruments.barrier(
        instruments.line_profile(
            NETWORK, on.start, on.end, on.inputs, on.labels, points=3, statistics=on.inputs.expand(3, -1, -1)
        )
    ),
    "crossings": lambda on: instruments.crossings(
        PLAIN, [on.plain, on.other, on.plain], on.inputs, on.labels, points=4
    ),
    "disagreement": lambda on: instruments.disagreement(*both_nets(on)[:4]),
    "correctness": lambda on: instruments.correctness(NETWORK, [on.start, on.end], on.inputs, on.labels),
    "representations": lambda on: instruments.representations(*pictures(on)[:3], pool=2),
    "last_layer": lambda on: last(on),
    "neural_collapse": lambda on: instruments.neural_collapse(last(on), on.labels),
    "angular_hardness": lambda on: instruments.angular_hardness(last(on), on.labels),
    "normalized_margin": lambda on: instruments.normalized_margin(PLAIN, on.plain, on.inputs, on.labels),
    "end_to_end": lambda on: instruments.end_to_end(LINEAR, on.linear),
    "singular_trajectories": lambda on: instruments.singular_trajectories(
        on.maps[:3].unsqueeze(1) * (1 + on.times[:, :, None, None]), list(range(8))
    ),
    "step_angles": lambda on: instruments.step_angles([on.start, on.end, on.start, on.end]),
    "relative_distance": lambda on: instruments.relative_distance(on.start, on.end, on.start),
    "contraction": lambda on: instruments.contraction(LINEAR, on.linear, on.inputs[:3]),
    "contraction, arnoldi": lambda on: instruments.contraction(
        LINEAR, on.linear, on.inputs[:3], method="arnoldi", seeds=SEEDS, steps=6
    ),
    "jacobians": lambda on: instruments.jacobians(LINEAR, on.linear, on.inputs[:3]),
    "recovery": lambda on: instruments.recovery(
        LINEAR, on.linear, on.inputs[:4], on.inputs[4:6], steps=20, moments=(5,)
    ),
    "memorization": lambda on: instruments.memorization(LINEAR, on.linear, on.inputs[:4], on.inputs[4:6]),
}

ATTACKS: dict[str, Callable[[Lab], Any]] = {
    "robust_accuracy": lambda on: instruments.robust_accuracy(*pictures(on), radii=[0, 0.1], seeds=SEEDS, steps=3),
    "robust_accuracy, l2": lambda on: instruments.robust_accuracy(
        *examples(on), radii=[0.1, 0.5], seeds=SEEDS, steps=3, norm="l2", statistics="batch", audit_steps=5
    ),
    "half_accuracy_radius": lambda on: instruments.half_accuracy_radius(
        *examples(on), seeds=SEEDS, start=0.1, steps=3, visits=3, resamples=5
    ),
    "half_accuracy_noise": lambda on: instruments.half_accuracy_noise(
        *examples(on), seeds=SEEDS, start=0.5, draws=1, visits=3, resamples=5
    ),
    "corruption_accuracy": lambda on: [
        instruments.corruption_accuracy(
            *pictures(on), kind=kind, levels=[0, 0.3], seeds=SEEDS, draws=1, low=0.0, high=1.0
        )
        for kind in ("gaussian", "uniform", "salt-and-pepper", "brightness", "contrast", "blur")
    ],
    "spatial_accuracy": lambda on: instruments.spatial_accuracy(
        *pictures(on), poses=instruments.pose_grid(angles=3, shifts=2).to(on.images), check_draws=2
    ),
    "spatial_accuracy, drawn": lambda on: instruments.spatial_accuracy(
        *pictures(on), poses=instruments.drawn_poses(0, draws=2, examples=12).to(on.images)
    ),
    "universal_evasion": lambda on: instruments.universal_evasion(
        *pictures(on)[:3],
        instruments.white_patterns(8, 2, seed=0).to(on.images),
        radius=0.1,
        labels=on.kinds,
        low=0.0,
        high=1.0,
    ),
    "universal_perturbation": lambda on: instruments.universal_perturbation(
        *pictures(on), radius=0.1, epochs=2, batch=5
    ),
    "patterns": gabor,
    "pseudo_video": videos,
}

TABLES: dict[str, Callable[[Lab], Any]] = {
    "plateau_time": lambda on: instruments.plateau_time(on.errors),
    "spearman": lambda on: instruments.spearman(on.features[..., 0], on.features[..., 1]),
    "partial_spearman": lambda on: instruments.partial_spearman(
        on.features[..., 0], on.features[..., 1], given=(on.features[..., 2],)
    ),
    "partial_spearman, groups": lambda on: instruments.partial_spearman(
        on.features[..., 0], on.features[..., 1], groups=on.labels
    ),
    "auroc": lambda on: instruments.auroc(on.features[..., 0], on.groups.expand(3, -1)),
    "balanced_accuracy": lambda on: instruments.balanced_accuracy(
        on.features[..., 0], on.groups, instruments.best_threshold(on.features[..., 0], on.groups)
    ),
    "kendall_tau": lambda on: instruments.kendall_tau(on.features[..., 0], on.features[..., 1]),
    "linear_cka": lambda on: instruments.linear_cka(on.features, on.outputs),
    "cka_matrix": lambda on: instruments.cka_matrix([on.features, on.outputs, on.features.square()]),
    "hsic": lambda on: instruments.hsic(on.features, on.outputs),
    "concentration": lambda on: instruments.concentration(on.features),
    "type_means": lambda on: instruments.type_means(on.features[..., 0], on.labels, 3),
    "saturated_share": lambda on: instruments.saturated_share(on.features),
    "confidence": lambda on: instruments.confidence(
        on.outputs, on.labels, temperature=instruments.fit_temperature(on.outputs, on.labels).value
    ),
    "sorted_shares": lambda on: instruments.sorted_shares(on.outputs),
    "line_fit": lambda on: instruments.line_fit(STEPS, on.errors),
    "log_log_slope": lambda on: instruments.log_log_slope(STEPS, on.errors, low=2),
    "power_law": lambda on: instruments.power_law(STEPS, on.errors, floor=True),
    "power_law, errors": lambda on: instruments.power_law(STEPS, on.errors, standard_errors=0.1 * on.errors),
    "bias_variance": lambda on: instruments.bias_variance(
        drawn(3, 4, 2, 10, 3).to(on.inputs), on.labels[:10], seeds=SEEDS, draws=20
    ),
    "part_log_ratio": lambda on: instruments.part_log_ratio(
        *(
            instruments.bias_variance(scale * drawn(3, 4, 2, 10, 3).to(on.inputs), on.labels[:10], seeds=SEEDS, draws=9)
            for scale in (1, 2)
        ),
        "variance",
    ),
    "double_descent": lambda on: instruments.double_descent(on.errors, STEPS),
    "mean_descent": lambda on: instruments.mean_descent(on.errors, STEPS, seed=0, draws=20),
    "interpolation_threshold": lambda on: instruments.interpolation_threshold(on.errors, STEPS, level=5.5),
    "effective_dimension": lambda on: instruments.effective_dimension(on.features, on.labels),
    "dimensions_of": lambda on: instruments.dimensions_of(on.errors.sort(dim=1, descending=True).values),
    "dimension_profile": lambda on: instruments.dimension_profile(on.errors.log()),
    "within_share": lambda on: instruments.within_share(on.features, on.labels),
    "example_agreement": lambda on: instruments.example_agreement(on.correct[:, 2]),
    "order_agreement": lambda on: instruments.order_agreement(on.features[..., 0]),
    "shared_errors": lambda on: instruments.shared_errors(on.correct[:, 2], on.correct[0, 3]),
    "explained_information": lambda on: instruments.explained_information(
        on.outputs.argmax(dim=-1), on.labels, on.labels.flip(0), classes=3
    ),
    "pooled": lambda on: instruments.pooled(on.images[None], 2),
    "projected": lambda on: instruments.projected(on.features, 3, seeds=SEEDS),
    "shuffled": lambda on: shuffled(on.labels, seeds=SEEDS, within=on.groups.long()),
    "forgetting": lambda on: instruments.forgetting(on.correct),
    "growth_per_layer": lambda on: instruments.growth_per_layer(on.errors, STEPS),
    "ranks_of": lambda on: instruments.ranks_of(on.features),
    "learning_times": lambda on: instruments.learning_times(on.correct, STEPS),
    "precedence": lambda on: instruments.precedence(on.features[..., 0], on.groups, strata=on.labels),
    "learning_speed": lambda on: instruments.learning_speed(on.correct, STEPS, on.groups),
    "ridge_probe": lambda on: instruments.ridge_probe(on.features, on.outputs, penalties=[0.1, 1.0]),
    "logistic_probe": lambda on: instruments.logistic_probe(on.features, on.labels, penalties=[0.5]),
    "logistic_probe, balanced": lambda on: instruments.logistic_probe(on.features, on.groups, balanced=True).accuracy(
        on.features, on.groups
    ),
    "matrix_recovery": recovered,
    "measured": lambda on: measured(on.maps, on.features[:, :3, :3]),
    "max_margin": lambda on: instruments.margin_alignment(
        on.features.abs(), on.errors[:, :4], instruments.max_margin(on.features.abs())
    ),
    "max_margin_infinity": lambda on: instruments.max_margin_infinity(on.features.abs()),
    "modes": modes_of,
    "rates": lambda on: instruments.rates(on.errors, 3),
    "stability_threshold": lambda on: instruments.stability_threshold(on.errors, momentum=0.9),
    "trusted": lambda on: instruments.trusted(instruments.learning_times(on.correct, STEPS)),
    "corrupt": lambda on: instruments.corrupt(on.images, "gaussian", 0.1, generator=stream(0, "corrupt")),
    "nearest_mean": lambda on: instruments.nearest_mean(on.features, on.features[:, :3]),
    "fitting_position": lambda on: instruments.fitting_position(on.errors / 10, STEPS),
    "separated": lambda on: instruments.separated(on.errors.sort(dim=1, descending=True).values),
    "crossing_times": lambda on: instruments.crossing_times(on.curves, on.times, 0.5),
    "fit_exact_curves": lambda on: instruments.fit_exact_curves(on.curves, on.times, on.errors[:, :2], 2, rounds=3),
    "exact_curve": lambda on: instruments.exact_curve(on.times - 4, 3),
    "half_times": lambda on: instruments.half_times(on.errors, 0.01 * on.errors, 3),
    "plateau_count": lambda on: instruments.plateau_count(1 - on.curves[:, 0], on.times),
    "nearest_mean_accuracy": lambda on: instruments.nearest_mean_accuracy(
        on.features, on.labels, instruments.class_means(on.features, on.labels, 3).means
    ),
    "class_differences": lambda on: instruments.class_differences(on.features, on.labels, classes=3),
    "reproduction": lambda on: instruments.reproduction(on.features, on.features.roll(1, 1), on.features[:, 0]),
    "successive_cosines": lambda on: instruments.successive_cosines(on.features),
    "working_range": lambda on: instruments.working_range(on.times[0, :6], on.errors, on.errors.mean(dim=1)),
    "accuracy_line": lambda on: instruments.accuracy_line(on.curves[:, 0, 4], on.curves[:, 0, 3], 1000),
    "state_dimension": lambda on: instruments.state_dimension(on.features),
    "line_statistics": lambda on: instruments.line_statistics(
        on.features, on.groups.expand(3, -1), on.features[:, 0], on.features
    ),
    "fixed_points": fixed,
    "linearize": linearized,
    "step_gradients": lambda on: instruments.step_gradients(
        "lstm", on.words, [on.layer], on.features[:, :3], None, on.labels.view(5, 6)[:, :1].expand(3, 5, 7)
    ),
}

MODULES: dict[str, Callable[[Lab, nn.Module], Any]] = {
    "fisher_rao_norm": lambda on, module: instruments.fisher_rao_norm(module, None, on.inputs, on.labels),
    "eigenvalues": lambda on, module: instruments.eigenvalues(module, None, on.inputs, on.labels, seeds=[0]).values,
    "robust_accuracy": lambda on, module: instruments.robust_accuracy(
        module, None, on.inputs, on.labels, radii=[0.1], seeds=[0], steps=2
    ),
    "layer_outputs": lambda on, module: dict(instruments.layer_outputs(module, None, on.inputs)),
}

CASES = SECOND_ORDER | NETWORKS | ATTACKS | TABLES


ELSEWHERE = {
    "arnoldi_radius",  # by contraction
    "effective_complexity",  # these four get no tensor of a device
    "gabor_noise",
    "penultimate",
    "perlin_noise",
    "training_accuracy",  # with the training loop
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_measured_is_that_of_the_cpu(name: str) -> None:
    here = CASES[name](lab())
    with other_device():
        there = fetched(CASES[name](sent(lab())))
    assert_close(there, here, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_is_there_is_measured_there(name: str) -> None:
    module = MODULE.double()
    here = MODULES[name](lab(), module)
    with other_device() as device:
        there = fetched(MODULES[name](sent(lab()), copy.deepcopy(module).to(device)))
    assert_close(there, here, rtol=1e-6, atol=1e-8)


def test_every_instrument_is_on_the_table() -> None:
    source = Path(__file__).read_text()
    assert {n for n in instruments.__all__ if n[0].islower() and f"instruments.{n}(" not in source} == ELSEWHERE
