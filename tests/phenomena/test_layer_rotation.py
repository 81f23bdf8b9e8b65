"""The entry on layer rotation: its rates over layers, its trial at scale smoke, its controls."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from refute.core import Cohort, Level, make_trial
from refute.engine import cohorts, measure, plan
from refute.phenomena.layer_rotation import PHENOMENON, rate_multipliers

SMOKE = PHENOMENON.protocol("smoke").settings
KERNELS = ("a", "b", "c", "d", "e")
Trials = tuple[dict[str, Level], ...]

UNIFORM: Trials = tuple({"log3_rate": -float(rate)} for rate in (1, 3, 5))


def cohort(levels: Trials, block: int = 1000, **shared: Level) -> Cohort:
    fixed: dict[str, Level] = {"dataset": "digits", "architecture": "mlp-4", "algorithm": "layca-sgd", **shared}
    trials = tuple(make_trial(PHENOMENON, {**fixed, **each}, block, SMOKE) for each in levels)
    looped = {name: trials[0].levels[name] for name, f in PHENOMENON.factors.items() if f.kind == "looped"}
    stacked = {name: tuple(float(t.levels[name]) for t in trials) for name in ("log3_rate", "alpha")}
    return Cohort(trials, looped, stacked, SMOKE)


@cache
def measured(**shared: Level) -> dict[str, Any]:
    found = PHENOMENON.trial(cohort(UNIFORM, **shared))
    return dict(found)


def test_alpha_slows_the_first_layers_or_the_last_ones() -> None:
    alpha = torch.tensor([[0.0], [0.6], [-0.6]])
    found = torch.cat(list(rate_multipliers(KERNELS, alpha).values()), dim=1)
    falling = torch.tensor([0.4 ** (5 * layer / 4) for layer in range(5)])
    torch.testing.assert_close(found, torch.stack([torch.ones(5), falling.flip(0), falling]))


def test_a_trial_returns_what_is_declared_in_range() -> None:
    found = measured()
    assert set(found) == {*PHENOMENON.quantities, "diverged"}
    curve, (layers, epochs) = found["layer_rotation"]
    assert curve.shape == (3, 5, len(epochs))
    assert list(layers) == [0, 1, 2, 3, 4]
    assert epochs[0] == 0
    assert epochs[-1] == 10
    assert len(measure(PHENOMENON, cohort(UNIFORM))) == 3


def test_rotation_starts_at_zero_and_its_summaries_are_those_of_the_last_column() -> None:
    found = measured()
    curve: Tensor = found["layer_rotation"][0]
    assert curve[:, :, 0].abs().max() < 1e-12
    last = curve[:, :, -1]
    torch.testing.assert_close(found["rotation"], last.mean(dim=1))
    torch.testing.assert_close(found["hidden_rotation"], last[:, :4].mean(dim=1))
    torch.testing.assert_close(found["smallest_rotation"], last.min(dim=1).values)
    torch.testing.assert_close(found["distance_from_orthogonal"], (1 - last).abs().mean(dim=1))
    torch.testing.assert_close(found["rotation_spread"], last.std(dim=1, correction=0))


def test_a_larger_rate_turns_further_and_the_net_learns() -> None:
    found = measured()
    assert found["rotation"][0] > found["rotation"][1] > found["rotation"][2]
    assert found["test_accuracy"].min() > 80
    assert found["validation_accuracy"].min() > 80
    assert found["idle_share"].max() == 0


def test_the_placebo_is_about_one() -> None:
    assert measured()["placebo_excess"].abs().max() < 0.01


def test_without_decay_a_large_rate_turns_layers_but_does_not_fit() -> None:
    found = PHENOMENON.trial(cohort(({"log3_rate": 0.0},), schedule="constant"))
    assert found["rotation"].item() > 0.9
    assert found["train_accuracy"].item() < 0.9
    assert found["steps_to_fit"].isnan().all()


def test_a_warm_start_hardly_turns_and_is_as_accurate() -> None:
    warm, random = measured(start="warm"), measured()
    assert warm["rotation"][2] < 0.05 < random["rotation"][1]
    assert warm["test_accuracy"][2] > random["test_accuracy"].max() - 3


@pytest.mark.parametrize("algorithm", ["sgd", "sgd+l2", "adam", "layca-adam"])
def test_every_algorithm_trains(algorithm: str) -> None:
    found = PHENOMENON.trial(cohort(({"log3_rate": -4.0 if "adam" in algorithm else -1.0},), algorithm=algorithm))
    assert not found["diverged"].any()
    assert found["test_accuracy"].item() > 60


def test_a_replica_alone_is_the_same_as_in_a_cohort() -> None:
    together = measured()
    alone = PHENOMENON.trial(cohort(UNIFORM[1:2]))
    assert alone["rotation"].item() == pytest.approx(together["rotation"][1].item(), rel=0.02)
    assert alone["test_accuracy"].item() == pytest.approx(together["test_accuracy"][1].item(), abs=2)
    assert alone["placebo_excess"].item() == pytest.approx(together["placebo_excess"][1].item(), abs=1e-3)


def test_another_block_is_another_run() -> None:
    other = PHENOMENON.trial(cohort(UNIFORM, block=1001))
    assert not torch.equal(other["rotation"], measured()["rotation"])


@pytest.mark.parametrize("scale", ["small", "full"])
def test_a_seed_shares_its_randomness_over_all_runs_of_a_net(scale: str) -> None:
    planned = plan(PHENOMENON, scale, seeds=2, first_seed=1000)
    nets = {(t.levels["dataset"], t.levels["architecture"]) for t in planned}
    assert len({trial.seed for trial in planned}) == 2 * len(nets)
    assert cohorts(PHENOMENON, planned, size=PHENOMENON.protocol(scale).cohort)
