"""When examples are learned, against loops over single examples and all pairs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import case

from refute.errors import ShapeError, UsageError
from refute.instruments.association import auroc
from refute.instruments.learning_order import correctness, learning_speed, learning_times, precedence


def drawn(*shape: int, share: float = 0.6, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share


STEPS = [0, 1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize("hold", [1, 3])
def test_times_against_a_loop(hold: int) -> None:
    correct = drawn(3, 7, 50)
    found = learning_times(correct, STEPS, hold=hold)
    for replica in range(3):
        for example in range(50):
            own = correct[replica, :, example].tolist()
            starts = [t for t in range(8 - hold) if all(own[t : t + hold])]
            assert found.first[replica, example] == (STEPS[starts[0]] if starts else math.inf)
            wrong = [t for t in range(7) if not own[t]]
            after = wrong[-1] + 1 if wrong else 0
            assert found.settled[replica, example] == (STEPS[after] if after < 7 else math.inf)
            assert found.known[replica, example] == own[-1]


def test_a_late_learner_raises_the_flag() -> None:
    correct = torch.zeros(2, 7, 10, dtype=torch.bool)
    correct[0, 2:] = True
    correct[1, 6:] = True
    assert learning_times(correct, STEPS).flags["learned too late to tell"].tolist() == [False, True]


def test_correctness_is_that_of_the_outputs() -> None:
    made = case()
    later = made.weights.clone()
    later.flat.mul_(-1.5)
    found = correctness(made.network, [made.weights, later], made.inputs, made.labels)
    assert found.shape == (3, 2, 20)
    for moment, weights in enumerate((made.weights, later)):
        expected = made.network.evaluate(weights, made.inputs).argmax(dim=-1) == made.labels
        assert torch.equal(found[:, moment], expected)


def all_pairs(times: np.ndarray, group: np.ndarray, strata: np.ndarray) -> tuple[float, int]:
    total, pairs = 0.0, 0
    for a in np.flatnonzero(group):
        for b in np.flatnonzero(~group):
            if strata[a] == strata[b]:
                total += (times[a] < times[b]) + 0.5 * (times[a] == times[b])
                pairs += 1
    return total / pairs, pairs


def test_precedence_against_all_pairs() -> None:
    generator = torch.Generator().manual_seed(3)
    times = torch.randint(0, 9, (3, 60), generator=generator).double()
    times[times == 8] = math.inf
    group, among = drawn(60, seed=1), drawn(3, 60, share=0.8, seed=2)
    classes = torch.randint(0, 4, (60,), generator=generator)
    found = precedence(times, group, strata=classes, among=among)
    for replica in range(3):
        kept = among[replica].numpy()
        own = times[replica].numpy()[kept], group.numpy()[kept]
        value, pairs = all_pairs(*own, classes.numpy()[kept])
        assert abs(found.value[replica].item() - value) < 1e-14
        assert found.pairs[replica] == pairs
        assert abs(found.unstratified[replica].item() - all_pairs(*own, np.zeros(kept.sum()))[0]) < 1e-14


def test_without_strata_it_is_the_area_under_the_curve_with_its_error() -> None:
    times, group = torch.randint(0, 9, (3, 200)).double(), drawn(200)
    found, area = precedence(times, group), auroc(-times, group)
    torch.testing.assert_close(found.value, area.value, rtol=0, atol=1e-14)
    torch.testing.assert_close(found.standard_error, area.standard_error, rtol=0, atol=1e-14)


def test_class_difficulty_alone_is_no_order() -> None:
    classes = torch.arange(400) % 2
    group = torch.arange(400) % 40 < torch.where(classes == 0, 30, 10)
    times = (10.0 * classes + torch.arange(400) % 5)[None]
    found = precedence(times, group, strata=classes)
    assert abs(found.value.item() - 0.5) < 0.02
    assert found.unstratified.item() > 0.6


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_monotone_clocks_and_packing_change_nothing(seed: int) -> None:
    times = torch.randint(0, 6, (2, 40), generator=torch.Generator().manual_seed(seed)).double()
    group, classes = drawn(40, seed=seed), torch.arange(40) % 3
    found, moved = (precedence(own, group, strata=classes) for own in (times, torch.exp(times) - 3))
    assert torch.equal(found.value.nan_to_num(), moved.value.nan_to_num())
    alone = precedence(times[1:], group, strata=classes)
    assert torch.equal(alone.value.nan_to_num(), found.value[1:].nan_to_num())


def test_no_pairs_and_few_members_are_flagged() -> None:
    found = precedence(torch.ones(2, 30), torch.ones(30, dtype=torch.bool))
    assert torch.isnan(found.value).all()
    assert found.flags["no pairs"].all()
    assert found.flags["fewer than 40 in a group"].all()


def test_speed_of_known_curves() -> None:
    """100 easy examples learned one per step, 100 hard ones one per ten steps."""
    steps = list(range(1, 1201))
    clock = torch.tensor(steps).view(1, -1, 1)
    learned = torch.cat([torch.arange(1, 101), 10 * torch.arange(1, 101)])
    group = torch.arange(200) < 100
    found = learning_speed(clock >= learned, steps, group)
    assert abs(found.group.item() - 90) < 1e-9
    assert abs(found.others.item() - 900) < 1e-9
    assert abs(found.ratio.item() - 10) < 1e-9
    assert not any(raised.any() for raised in found.flags.values())
    assert abs(found.group_accuracy[0, 49].item() - 0.5) < 1e-12


def test_speed_says_what_it_cannot_tell() -> None:
    correct = torch.zeros(2, 7, 10, dtype=torch.bool)
    correct[:, :, :5] = True
    correct[1, 3:, 5:] = True
    found = learning_speed(correct, STEPS, torch.arange(10) < 5)
    assert found.flags["never right"].tolist() == [True, False]
    assert found.flags["reached at the first checkpoint"].tolist() == [True, True]
    assert torch.isnan(found.ratio).tolist() == [True, False]


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="correct must be bool"):
        learning_times(torch.ones(1, 3, 4), [0, 1, 2])
    with pytest.raises(ShapeError, match="steps must be 3 ascending"):
        learning_times(drawn(1, 3, 4), [0, 2, 1])
    with pytest.raises(UsageError, match="hold must lie between 1 and the 3"):
        learning_times(drawn(1, 3, 4), [0, 1, 2], hold=4)
    with pytest.raises(ShapeError, match="without nan"):
        precedence(torch.full((1, 4), math.nan), drawn(4))
    with pytest.raises(ShapeError, match="group must be bool"):
        precedence(torch.ones(1, 4), torch.ones(4))
    with pytest.raises(UsageError, match="at least one moment"):
        correctness(case().network, [], case().inputs, case().labels)
