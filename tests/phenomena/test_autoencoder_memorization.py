"""The entry on autoencoders that memorize: its helpers in closed form, and what its nets give at scale smoke."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch.nn.functional import conv2d

from refute.core import Cohort, Level, make_trial
from refute.engine import measure, plan
from refute.phenomena.autoencoder_memorization import PHENOMENON, curvature_of_one_layer, half_blank, squeezed

SMOKE = PHENOMENON.protocol("smoke").settings


def cohort(block: int = 1000, replicas: int = 2, settings: dict[str, Level] | None = None, **levels: Level) -> Cohort:
    chosen = {**SMOKE, **(settings or {})}
    fixed: dict[str, Level] = {"dataset": "digits", "architecture": "fc", "activation": "leaky-relu", **levels}
    trials = tuple(make_trial(PHENOMENON, fixed, block + replica, chosen) for replica in range(replicas))
    return Cohort(trials, trials[0].levels, {}, chosen)


@cache
def measured(steps: int = 2000, **levels: Level) -> dict[str, Any]:
    settings: dict[str, Level] = {"steps": steps, "single_steps": 4000, "conv_steps": steps, "iterations": 300}
    return dict(PHENOMENON.trial(cohort(settings=settings, **levels)))


# --- helpers ------------------------------------------------------------------------------------------------------


def test_curvature_is_that_of_the_dense_loss() -> None:
    examples = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for x, found in zip(examples, curvature_of_one_layer(examples), strict=True):

        def loss(weight: torch.Tensor, x: torch.Tensor = x) -> torch.Tensor:
            return (x @ weight.view(4, 4).T - x).square().mean()

        hessian = torch.autograd.functional.hessian(loss, torch.zeros(16, dtype=torch.float64))
        assert found.item() == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-10)


@pytest.mark.parametrize("channels", [1, 2])
def test_curvature_is_that_of_the_convolutions_loss(channels: int) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(2, 3, channels, 4, 5, dtype=torch.float64, generator=generator)
    for x, found in zip(images, curvature_of_one_layer(images), strict=True):

        def loss(kernel: torch.Tensor, x: torch.Tensor = x) -> torch.Tensor:
            return (conv2d(x, kernel.view(channels, channels, 3, 3), padding=1) - x).square().mean()

        hessian = torch.autograd.functional.hessian(loss, torch.zeros(9 * channels**2, dtype=torch.float64))
        assert found.item() == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-10)


def test_half_of_the_pixels_are_blank_and_the_rest_untouched() -> None:
    examples = 1 + torch.rand(2, 5, 8)
    found = half_blank(examples, (1, 2))
    assert found.shape == (2, 15, 8)
    assert ((found == 0).sum(dim=2) == 4).all()
    repeated = examples.repeat(1, 3, 1)
    assert torch.equal(found[found > 0], repeated[found > 0])
    assert torch.equal(half_blank(examples[1:], (2,)), found[1:])
    assert not torch.equal(found[0] > 0, found[1] > 0)


def test_squeezed_pixels_have_an_inverse_sigmoid() -> None:
    found = squeezed(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.1, 0.5, 0.9]))
    assert torch.logit(found).isfinite().all()


# --- trials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [{"depth": 9}, {"depth": 3, "architecture": "conv", "activation": "linear"}])
def test_a_trial_returns_what_is_declared_in_range(levels: dict[str, Level]) -> None:
    chosen = cohort(**levels)
    found = PHENOMENON.trial(chosen)
    assert set(found) == {*PHENOMENON.quantities, "diverged"}
    results = measure(PHENOMENON, chosen)
    assert len(results) == 2
    assert not any(result.diverged for result in results)


def test_one_layer_is_the_projector_on_the_span() -> None:
    for examples in (3, 10):
        found = measured(depth=1, examples=examples)
        assert found["loss"].max() < 1e-10
        assert found["span_residual"].max() < 1e-3
        assert found["projector_gap"].max() < 1e-3
        torch.testing.assert_close(found["identity_error"], found["projector_error"], rtol=1e-2, atol=1e-4)
        assert found["radius"].sub(1).abs().max() < 1e-3
        assert found["attractors"].max() == 0
        assert found["span_reference"][0].item() == pytest.approx(math.sqrt(1 - examples / 64))


def test_random_initial_weights_leave_the_span_and_sigmoids_have_one_of_their_own() -> None:
    assert measured(depth=1, variant="random-start")["span_residual"].min() > 0.05
    bent = measured(depth=1, variant="sigmoid")
    assert bent["loss"].max() < 1e-5
    assert bent["span_residual"].max() < 0.05


def test_nine_layers_attract_and_their_limits_do_not() -> None:
    deep = measured(depth=9)
    assert deep["loss"].max() < 1e-6
    assert deep["attractors"].min() >= 0.4
    assert deep["recovery"].min() > 0.5
    assert (deep["contracting"] >= deep["attractors"]).all()
    assert (deep["operator_norm"] >= deep["radius"]).all()
    assert measured(depth=9, variant="stopped")["attractors"].max() <= 0.2
    assert measured(depth=9, variant="stopped")["loss"].min() > 1e-3
    skipping = measured(depth=9, variant="residual")
    assert skipping["attractors"].max() <= 0.2
    assert skipping["identity_error"].max() < 1e-3
    untrained = measured(depth=9, variant="untrained")
    assert untrained["steps"].max() == 0
    assert untrained["blank_recovery"].max() == 0


def test_a_single_convolution_learns_the_identity() -> None:
    found = measured(architecture="conv", depth=1, activation="linear")
    assert found["loss"].max() < 1e-3
    assert found["identity_error"].max() < 0.01


def test_fates_of_the_starts_add_up() -> None:
    found = measured(depth=9)
    whole = sum(found[name] for name in ("recovery", "spurious", "cycles", "escaped", "undecided"))
    torch.testing.assert_close(whole, torch.ones(2, dtype=torch.float64))


def test_a_replica_alone_is_the_same_as_in_a_cohort() -> None:
    together = PHENOMENON.trial(cohort(depth=9))
    alone = PHENOMENON.trial(cohort(block=1001, replicas=1, depth=9))
    for name in ("loss", "span_residual", "radius"):
        assert alone[name].item() == pytest.approx(together[name][1].item(), rel=1e-2)


def test_the_arms_of_a_comparison_share_their_images() -> None:
    planned = plan(PHENOMENON, "small", seeds=2, first_seed=1000)
    nets = {(trial.levels["dataset"], trial.levels["architecture"]) for trial in planned}
    assert len({trial.seed for trial in planned}) == 2 * len(nets)
