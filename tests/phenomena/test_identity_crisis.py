"""Identity crisis: targets of another image, the closed form of one layer, and rates by depth."""

import pytest
import torch

from refute.core import Cohort, make_trials
from refute.engine import cohorts, plan
from refute.losses import MeanSquared
from refute.phenomena.identity_crisis import PHENOMENON, Targets, _data, learning_rate, trial


def cohort(**levels: object) -> Cohort:
    settings = next(t.settings for t in plan(PHENOMENON, "smoke"))
    full = {"dataset": "digits", "family": "dense", "depth": 1, **levels}
    trials = make_trials(PHENOMENON, full, (0, 1), settings)  # type: ignore[arg-type]
    return cohorts(PHENOMENON, trials, size=2, device="cpu")[0]


def test_the_loss_looks_its_targets_up() -> None:
    pool, outputs = torch.rand(6, 4), torch.rand(2, 3, 4)
    labels = torch.tensor([[0, 1, 5], [2, 2, 3]])
    loss, plain = Targets(pool), MeanSquared()
    assert torch.equal(loss.each(outputs, labels), plain.each(outputs, pool[labels]))
    assert torch.equal(loss.gradient(outputs, labels), plain.gradient(outputs, pool[labels]))


def test_targets_are_the_image_itself_or_another() -> None:
    own, other = _data(cohort(pairs=5)), _data(cohort(pairs=5, target="another"))
    assert torch.equal(own.labels, own.index)
    assert torch.equal(own.index, other.index)
    assert not (other.labels == other.index).any()
    assert torch.equal(other.labels.sort(dim=1).values, other.index.sort(dim=1).values)


def test_one_dense_layer_is_its_closed_form() -> None:
    found = trial(cohort())
    assert found["closed_form"].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert (found["log_loss"] < -8).all()
    assert trial(cohort(depth=2))["closed_form"].isnan().all()


def test_a_net_that_begins_as_the_identity_is_one() -> None:
    found = trial(cohort(family="residual", depth=3))
    assert (found["bias"] > 0.95).all()
    assert (found["identity"] > 0.95).all()


def test_shallow_nets_have_larger_rates() -> None:
    rates = [learning_rate("conv", depth, 1e-3) for depth in (1, 3, 5, 12)]
    assert rates == sorted(rates, reverse=True)
