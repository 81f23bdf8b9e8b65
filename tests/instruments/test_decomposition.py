"""Bias and variance: the specification's formulas, analysis of variance, known truths by simulation, and refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.errors import ShapeError, UsageError
from refute.instruments.decomposition import bias_variance, part_log_ratio

PARTS = ("bias_squared", "variance", "initialization", "sampling", "risk")


def design(seed: int = 0, *, sets: int = 4, starts: int = 3, examples: int = 7, outputs: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, sets, starts, examples, outputs)
    common = torch.randn(2, sets, 1, examples, outputs, generator=generator, dtype=torch.float64)
    return common + torch.randn(shape, generator=generator, dtype=torch.float64)


LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


def of_specification(h: np.ndarray, y: np.ndarray, crossed: bool) -> dict[str, float]:
    """The formulas of specification bias-variance-width, h (set, start, example, output)."""
    sets, starts = h.shape[:2]
    over_starts = h.var(axis=1, ddof=1).sum(axis=-1).mean(axis=-1).mean()
    means = h.mean(axis=1)
    between = means.var(axis=0, ddof=1).sum(axis=-1).mean()
    correction = over_starts
    if crossed:
        off = h - h.mean(axis=1, keepdims=True) - h.mean(axis=0, keepdims=True) + h.mean(axis=(0, 1), keepdims=True)
        correction = np.square(off).sum(axis=(0, 1, 3)).mean() / ((sets - 1) * (starts - 1))
    sampling = between - correction / starts
    grand = np.square(h.mean(axis=(0, 1)) - y).sum(axis=-1).mean()
    bias = grand - sampling / sets - over_starts / (sets * starts)
    if crossed:  # of the start alone, which all sets share
        bias = grand - sampling / sets - (over_starts - correction) / starts - correction / (sets * starts)
    risk = np.square(h - y).sum(axis=-1).mean()
    return {
        "initialization": over_starts,
        "sampling": sampling,
        "variance": over_starts + sampling,
        "bias_squared": bias,
        "risk": risk,
    }


@pytest.mark.parametrize("crossed", [False, True])
def test_pairs_give_the_formulas_of_the_specification(crossed: bool) -> None:
    h = design()
    found = bias_variance(h, LABELS, crossed=crossed)
    y = np.eye(5)[LABELS.numpy()]
    for replica in range(2):
        expected = of_specification(h[replica].numpy(), y, crossed)
        for part in PARTS:
            assert abs(getattr(found.parts, part)[replica].item() - expected[part]) < 1e-12, part
    assert torch.isnan(found.parts.interaction).all() == (not crossed)


def test_risk_is_the_sum_of_the_parts() -> None:
    for crossed in (False, True):
        found = bias_variance(design(3), LABELS, crossed=crossed).parts
        torch.testing.assert_close(found.bias_squared + found.variance, found.risk, rtol=1e-13, atol=0)
        torch.testing.assert_close(found.initialization + found.sampling, found.variance, rtol=1e-13, atol=0)


def test_labels_are_one_hot_values() -> None:
    one_hot = torch.eye(5, dtype=torch.float64)[LABELS]
    own = torch.stack([one_hot, one_hot.flip(0)])
    both = bias_variance(design(), own)
    assert torch.equal(both.parts.risk[0], bias_variance(design(), LABELS).parts.risk[0])
    assert torch.equal(both.parts.risk[1], bias_variance(design(), LABELS.flip(0)).parts.risk[1])


@pytest.mark.parametrize("crossed", [False, True])
def test_unbiased_for_known_truths(crossed: bool) -> None:
    """h = mean + set + start + both, each with its own variance; 4000 designs of 3 sets x 2 starts."""
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int, variance: float) -> torch.Tensor:
        return variance**0.5 * torch.randn(4000, *shape, 2, 1, generator=generator, dtype=torch.float64)

    start = noise(1, 2, variance=0.5) if crossed else noise(3, 2, variance=0.5)
    h = 0.7 + noise(3, 1, variance=0.3) + start + noise(3, 2, variance=0.2)
    found = bias_variance(h, torch.zeros(2, 1), crossed=crossed).parts
    truth = {"bias_squared": 0.49, "variance": 1.0, "initialization": 0.7, "sampling": 0.3, "risk": 1.49}
    truth |= {"interaction": 0.2} if crossed else {}
    for part, value in truth.items():
        each = getattr(found, part)
        assert abs(each.mean().item() - value) < 4 * each.std().item() / 4000**0.5, part


def test_standard_errors_and_draws_are_the_spread() -> None:
    generator = torch.Generator().manual_seed(2)
    sets = torch.randn(400, 10, 1, 3, 1, generator=generator, dtype=torch.float64)
    h = 0.5 + 0.6 * sets + 0.8 * torch.randn(400, 10, 4, 3, 1, generator=generator, dtype=torch.float64)
    found = bias_variance(h, torch.zeros(3, 1), seeds=list(range(400)), draws=200)
    for part in PARTS:
        spread = getattr(found.parts, part).std().item()
        leaving_out = getattr(found.standard_error, part).square().mean().sqrt().item()
        resampling = getattr(found.draws, part).var(dim=1).mean().sqrt().item()
        assert 0.8 < leaving_out / spread < 1.35, part
        assert 0.7 < resampling / spread < 1.3, part
        centre = (getattr(found.draws, part).mean(dim=1) - getattr(found.parts, part)).mean().item()
        assert abs(centre) < 0.1 * spread, part


def test_equal_seeds_pair_the_draws() -> None:
    h = torch.cat([design(0, sets=8), 0.5 * design(0, sets=8)])
    found = bias_variance(h, torch.zeros(7, 5), seeds=[4, 5, 4, 5], draws=50)
    torch.testing.assert_close(found.draws.variance[2:], found.draws.variance[:2] / 4)
    assert not torch.equal(found.draws.variance[0], found.draws.variance[1])
    alone = bias_variance(h[1:2], torch.zeros(7, 5), seeds=[5], draws=50)
    torch.testing.assert_close(alone.draws.variance[0], found.draws.variance[1], rtol=1e-13, atol=0)


def test_ratio_of_two_designs() -> None:
    one = bias_variance(design(0, sets=8), torch.zeros(7, 5), seeds=[0, 1])
    two = bias_variance(design(1, sets=8), torch.zeros(7, 5), seeds=[0, 1])
    found = part_log_ratio(one, two, "variance")
    torch.testing.assert_close(found.value, (two.parts.variance / one.parts.variance).log())
    assert ((found.low < found.value) & (found.value < found.high)).all()
    back = part_log_ratio(two, one, "variance")
    torch.testing.assert_close(back.low, -found.high)
    with pytest.raises(UsageError, match="pass seeds"):
        part_log_ratio(bias_variance(design(), LABELS), bias_variance(design(), LABELS), "variance")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(-3, 3))
def test_what_moves_all_predictions_moves_no_variance(seed: int, shift: float) -> None:
    h = design(seed)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    found, moved = bias_variance(h, LABELS).parts, bias_variance((h + shift) @ turn, LABELS).parts
    for part in ("variance", "initialization", "sampling"):
        torch.testing.assert_close(getattr(found, part), getattr(moved, part), rtol=1e-9, atol=1e-11)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    shuffled = bias_variance(h[:, order], LABELS).parts
    torch.testing.assert_close(shuffled.sampling, found.sampling, rtol=1e-10, atol=1e-12)


def test_flags_and_refusals() -> None:
    same_sets = design()[:, :1].expand(2, 4, 3, 7, 5).clone()
    found = bias_variance(same_sets, LABELS)
    assert found.flags["sampling below zero"].all()
    assert found.flags["fewer than 5 training sets"].all()
    assert not bias_variance(design(sets=5), LABELS).flags["fewer than 5 training sets"].any()
    with pytest.raises(ShapeError, match="2 training sets and 2 starts"):
        bias_variance(design(starts=1), LABELS)
    with pytest.raises(ShapeError, match="finite"):
        bias_variance(design() / 0, LABELS)
    with pytest.raises(ShapeError, match="targets must be classes"):
        bias_variance(design(), LABELS + 1)
    with pytest.raises(ShapeError, match="targets must be values"):
        bias_variance(design(), torch.zeros(7, 4))
    with pytest.raises(ShapeError, match="seeds must be 2"):
        bias_variance(design(), LABELS, seeds=[1])
