"""Early stopping against a plain loop over one replica's numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refute.architectures import Weights
from refute.architectures.layers import Slot
from refute.errors import UsageError
from refute.stopping import LossBelow, Patience

LOSSES = st.one_of(st.floats(0, 1, width=32), st.just(math.nan))


def weights(values: Tensor) -> Weights:
    """One number per replica."""
    return Weights((Slot("w", (1,), "zeros"),), values[:, None])


def ends(finished: list[Tensor]) -> list[int | None]:
    """The first step after which each replica was finished."""
    table = torch.stack(finished, dim=1)
    assert (table[:, 1:] >= table[:, :-1]).all(), "a finished replica went on"
    return [row.tolist().index(True) if row.any() else None for row in table]


def first_mean_below(losses: list[float], threshold: float, window: int, every: int) -> int | None:
    for step in range(window - 1, len(losses)):
        recent = torch.tensor(losses[step - window + 1 : step + 1])
        if (step + 1) % every == 0 and bool(recent.mean() < threshold):
            return step
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(LOSSES, min_size=12, max_size=12), min_size=2, max_size=2),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 3),
)
def test_a_loss_below_its_threshold(losses: list[list[float]], window: int, every: int) -> None:
    thresholds = torch.tensor([0.5, 0.25])
    stop = LossBelow(thresholds, window, every)
    state = stop.start(torch.arange(2))
    columns = torch.tensor(losses).T
    found = [stop.finished(state, step, column, weights(column)).clone() for step, column in enumerate(columns)]
    expected = [first_mean_below(row, float(t), window, every) for row, t in zip(losses, thresholds, strict=True)]
    assert ends(found) == expected


def first_out_of_patience(scores: list[float], every: int, patience: int, margin: float) -> int | None:
    best, waited = -math.inf, 0
    for step in range(every - 1, len(scores), every):
        if torch.tensor(scores[step]) > torch.tensor(best) + margin:
            best, waited = scores[step], 0
        else:
            waited += 1
        if waited == patience:
            return step
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(LOSSES, min_size=12, max_size=12), min_size=3, max_size=3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.25]),
)
def test_patience(scores: list[list[float]], every: int, patience: int, margin: float) -> None:
    stop = Patience(lambda weights, replicas: weights.flat[:, 0], every, patience, margin)
    state = stop.start(torch.arange(3))
    found = [
        stop.finished(state, step, torch.zeros(3), weights(column)).clone()
        for step, column in enumerate(torch.tensor(scores).T)
    ]
    assert ends(found) == [first_out_of_patience(row, every, patience, margin) for row in scores]


def test_a_state_can_be_cut_down_to_the_replicas_that_are_left() -> None:
    asked: list[list[int]] = []

    def score(weights: Weights, replicas: Tensor) -> Tensor:
        asked.append(replicas.tolist())
        return weights.flat[:, 0]

    left = torch.tensor([0, 2])
    for stop in (LossBelow(torch.tensor([9.0, 0.5, 9.0, 0.0, 0.5]), window=2), Patience(score, every=1, patience=2)):
        whole = stop.start(torch.tensor([4, 3, 1]))
        values = torch.tensor([[0.0, 1.0, 1.0], [0.3, 1.0, 0.1], [0.4, 0.9, 0.2]])
        stop.finished(whole, 0, values[0], weights(values[0]))
        cut = {name: tensor[left] for name, tensor in whole.items()}
        for step in (1, 2):
            together = stop.finished(whole, step, values[step], weights(values[step])).clone()
            alone = stop.finished(cut, step, values[step][left], weights(values[step][left])).clone()
            assert torch.equal(alone, together[left])
    assert asked == [[4, 3, 1], [4, 3, 1], [4, 1], [4, 3, 1], [4, 1]]


def test_nothing_is_finished_before_the_window_is_full() -> None:
    stop = LossBelow(1.0, window=3)
    state = stop.start(torch.arange(2))
    zeros = torch.zeros(2)
    assert [bool(stop.finished(state, step, zeros, weights(zeros)).all()) for step in range(3)] == [False, False, True]


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="window of an early stop should be at least 1, but is 0"):
        LossBelow(0.1, window=0)
    with pytest.raises(UsageError, match="patience of an early stop"):
        Patience(lambda weights, replicas: replicas, every=1, patience=0)
