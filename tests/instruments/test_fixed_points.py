"""Fixed points and their dynamics against nets whose fixed points, Jacobians and lines are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor, nn

from refute.errors import ShapeError, UsageError
from refute.instruments.fixed_points import (
    fixed_points,
    line_statistics,
    linear_run,
    linearize,
    mean_step,
    recurrence,
    spread,
    state_dimension,
    take,
    valences,
    visited_states,
)

REPLICAS, INPUT, HIDDEN = 2, 3, 5
GATES = {"lstm": 4, "gru": 3, "rnn-tanh": 1, "rnn-relu": 1}


def layer(kind: str, seed: int = 0, scale: float = 0.8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gates = GATES[kind] * HIDDEN
    shapes = {"weight_ih": (gates, INPUT), "weight_hh": (gates, HIDDEN), "bias_ih": (gates,), "bias_hh": (gates,)}
    return {
        name: scale * torch.randn(REPLICAS, *shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def module(kind: str, tensors: dict[str, Tensor], replica: int) -> nn.Module:
    made: Any = {"lstm": nn.LSTM, "gru": nn.GRU}.get(kind, nn.RNN)
    options = {"nonlinearity": kind[4:]} if kind.startswith("rnn") else {}
    net = made(INPUT, HIDDEN, batch_first=True, dtype=torch.float64, **options)
    net.load_state_dict({f"{name}_l0": tensor[replica] for name, tensor in tensors.items()})
    return net


@pytest.mark.parametrize("kind", list(GATES))
def test_visited_states_are_those_of_torch(kind: str) -> None:
    tensors = layer(kind)
    step = recurrence(kind, tensors)
    inputs = uniform(REPLICAS, 4, 6, INPUT)
    found = visited_states(step, inputs, step.units)
    for replica in range(REPLICAS):
        outputs, last = module(kind, tensors, replica)(inputs[replica])
        torch.testing.assert_close(found[replica, ..., :HIDDEN], outputs, rtol=1e-12, atol=1e-12)
        if kind == "lstm":
            torch.testing.assert_close(found[replica, :, -1, HIDDEN:], last[1][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn-tanh"])
def test_jacobians_agree_with_finite_differences(kind: str) -> None:
    step = recurrence(kind, layer(kind))
    states, inputs, size = uniform(REPLICAS, 3, step.units), uniform(REPLICAS, INPUT, seed=2), 1e-5
    found = linearize(step, states, inputs)
    x = inputs.unsqueeze(1).expand(-1, 3, -1)
    for unit in range(step.units):
        moved = torch.zeros(step.units, dtype=torch.float64)
        moved[unit] = size
        difference = (step(states + moved, x) - step(states - moved, x)) / (2 * size)
        assert (found.jacobians[..., unit] - difference).abs().max() < 1e-9
    for unit in range(INPUT):
        moved = torch.zeros(INPUT, dtype=torch.float64)
        moved[unit] = size
        difference = (step(states, x + moved) - step(states, x - moved)) / (2 * size)
        assert (found.input_jacobians[..., unit] - difference).abs().max() < 1e-9


def test_jacobian_of_the_gru_in_closed_form() -> None:
    tensors = layer("gru")
    step = recurrence("gru", tensors)
    states, inputs = uniform(REPLICAS, 1, HIDDEN), uniform(REPLICAS, INPUT, seed=2)
    found = linearize(step, states, inputs).jacobians
    for replica in range(REPLICAS):
        w, u, b, c = (tensors[name][replica] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = states[replica, 0]
        given_, fed = w @ inputs[replica] + b, u @ h + c
        reset, update, fed_new = torch.sigmoid(given_ + fed)[:HIDDEN], None, fed[2 * HIDDEN :]
        update = torch.sigmoid(given_ + fed)[HIDDEN : 2 * HIDDEN]
        new = torch.tanh(given_[2 * HIDDEN :] + reset * fed_new)
        of_reset, of_update, of_new = u.split(HIDDEN)
        inner = reset.diag() @ of_new + (fed_new * reset * (1 - reset)).diag() @ of_reset
        expected = (
            update.diag()
            + ((h - new) * update * (1 - update)).diag() @ of_update
            + ((1 - update) * (1 - new.square())).diag() @ inner
        )
        torch.testing.assert_close(found[replica, 0], expected, rtol=1e-12, atol=1e-13)


def test_all_fixed_points_of_two_bistable_units_are_found() -> None:
    gain = torch.tensor([1.5, 2.0], dtype=torch.float64)
    zero = torch.zeros(1, 2, INPUT, dtype=torch.float64)
    step = recurrence("rnn-tanh", {"weight_ih": zero, "weight_hh": gain.diag()[None]})
    roots = [brentq(lambda h, g=g: h - math.tanh(g * h), 0.1, 1) for g in gain.tolist()]
    found = fixed_points(step, uniform(1, 300, 2), zero[:, 0], tolerance=1e-9, steps=4000)
    points = found.states[0, found.kept[0]]
    expected = {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    assert {tuple(sign.tolist()) for sign in (points.sign() * (points.abs() > 1e-3)).int()} == expected
    assert len(points) == 9
    sizes = torch.tensor(roots) * (points.abs() > 1e-3)
    assert (points.abs() - sizes).abs().max() < 1e-7
    assert (found.speeds[found.passed] <= 1e-9).all()
    jacobian = linearize(step, points[None], zero[:, 0]).jacobians[0]
    torch.testing.assert_close(jacobian, torch.diag_embed(gain * (1 - (gain * points).tanh().square())))


def line_net(decay: float = 0.99, others: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """A non-normal linear net h' = A h + B x with one slow mode: A (1, 4, 4), B (1, 4, 2), the matrix of its modes."""
    modes = torch.eye(4, dtype=torch.float64) + 0.4 * uniform(4, 4, seed=5)
    values = torch.tensor([decay, others, 0.3, -0.2], dtype=torch.float64)
    return (modes @ values.diag() @ modes.inverse())[None], uniform(1, 4, 2, seed=6), modes


def test_the_slow_mode_of_a_linear_net() -> None:
    a, b, modes = line_net()

    def step(states: Tensor, inputs: Tensor) -> Tensor:
        return states @ a.transpose(1, 2) + inputs @ b.transpose(1, 2)

    states, rest = uniform(1, 6, 4), torch.zeros(1, 2, dtype=torch.float64)
    found = linearize(step, states, rest)
    right = modes[:, 0] / modes[:, 0].norm()
    left = modes.inverse()[0] * modes[:, 0].norm()
    sign = (found.right @ right).sign()
    torch.testing.assert_close(found.right[0] * sign[0].unsqueeze(1), right.expand(6, 4))
    torch.testing.assert_close(found.left[0] * sign[0].unsqueeze(1), left.expand(6, 4))
    torch.testing.assert_close(found.time_constants[0, 0, 0], torch.tensor(-1 / math.log(0.99), dtype=torch.float64))
    torch.testing.assert_close(
        found.slow_ratio, torch.full((1, 6), math.log(0.5) / math.log(0.99), dtype=torch.float64)
    )
    assert not found.rotating.any()
    assert not found.unstable.any()
    tokens = uniform(1, 7, 2, seed=8)
    expected = tokens[0] @ b[0].T @ left
    fixed_left = found.left * sign.unsqueeze(2)
    torch.testing.assert_close(valences(step, states, rest, fixed_left, tokens)[0], expected)
    torch.testing.assert_close(valences(step, states, rest, fixed_left, tokens, linear=found)[0], expected)
    sequences = uniform(1, 5, 9, 2, seed=9)
    reached = visited_states(step, sequences, 4)[:, :, -1]
    origin = torch.zeros(1, 1, 4, dtype=torch.float64)  # the one fixed point
    around = linearize(step, origin, rest).jacobians
    torch.testing.assert_close(linear_run(step, origin, around, rest, sequences), reached)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_mean_step_and_its_jacobian_are_means_over_tokens(kind: str) -> None:
    step = recurrence(kind, layer(kind))
    tokens, states = uniform(REPLICAS, 4, INPUT, seed=3), uniform(REPLICAS, 3, step.units)
    rest = torch.zeros(REPLICAS, INPUT, dtype=torch.float64)
    averaged = mean_step(step, tokens)
    each = [linearize(step, states, tokens[:, token]).jacobians for token in range(4)]
    torch.testing.assert_close(linearize(averaged, states, rest).jacobians, torch.stack(each).mean(dim=0))
    steps = [step(states, tokens[:, token : token + 1].expand(-1, 3, -1)) for token in range(4)]
    torch.testing.assert_close(averaged(states, states), torch.stack(steps).mean(dim=0))
    pushes = valences(step, states, rest, states, tokens, resting=averaged)
    torch.testing.assert_close(pushes.sum(dim=1), torch.zeros(REPLICAS, dtype=torch.float64))


def test_a_search_stops_at_slow_points_of_the_line() -> None:
    a, b, modes = line_net(decay=0.9999)

    def step(states: Tensor, inputs: Tensor) -> Tensor:
        return states @ a.transpose(1, 2) + inputs @ b.transpose(1, 2)

    starts = uniform(1, 60, 4)
    found = fixed_points(step, starts, torch.zeros(1, 2, dtype=torch.float64), tolerance=1e-3)
    assert found.passed.all()
    readout = modes.inverse()[:1]
    line = line_statistics(found.states, found.kept, readout, starts)
    assert line.shares[0, 0] > 0.999
    assert line.curve > 0.999
    assert line.extent > 0.5
    assert line.gap < 0.3
    cosine = (line.tangents[0] @ (modes[:, 0] / modes[:, 0].norm())).abs()
    assert cosine.min() > 0.99


def test_replicas_packed_otherwise_find_the_same() -> None:
    tensors = layer("gru")
    step = recurrence("gru", tensors)
    starts, rest = uniform(REPLICAS, 20, HIDDEN), torch.zeros(REPLICAS, INPUT, dtype=torch.float64)
    tolerance = torch.tensor([1e-3, 1e-7], dtype=torch.float64)
    whole = fixed_points(step, starts, rest, tolerance=tolerance, steps=1500)
    for replica in range(REPLICAS):
        part = slice(replica, replica + 1)
        own = recurrence("gru", {name: tensor[part] for name, tensor in tensors.items()})
        alone = fixed_points(own, starts[part], rest[part], tolerance=tolerance[part], steps=1500)
        torch.testing.assert_close(alone.states[0], whole.states[replica], rtol=1e-9, atol=1e-9)
        assert torch.equal(alone.kept[0], whole.kept[replica])


def test_copies_and_far_points_are_left_out_and_flags_say_so() -> None:
    def to_zero(states: Tensor, inputs: Tensor) -> Tensor:
        return states / 2

    starts = uniform(1, 30, 2)
    found = fixed_points(to_zero, starts, torch.zeros(1, 1, dtype=torch.float64), tolerance=1e-6)
    assert found.passed.all()
    assert found.kept.sum() == 1
    assert found.flags["few points"].item()
    away = fixed_points(
        lambda states, inputs: states / 2 + inputs,
        starts,
        torch.full((1, 1), 20.0, dtype=torch.float64),
        tolerance=1e-6,
        rate=0.5,
        steps=4000,
    )
    assert away.passed.any()
    assert not away.kept.any()
    short = fixed_points(to_zero, starts, torch.zeros(1, 1, dtype=torch.float64), tolerance=1e-6, steps=3)
    assert short.flags["search not finished"].item()
    torch.testing.assert_close(short.speeds, (short.states / 2).norm(dim=2))


def test_gap_and_extent_of_separate_attractors() -> None:
    ends = torch.linspace(-2, 2, 101, dtype=torch.float64)[None, :, None]
    readout = torch.ones(1, 1, dtype=torch.float64)
    clusters = torch.cat([torch.linspace(-1, -0.9, 10), torch.linspace(0.9, 1, 10)]).double()[None, :, None]
    found = line_statistics(clusters, torch.ones(1, 20, dtype=torch.bool), readout, ends)
    assert found.gap.item() == pytest.approx(0.9)
    only = torch.zeros(1, 20, dtype=torch.bool)
    only[0, 3] = True
    single = line_statistics(clusters, only, readout, ends)
    assert (single.extent.item(), single.gap.item()) == (0, 1)
    assert single.curve.isnan().item()
    assert single.flags["few points"].item()


def test_a_curve_is_recognized_where_a_straight_line_is_not() -> None:
    s = torch.linspace(-1, 1, 40, dtype=torch.float64)
    points = torch.stack([s, 1.5 * s.square(), 0.5 * s**3], dim=1)[None]
    readout = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    found = line_statistics(points, torch.ones(1, 40, dtype=torch.bool), readout, points)
    assert found.curve.item() == pytest.approx(1, abs=1e-12)
    spectrum = np.linalg.svd((points[0] - points[0].mean(0)).numpy(), compute_uv=False) ** 2
    np.testing.assert_allclose(found.shares[0].numpy(), spectrum / spectrum.sum(), rtol=1e-9)
    tangent = torch.stack([torch.ones_like(s), 3 * s, 1.5 * s.square()], dim=1)
    torch.testing.assert_close(found.tangents[0], tangent / tangent.norm(dim=1, keepdim=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_line_statistics_do_not_depend_on_rotation_and_scale(seed: int, scale: float) -> None:
    points, ends, readout = uniform(1, 12, 3, seed=seed), uniform(1, 9, 3, seed=seed + 1), uniform(1, 3, seed=seed + 2)
    turn = scale * torch.linalg.qr(uniform(3, 3, seed=seed + 3)).Q
    kept = torch.ones(1, 12, dtype=torch.bool)
    plain = line_statistics(points, kept, readout, ends)
    turned = line_statistics(points @ turn, kept, readout @ turn, ends @ turn)
    for name in ("shares", "curve", "extent", "gap"):
        torch.testing.assert_close(getattr(plain, name), getattr(turned, name), rtol=1e-6, atol=1e-8)


def test_rotating_and_unstable_modes_are_told() -> None:
    turn = torch.tensor([[[0.0, -0.9], [0.9, 0.0]], [[1.1, 0.0], [0.0, 0.5]]], dtype=torch.float64)

    def step(states: Tensor, inputs: Tensor) -> Tensor:
        return states @ turn.transpose(1, 2)

    found = linearize(step, uniform(2, 3, 2), torch.zeros(2, 1, dtype=torch.float64))
    assert found.flags["mostly rotating"].tolist() == [True, False]
    assert found.flags["mostly unstable"].tolist() == [False, True]
    assert found.slow_ratio[1].isnan().all()
    torch.testing.assert_close(found.slow_ratio[0], torch.ones(3, dtype=torch.float64))


def test_spread_takes_evenly_and_repeats_what_is_scarce() -> None:
    order = torch.arange(10.0).flip(0)[None]
    kept = torch.ones(1, 10, dtype=torch.bool)
    assert spread(order, kept, 4).tolist() == [[9, 6, 3, 0]]
    kept[0, 2:] = False
    places = spread(order, kept, 4)
    assert sorted(set(places[0].tolist())) == [0, 1]
    assert take(order.unsqueeze(2), places).shape == (1, 4, 1)


def test_participation_of_a_gaussian_cloud() -> None:
    states = torch.randn(1, 200_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    variances = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    found = state_dimension(states * variances.sqrt())
    assert found.participation.item() == pytest.approx(49 / 21, rel=0.01)
    torch.testing.assert_close(found.shares[0], variances / 7, rtol=0.01, atol=0)
    assert state_dimension(torch.zeros(1, 3, 2)).flags["no spread"].item()


def test_refusals() -> None:
    good = uniform(1, 4, HIDDEN)
    rest = torch.zeros(1, INPUT, dtype=torch.float64)
    step = recurrence("gru", {name: tensor[:1] for name, tensor in layer("gru").items()})
    with pytest.raises(UsageError, match="kind must be one of"):
        recurrence("ugrnn", layer("gru"))
    with pytest.raises(ShapeError, match=r"of a lstm must be \(replica, 20"):
        recurrence("lstm", layer("gru"))
    with pytest.raises(ShapeError, match="weight_hh must be finite"):
        recurrence("gru", {**layer("gru"), "weight_hh": torch.full((1, 15, 5), torch.nan)})
    with pytest.raises(UsageError, match="tolerance must be positive"):
        fixed_points(step, good, rest, tolerance=0.0)
    with pytest.raises(ShapeError, match=r"inputs must be \(1 replicas, input\)"):
        fixed_points(step, good, torch.zeros(2, INPUT), tolerance=1.0)
    with pytest.raises(ShapeError, match="states must be"):
        linearize(step, good[:, :0], rest)
    with pytest.raises(ShapeError, match="finite"):
        linearize(step, good * torch.nan, rest)
    with pytest.raises(ShapeError, match="must fit"):
        line_statistics(good, torch.ones(1, 3, dtype=torch.bool), rest, good)
    with pytest.raises(ShapeError, match="at least 2 samples"):
        state_dimension(good[:, :1])
    with pytest.raises(ShapeError, match=r"inputs must be \(replica, batch, time, input\)"):
        visited_states(step, rest, HIDDEN)
