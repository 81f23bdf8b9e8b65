"""Edge of stability: what is read off a path, and paths whose ends are known."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from refute.architectures import Readout
from refute.core import Cohort, make_trial
from refute.phenomena import edge_of_stability as entry
from refute.phenomena.edge_of_stability import PHENOMENON, Path, trial
from refute.training import Run


def path(losses: Tensor, ratio: Tensor, moments: tuple[int, ...]) -> Path:
    nothing: Any = None
    run = Run(nothing, nothing, {}, losses, torch.full((len(losses),), losses.shape[1]), Readout(()))
    return Path(run, moments, ratio, ratio)


def cohort(net: str, *, blocks: int = 2, **changes: Any) -> Cohort:
    levels = {"dataset": "digits", "architecture": net}
    settings = {**PHENOMENON.protocols["smoke"].settings, **changes}
    trials = tuple(make_trial(PHENOMENON, levels, block, settings) for block in range(1000, 1000 + blocks))
    return Cohort(trials, levels, {}, settings)


def test_arrival_and_plateau() -> None:
    moments = (0, 100, 200, 300, 400)
    ratio = torch.tensor([[0.2, 0.99, 1.3, 1.1, 1.2], [0.2, 0.3, 0.4, 0.5, 0.6]])
    one = path(torch.ones(2, 400), ratio, moments)
    assert one.arrived.tolist() == [100, math.inf]
    plateau = entry._plateau(one)
    assert plateau[0].item() == pytest.approx(1.2)
    assert plateau[1].isnan()


def test_a_loss_that_zigzags_downwards_rises_at_half_of_the_steps_and_falls_over_all_spans() -> None:
    steps = torch.arange(1001.0)
    losses = (2 - steps / 1000 + 0.01 * (-1) ** steps)[None]
    one = path(losses, torch.ones(1, 2), (0, 1000))
    assert entry._rising(one).item() == pytest.approx(0.5, abs=0.01)
    assert entry._falling(one, 50, 500).item() == 1.0
    upwards = path(losses.flip(1), torch.ones(1, 2), (0, 1000))
    assert entry._falling(upwards, 50, 500).item() == 0.0


def test_the_slope_over_step_sizes_is_one_on_the_edge() -> None:
    edges = torch.tensor(entry.MULTIPLES, dtype=torch.float64).log()
    on_edge, everyone = edges[None], torch.ones(1, 3, dtype=torch.bool)
    assert entry._slope(edges, on_edge, everyone).item() == pytest.approx(1.0)
    assert entry._slope(edges, 0.8 * on_edge, everyone).item() == pytest.approx(0.8)
    assert entry._slope(edges, on_edge, torch.tensor([[True, True, False]])).isnan().all()


def test_in_a_linear_model_the_sharpness_is_that_of_its_inputs() -> None:
    made = cohort("linear", unit=20)
    data = entry._data(made)
    inputs = data.first(data.index.shape[1]).inputs.double()
    ones = torch.ones(*inputs.shape[:2], 1, dtype=torch.float64)
    z = torch.cat([inputs, ones], dim=2)
    largest = torch.linalg.matrix_norm(z, ord=2).square() / z.shape[1]  # half the sum of squared errors, mean over rows
    network = entry._network(made, data)
    found = entry._sharpness(made, network, network.initialize(made.seeds), data)
    torch.testing.assert_close(found, largest, rtol=1e-6, atol=0)
    assert trial(made)["drift"].max() < 1e-6


def test_a_deep_net_comes_to_the_edge_and_stays_and_small_steps_do_not() -> None:
    found = trial(cohort("deep-tanh"))
    assert (found["arrived"] > 0.5).all()
    assert (found["plateau_offset"].abs() < 0.2).all()
    assert (found["nonmonotone_share"] > 0.1).all()
    assert (found["quiet_rises"] == 0).all()
    assert (found["quiet_ratio"] < 1).all()
