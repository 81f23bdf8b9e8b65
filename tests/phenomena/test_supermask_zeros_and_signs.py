"""The entry on supermasks: its criteria, its masks, the values that nets are trained again from, its trials."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from refute import architectures
from refute.architectures import Network, Weights
from refute.architectures.initialization import draw
from refute.core import Cohort, Level, make_trial
from refute.phenomena.supermask_zeros_and_signs import (
    KEPT,
    OUTPUT_EXPONENT,
    PHENOMENON,
    constants,
    find_mask,
    glorot_deviation,
    keep_largest,
    layer_share,
    reshuffled,
    scores,
    treated,
)

SMOKE = PHENOMENON.protocol("smoke").settings
SEEDS = (1, 2)
BEFORE, AFTER = torch.tensor([[1.0, -2.0, 3.0, -0.5]]), torch.tensor([[2.0, 1.0, 3.5, -1.5]])


@cache
def net() -> Network:
    return architectures.build("lenet", (1, 8, 8), 10, variant="32-16", law="glorot-normal")


@cache
def nets() -> tuple[Weights, Weights]:
    """Initial weights, and others that have moved by less than their size in most places."""
    before = net().initialize(SEEDS)
    moved = net().initialize(SEEDS, purpose="elsewhere")
    return before, Weights(before.slots, before.flat + 0.7 * moved.flat)


def mask(kept: float) -> Tensor:
    return find_mask(net(), "large_final", *nets(), kept, SEEDS)


def cohort(block: int = 1000, **levels: Level) -> Cohort:
    fixed: dict[str, Level] = {"dataset": "digits", "architecture": "lenet-32-16", **levels}
    settings = {**SMOKE, "steps": 300, "mask_steps": 300}
    trials = tuple(make_trial(PHENOMENON, fixed, block + place, settings) for place in range(2))
    return Cohort(trials, dict(trials[0].levels), {}, settings)


@cache
def measured(**levels: Level) -> dict[str, Any]:
    return dict(PHENOMENON.trial(cohort(**levels)))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("large_final", [2.0, 1.0, 3.5, 1.5]),
        ("small_final", [-2.0, -1.0, -3.5, -1.5]),
        ("large_init", [1.0, 2.0, 3.0, 0.5]),
        ("small_init", [-1.0, -2.0, -3.0, -0.5]),
        ("magnitude_increase", [1.0, -1.0, 0.5, 1.0]),
        ("movement", [1.0, 3.0, 0.5, 1.0]),
        ("large_init_large_final", [1.0, 1.0, 3.0, 0.5]),
        ("small_init_small_final", [-2.0, -2.0, -3.5, -1.5]),
        ("large_final_same_sign", [2.0, -math.inf, 3.5, 1.5]),
        ("magnitude_increase_same_sign", [1.0, -math.inf, 0.5, 1.0]),
    ],
)
def test_criteria_are_those_of_their_definitions(criterion: str, expected: list[float]) -> None:
    torch.testing.assert_close(scores(criterion, BEFORE, AFTER), torch.tensor([expected]))


def test_the_largest_are_kept_and_what_is_dropped_stays_dropped() -> None:
    ranked = torch.tensor([[[3.0, 1.0], [2.0, 4.0]], [[0.0, -math.inf], [-math.inf, -math.inf]]])
    found = keep_largest(ranked, 0.5, SEEDS, "ties")
    assert found.tolist() == [[[True, False], [False, True]], [[True, False], [False, False]]]


def test_ties_are_broken_at_random_but_the_same_for_a_seed() -> None:
    ties = torch.zeros(2, 1000)
    found = keep_largest(ties, 0.3, SEEDS, "ties")
    assert found.sum(dim=1).tolist() == [300, 300]
    assert not torch.equal(found[0], found[1])
    assert abs(found[0, :500].sum().item() - 150) < 40
    torch.testing.assert_close(found[1:], keep_largest(ties[1:], 0.3, SEEDS[1:], "ties"))


def test_output_and_convolutions_keep_more() -> None:
    assert layer_share(net(), "output.weight", 0.8) == pytest.approx(0.9, abs=1e-3)
    convolutional = architectures.build("convnet", (1, 14, 14), 10)
    shares = [layer_share(convolutional, name, 0.1) for name in convolutional.kernels]
    assert shares == [0.1**OUTPUT_EXPONENT, 0.1**OUTPUT_EXPONENT, 0.1, 0.1**OUTPUT_EXPONENT]


@pytest.mark.parametrize("criterion", ["large_final", "random"])
def test_a_mask_has_its_density_in_each_kernel_and_spares_biases(criterion: str) -> None:
    before, after = nets()
    found = Weights(before.slots, find_mask(net(), criterion, before, after, 0.2, SEEDS))
    for name in net().kernels:
        size = before[name][0].numel()
        assert found[name].flatten(1).sum(dim=1).tolist() == [round(layer_share(net(), name, 0.2) * size)] * 2
    for name in set(found) - set(net().kernels):
        assert found[name].all()
    if criterion == "large_final":
        kept, left = found["dense1.weight"], ~found["dense1.weight"]
        assert after["dense1.weight"][0][kept[0]].abs().min() >= after["dense1.weight"][0][left[0]].abs().max()


def test_packing_changes_no_mask() -> None:
    before, after = nets()
    alone = find_mask(net(), "random", before.take(slice(1, 2)), after.take(slice(1, 2)), 0.3, SEEDS[1:])
    torch.testing.assert_close(find_mask(net(), "random", before, after, 0.3, SEEDS)[1:], alone)


@pytest.mark.parametrize("base", ["rewind", "reinit", "reshuffle", "constant"])
def test_kept_weights_have_their_signs_or_random_ones(base: str) -> None:
    before, after = nets()
    kept = Weights(before.slots, mask(0.3))["dense1.weight"]
    own = treated(net(), base, before, after, mask(0.3), SEEDS)["dense1.weight"]
    coins = treated(net(), f"{base}-random-signs", before, after, mask(0.3), SEEDS)["dense1.weight"]
    torch.testing.assert_close(own[kept].sign(), before["dense1.weight"][kept].sign())
    torch.testing.assert_close(own.abs(), coins.abs())
    assert (own[~kept] == 0).all()
    agreement = (coins[kept].sign() == own[kept].sign()).double().mean().item()
    assert agreement == pytest.approx(0.5, abs=0.06)


def test_sizes_are_rewound_permuted_constant_or_drawn_again() -> None:
    before, after = nets()
    name, kept = "dense1.weight", Weights(before.slots, mask(0.3))["dense1.weight"]
    found = {t: treated(net(), t, before, after, mask(0.3), SEEDS)[name] for t in ("rewind", "reshuffle", "constant")}
    torch.testing.assert_close(found["rewind"][kept], before[name][kept], rtol=0, atol=0)
    for replica in range(2):
        own, permuted = before[name][replica][kept[replica]], found["reshuffle"][replica][kept[replica]]
        assert not torch.equal(own, permuted)
        torch.testing.assert_close(own.abs().sort().values, permuted.abs().sort().values)
    assert found["constant"][kept].abs().unique().tolist() == pytest.approx([glorot_deviation((32, 64))])
    fresh = treated(net(), "reinit", before, after, mask(0.3), SEEDS)[name][kept].abs()
    half_normal = glorot_deviation((32, 64)) * math.sqrt(2 / math.pi)
    assert fresh.mean().item() == pytest.approx(half_normal, rel=0.1)


def test_pruned_weights_are_frozen_or_frozen_where_they_grew() -> None:
    before, after = nets()
    frozen = treated(net(), "frozen", before, after, mask(0.3), SEEDS)
    torch.testing.assert_close(frozen.flat, before.flat, rtol=0, atol=0)
    mixed = treated(net(), "mixed", before, after, mask(0.3), SEEDS)
    kept = Weights(before.slots, mask(0.3))
    for name in net().kernels:
        here = kept[name] | (after[name].abs() > before[name].abs())
        torch.testing.assert_close(mixed[name], before[name] * here)
        assert (mixed[name] == 0).any()


def test_reshuffling_leaves_the_other_places_alone() -> None:
    values, where = torch.arange(20.0).view(2, 10), torch.rand(2, 10, generator=torch.Generator().manual_seed(0)) < 0.5
    found = reshuffled(values, where, SEEDS, "test")
    torch.testing.assert_close(found[~where], values[~where])
    torch.testing.assert_close(found.sort(dim=1).values, values)


def test_constants_have_the_deviation_of_the_law() -> None:
    drawn = draw("glorot-normal", (64, 200), torch.Generator().manual_seed(0))
    assert glorot_deviation((64, 200)) == pytest.approx(drawn.std().item(), rel=0.03)
    before, _ = nets()
    found = constants(net(), before)
    for name in net().kernels:
        torch.testing.assert_close(found[name].sign(), before[name].sign())
        assert len(found[name].abs().unique()) == 1


def test_a_trial_returns_what_is_declared() -> None:
    found = measured(mask="large_final_same_sign")
    assert set(found) == {*PHENOMENON.quantities, "diverged"}
    curve, (kept,) = found["supermask_curve"]
    assert curve.shape == (2, len(KEPT))
    assert tuple(kept) == KEPT


def test_the_chosen_fraction_is_the_best_on_validation_images() -> None:
    found = measured(mask="large_final_same_sign")
    best = torch.tensor(KEPT)[found["supermask_curve"][0].argmax(dim=1)]
    torch.testing.assert_close(found["best_kept"], best)


def test_masks_of_trained_nets_work_and_random_ones_do_not() -> None:
    random = measured(mask="random")["supermask_accuracy"]
    assert (measured(mask="large_final_same_sign")["supermask_accuracy"] > random + 10).all()
    assert (measured(mask="learned-constant-rescaled")["supermask_accuracy"] > random + 20).all()


def test_with_everything_kept_zero_and_frozen_are_the_dense_net() -> None:
    """No weight is pruned, so training again repeats the first training."""
    frozen = measured(treatment="frozen", kept=1.0)
    torch.testing.assert_close(frozen["retrained_accuracy"], frozen["dense_accuracy"])
    torch.testing.assert_close(frozen["freezing_loss"], torch.zeros(2, dtype=torch.float64))


def test_the_loss_by_freezing_is_that_of_the_very_nets_of_the_other_arm() -> None:
    zero, frozen = measured(treatment="rewind", kept=0.1), measured(treatment="frozen", kept=0.1)
    torch.testing.assert_close(frozen["freezing_loss"], zero["retrained_accuracy"] - frozen["retrained_accuracy"])
    matching = zero["retrained_accuracy"] >= zero["dense_accuracy"] - 1
    torch.testing.assert_close(frozen["matching_sparsity"], torch.where(matching, 0.9, -0.1))
