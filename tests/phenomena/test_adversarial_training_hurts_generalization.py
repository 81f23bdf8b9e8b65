"""The entry on adversarial training: the staircase against other computations, its attacks, its mixtures."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.optimize import minimize
from torch import Tensor

from refute import datasets
from refute.attacks import PGD
from refute.augmentation import RandomFlip
from refute.core import Cohort, Level, make_trial
from refute.phenomena.adversarial_training_hurts_generalization import (
    NOISE,
    PHENOMENON,
    Half,
    WorstOf,
    basis,
    log2_slope,
    masses,
    mixed,
    smoothest,
    stair_errors,
    stair_fits,
)

SMOKE = PHENOMENON.protocol("smoke").settings


def cohort(*trials: dict[str, Level], blocks: tuple[int, ...] = (1000,), steps: int = 60) -> Cohort:
    settings = {**SMOKE, "steps": steps}
    made = tuple(make_trial(PHENOMENON, levels, block, settings) for levels in trials for block in blocks)
    kinds = {name: factor.kind for name, factor in PHENOMENON.factors.items()}
    looped = {name: made[0].levels[name] for name, kind in kinds.items() if kind == "looped"}
    numbers = {name: tuple(float(t.levels[name]) for t in made) for name, kind in kinds.items() if kind == "stacked"}
    return Cohort(made, looped, numbers, settings)


def stairs(training: str, per_stair: float) -> dict[str, Level]:
    return {"dataset": "staircase", "architecture": "spline-8", "training": training, "per_stair": per_stair}


@cache
def measured(training: str, radius: float) -> dict[str, Any]:
    levels: dict[str, Level] = {"dataset": "digits", "architecture": "mlp", "training": training, "radius": radius}
    return dict(PHENOMENON.trial(cohort({**levels, "multiple": 16}, blocks=(1000, 1001), steps=300)))


def test_the_splines_sum_to_one_and_reproduce_a_cubic() -> None:
    matrix = basis(8)
    assert matrix.shape == (16, 18)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(16, dtype=torch.float64))
    knots = np.arange(16) / 2
    fitted = np.linalg.lstsq(matrix.numpy(), knots**3 - knots, rcond=None)[0]
    np.testing.assert_allclose(matrix.numpy() @ fitted, knots**3 - knots, atol=1e-8)


def test_the_basis_is_that_of_the_spline_library_one_by_one() -> None:
    knots = np.arange(10) / 2
    extended = np.concatenate([[-3, -2, -1], knots, knots[-1] + np.array([1, 2, 3])])
    for place in range(12):
        element = BSpline.basis_element(extended[place : place + 5], extrapolate=False)
        np.testing.assert_allclose(basis(5)[:, place], np.nan_to_num(element(knots)), atol=1e-12)


def test_the_smoothest_spline_is_that_of_a_general_optimizer() -> None:
    matrix = basis(5)
    known = torch.zeros(1, 10, dtype=torch.bool)
    known[0, [0, 3, 4, 9]] = True
    values = torch.arange(10, dtype=torch.float64).square()[None] / 7
    found = smoothest(matrix, known, values)[0]
    rows, wanted = matrix[known[0]].numpy(), values[0, known[0]].numpy()
    second = np.diff(np.eye(12), n=2, axis=0)
    reference = minimize(
        lambda theta: float(np.square(second @ theta).sum()),
        np.zeros(12),
        jac=lambda theta: 2 * second.T @ second @ theta,
        constraints={"type": "eq", "fun": lambda theta: rows @ theta - wanted, "jac": lambda _: rows},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(found.numpy(), matrix.numpy() @ reference.x, atol=1e-5)


def test_two_known_knots_make_a_straight_line_because_lines_cost_nothing() -> None:
    matrix = basis(6)
    # the coefficients 0, 1, 2, ... make the spline with no second difference
    line = matrix @ torch.arange(14, dtype=torch.float64)
    known = torch.zeros(1, 12, dtype=torch.bool)
    known[0, [2, 7]] = True
    torch.testing.assert_close(smoothest(matrix, known, line[None])[0], line)


def test_each_estimator_meets_its_constraints() -> None:
    matrix = basis(8)
    seen = torch.zeros(1, 16, dtype=torch.bool)
    seen[0, [0, 2, 4, 7, 12]] = True  # stairs 0, 1, 2, between 3 and 4, 6
    fits = stair_fits(seen, matrix)
    labels = (torch.arange(16) // 2).double()
    torch.testing.assert_close(fits.standard[seen], labels[seen[0]])
    labelled = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 12, 13])
    torch.testing.assert_close(fits.adversarial[0, labelled], labels[labelled])
    torch.testing.assert_close(fits.robust_self_training[0, labelled], labels[labelled])
    for stair in (4, 5, 7):
        on, between = fits.robust_self_training[0, 2 * stair : 2 * stair + 2]
        torch.testing.assert_close(on, between)
        first, second = fits.standard[0, 2 * stair : 2 * stair + 2]
        torch.testing.assert_close(on, (1 - NOISE / 2) * first + NOISE / 2 * second)


def test_with_every_stair_seen_the_robust_estimators_are_the_truth() -> None:
    seen = torch.zeros(1, 20, dtype=torch.bool)
    seen[0, ::2] = True
    fits, law = stair_fits(seen, basis(10)), masses(10)
    assert stair_errors(fits.adversarial, law).robust.item() < 1e-20
    assert stair_errors(fits.robust_self_training, law).robust.item() < 1e-20
    assert stair_errors(fits.standard, law).robust.item() > 0.01


def test_errors_of_a_constant_are_those_of_the_law() -> None:
    law = masses(8)
    found = stair_errors(torch.full((1, 16), 2.0, dtype=torch.float64), law)
    expected = sum(mass * (stair - 2.0) ** 2 for stair, mass in enumerate(law.tolist()))
    assert found.standard.item() == pytest.approx(expected)
    assert found.robust.item() == pytest.approx(expected)
    assert law.sum().item() == pytest.approx(1)
    assert (law[0] / law[7]).item() == pytest.approx(20)


def test_few_inputs_make_adversarial_training_worse_and_many_better() -> None:
    few = PHENOMENON.trial(cohort(stairs("standard", 2), blocks=tuple(range(1000, 1010))))
    robust = PHENOMENON.trial(cohort(stairs("adversarial", 2), blocks=tuple(range(1000, 1010))))
    assert few["worse_share"].mean() > 0.9
    torch.testing.assert_close(few["worse_share"], robust["worse_share"])
    assert (robust["test_mse"] > 5 * few["test_mse"]).all()
    many = PHENOMENON.trial(cohort(stairs("standard", 100), stairs("standard", 50)))
    assert many["worse_share"].max() < 0.2


def test_packing_the_staircase_changes_nothing() -> None:
    together = PHENOMENON.trial(cohort(stairs("adversarial", 3), stairs("adversarial", 5)))
    alone = PHENOMENON.trial(cohort(stairs("adversarial", 5)))
    assert together["test_mse"][1] == alone["test_mse"][0]


def test_slope_weights_give_the_slope_of_a_line() -> None:
    weights = log2_slope((1, 4, 16, 64))
    line = {1: 3.0, 4: 2.0, 16: 1.0, 64: 0.0}
    assert sum(weights[size] * line[size] for size in line) == pytest.approx(-0.5)
    assert sum(weights.values()) == pytest.approx(0)


def test_half_moves_every_other_example_as_its_inner_attack_does() -> None:
    inputs = torch.rand(2, 6, 4)
    inner = PGD(0.1, steps=2, random_start=False)

    def gradient(x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def losses(x: Tensor) -> Tensor:
        return x.sum(dim=2)

    moved = Half(inner).take(slice(0, 2)).perturb(inputs, gradient, losses, [torch.Generator()] * 2)
    torch.testing.assert_close(moved[:, ::2], inputs[:, ::2], rtol=0, atol=0)
    torch.testing.assert_close(moved[:, 1::2], inputs[:, 1::2] + 0.1)


def test_the_worst_of_many_changes_is_the_worst_there_is() -> None:
    images = torch.rand(2, 5, 1, 3, 3)
    weights = torch.rand(3, 3)

    def losses(x: Tensor) -> Tensor:
        return (x * weights).sum(dim=(2, 3, 4))

    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    attack = WorstOf(40, (RandomFlip(0.5),)).take(slice(0, 2))
    found = attack.perturb(images, torch.zeros_like, losses, generators)
    torch.testing.assert_close(losses(found), torch.maximum(losses(images), losses(images.flip(4))))


def test_a_mixture_holds_seven_tenths_of_other_images_with_their_labels() -> None:
    data = datasets.load("digits", train=30, seeds=[1, 2], validation=50)
    assert data.validation_index is not None
    labels = torch.full((2, 50), 7)
    both = mixed(data, data.validation_index, labels)
    assert both.index.shape == both.labels.shape == (2, 500)
    for replica in range(2):
        added = torch.isin(both.index[replica], data.validation_index[replica])
        assert added.sum() == 350
        assert (both.labels[replica, added] == 7).all()
        own = dict(zip(data.index[replica].tolist(), data.labels[replica].tolist(), strict=True))
        rest = zip(both.index[replica, ~added].tolist(), both.labels[replica, ~added].tolist(), strict=True)
        assert all(own[row] == label for row, label in rest)
        assert set(both.index[replica, ~added].tolist()) == set(data.index[replica].tolist())


def test_a_trial_returns_what_is_declared() -> None:
    assert set(measured("standard", 0.0)) == {*PHENOMENON.quantities, "diverged"}


def test_without_radius_only_the_random_numbers_of_the_attack_differ() -> None:
    """Adversarial training at radius 0 is standard training."""
    torch.testing.assert_close(measured("adversarial", 0.0)["test_error"], measured("standard", 0.0)["test_error"])


def test_adversarial_training_lowers_the_robust_error_and_pseudo_labels_are_mostly_right() -> None:
    assert (measured("adversarial", 1.0)["robust_error"] < measured("standard", 0.0)["robust_error"]).all()
    assert (measured("robust-self-training", 1.0)["pseudo_label_error"] < 50).all()
    assert measured("standard", 0.0)["pseudo_label_error"].isnan().all()


def test_recovery_is_measured_against_the_very_nets_of_the_other_arms() -> None:
    standard, adversarial, robust = (
        measured(training, radius)["test_error"]
        for training, radius in (("standard", 0.0), ("adversarial", 1.0), ("robust-self-training", 1.0))
    )
    found = measured("robust-self-training", 1.0)
    torch.testing.assert_close(found["harm"], adversarial - standard)
    there = found["harm"] != 0
    torch.testing.assert_close((found["recovery"] * found["harm"])[there], (adversarial - robust)[there])


def test_the_error_in_its_own_sense_is_robust_for_adversarial_training() -> None:
    for training, radius, own in (("standard", 0.0, "train_error"), ("adversarial", 1.0, "train_robust_error")):
        found = measured(training, radius)
        torch.testing.assert_close(found["fit_error"], found[own])
