"""Residual initialization sensitivity: the starts, what is known of deep nets before training, and the edges."""

import pytest
import torch

from refute.core import Cohort, make_trials
from refute.engine import cohorts, plan
from refute.phenomena.residual_initialization_sensitivity import (
    ARMS,
    PHENOMENON,
    SCHEMES,
    _before_training,
    _data,
    _nets,
    trial,
)

OCTAVES = torch.linspace(-4, 4, 9, dtype=torch.float64)


def cohort(depth: int = 16, normalization: str = "none", **settings: object) -> Cohort:
    chosen = {**next(t.settings for t in plan(PHENOMENON, "smoke")), **settings}
    levels = {"dataset": "digits", "kind": "dense", "depth": depth, "normalization": normalization}
    trials = make_trials(PHENOMENON, levels, (0, 1), chosen)  # type: ignore[arg-type]
    return cohorts(PHENOMENON, trials, size=2, device="cpu")[0]


@pytest.mark.parametrize("arm", ARMS)
def test_gains_scale_the_blocks_and_nothing_else(arm: str) -> None:
    made = cohort()
    data = _data(made, len(OCTAVES) + len(SCHEMES))
    network, weights = _nets(made, arm, OCTAVES, data)
    rows = len(OCTAVES) + len(SCHEMES)
    assert weights.replicas == 2 * rows
    he = weights["block3.weight"].view(2, rows, -1)
    assert torch.allclose(he[:, 6], 4 * he[:, 4]), "two octaves up"
    assert torch.equal(he[:, len(OCTAVES)], he[:, 4]), "the first scheme is He"
    for name in ("stem.weight", "output.weight"):
        kept = weights[name].view(2, rows, -1)
        assert torch.equal(kept, kept[:, :1].expand_as(kept))
    small = weights["block1.weight"].view(2, rows, -1)[:, -1]
    assert 0.005 < small.std().item() < 0.02, "the last scheme has a standard deviation of 0.01"
    assert network.parameters() == _nets(made, "plain", OCTAVES, data)[0].parameters()


def test_a_plain_nets_signal_goes_with_the_gain_to_the_depth() -> None:
    made = cohort(depth=16, dense_width=64)
    data = _data(made, len(OCTAVES) + len(SCHEMES))

    def slope(arm: str) -> float:
        variance, _ = _before_training(*_nets(made, arm, OCTAVES, data), data)
        by_gain = variance.view(2, -1)[:, :9].mean(dim=0)
        return (by_gain[5] - by_gain[3]).item() / 2  # decades per octave of gain around He

    # 15 further blocks, each multiplying the variance by gain^2; biases are 0
    assert slope("plain") == pytest.approx(15 * 2 * torch.log10(torch.tensor(2.0)).item(), rel=0.15)
    assert slope("scaled") < slope("residual") < slope("plain")


def test_every_quantity_and_the_signs_of_the_differences() -> None:
    found = trial(cohort())
    assert set(found) - {"diverged"} == set(PHENOMENON.quantities)
    assert torch.equal(found["range_gain_scaled"], found["range_scaled"] - found["range_plain"])
    assert ((found["range_plain"] >= 0) & (found["range_plain"] <= 8)).all()
    curve, (gains,) = found["accuracy_plain"]
    assert curve.shape == (2, len(gains))
    assert found["best_accuracy"].ge(curve.amax(dim=1) - 0.01).all()
