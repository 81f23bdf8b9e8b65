"""Forgetting events against a loop over presentations."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refute.errors import ShapeError
from refute.instruments.forgetting import forgetting


def test_against_a_loop() -> None:
    correct = torch.rand(2, 12, 40, generator=torch.Generator().manual_seed(0)) < 0.6
    correct[:, :, 0], correct[:, :, 1] = False, True
    found = forgetting(correct)
    for replica in range(2):
        for example in range(40):
            own = correct[replica, :, example].tolist()
            events = sum(before and not after for before, after in itertools.pairwise(own))
            assert found.events[replica, example] == events
            assert found.first_learned[replica, example] == (own.index(True) if True in own else -1)
            assert found.score[replica, example] == (events if True in own else float("inf"))
    kept = found.learned & (found.events == 0)
    assert torch.equal(found.unforgettable, kept.double().mean(dim=1))
    assert kept[:, 1].all()
    assert not kept[:, 0].any()


@given(st.lists(st.booleans(), min_size=2, max_size=20))
def test_events_and_learning_events_differ_by_one_at_most(history: list[bool]) -> None:
    correct = torch.tensor(history).view(1, -1, 1)
    found = forgetting(correct)
    learning = forgetting(~correct).events.item() + history[0]  # wrong to right, the first answer included
    assert learning - found.events.item() == history[-1]


def test_nothing_learned_is_flagged_and_bad_input_refused() -> None:
    correct = torch.zeros(2, 3, 4, dtype=torch.bool)
    correct[1, 1, 1] = True
    assert forgetting(correct).flags["nothing learned"].tolist() == [True, False]
    with pytest.raises(ShapeError, match="2 presentations or more"):
        forgetting(correct[:, :1])
    with pytest.raises(ShapeError, match="must be bool"):
        forgetting(correct.float())
