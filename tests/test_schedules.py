"""Schedules: multipliers of the learning rate."""

import pytest

from refute.schedules import Constant, Cosine, Staircase, WarmUp


def test_schedules_at_their_corners() -> None:
    assert Constant()(7, 10) == 1
    assert [Staircase((0.6, 0.85), 0.2)(s, 100) for s in (0, 59, 60, 84, 85)] == pytest.approx([1, 1, 0.2, 0.2, 0.04])
    assert Cosine()(0, 10) == 1
    assert Cosine()(10, 10) == pytest.approx(0)
    warm = WarmUp(5, Cosine())
    assert [warm(0, 15), warm(4, 15), warm(5, 15)] == pytest.approx([0.2, 1.0, 1.0])
    assert warm(10, 15) == pytest.approx(0.5)
