"""Agreement of nets against scikit-learn's kappa, scipy's correlations and counting."""

import math

import pytest
import torch
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import cohen_kappa_score

from refute.errors import ShapeError
from refute.instruments.example_agreement import example_agreement, order_agreement, shared_errors


def nets(count: int, examples: int = 400, *, common: float = 0.5, seed: int = 0) -> torch.Tensor:
    """Correctness of nets with a common difficulty of examples."""
    generator = torch.Generator().manual_seed(seed)
    hard = torch.randn(examples, generator=generator)
    return common * hard + (1 - common) * torch.randn(count, examples, generator=generator) < 0.4


def test_kappa_against_scikit_learn() -> None:
    correct = nets(4)
    found = example_agreement(correct)
    for net in range(4):
        others = [other for other in range(4) if other != net]
        kappas = [cohen_kappa_score(correct[net].numpy(), correct[other].numpy()) for other in others]
        assert abs(found.kappa[net].item() - sum(kappas) / 3) < 1e-12
        same = [(correct[net] == correct[other]).double().mean().item() for other in others]
        assert abs(found.observed[net].item() - sum(same) / 3) < 1e-12
    assert torch.equal(found.accessibility, correct.double().mean(dim=0))


def test_kappa_between_groups_and_its_two_ends() -> None:
    one, two = nets(3), nets(5, seed=1)
    found = example_agreement(one, two)
    expected = [cohen_kappa_score(one[1].numpy(), other.numpy()) for other in two]
    assert abs(found.kappa[1].item() - sum(expected) / 5) < 1e-12
    torch.testing.assert_close(example_agreement(nets(1).expand(3, -1)).kappa, torch.ones(3).double())
    independent = example_agreement(nets(6, 20_000, common=0.0))
    assert independent.kappa.abs().max() < 0.02


def test_jackknife_error_is_the_spread_over_cohorts() -> None:
    found = [example_agreement(nets(6, 300, seed=seed)) for seed in range(200)]
    fixed = [example_agreement(own) for own in _redrawn(200)]
    spread = torch.stack([one.kappa.mean() for one in fixed]).std()
    mean = torch.stack([one.standard_error for one in fixed]).square().mean().sqrt()
    assert 0.7 < (mean / spread).item() < 1.5
    assert all(math.isfinite(one.standard_error.item()) for one in found)


def _redrawn(times: int) -> list[torch.Tensor]:
    """Cohorts of nets of differing quality on the same examples."""
    hard = torch.randn(300, generator=torch.Generator().manual_seed(0))
    made = []
    for seed in range(times):
        generator = torch.Generator().manual_seed(100 + seed)
        noise = torch.rand(6, 1, generator=generator)
        made.append(hard + noise * torch.randn(6, 300, generator=generator) < 0.4)
    return made


def test_nets_without_errors_have_no_kappa() -> None:
    correct = nets(3)
    correct[0] = True
    found = example_agreement(correct)
    assert found.flags["no errors"].tolist() == [True, False, False]
    assert torch.isfinite(found.kappa[1:]).all()
    assert torch.isnan(example_agreement(torch.ones(2, 5, dtype=torch.bool)).kappa).all()
    assert torch.isnan(example_agreement(nets(2)).standard_error)


def test_orders_against_scipy() -> None:
    times = torch.randint(0, 7, (4, 90), generator=torch.Generator().manual_seed(2)).double()
    times[times == 6] = math.inf
    ranked = times.clamp(max=99).numpy()
    found = order_agreement(times)
    for net in range(4):
        expected = [spearmanr(ranked[net], ranked[other]).statistic for other in range(4) if other != net]
        assert abs(found[net].item() - sum(expected) / 3) < 1e-12
    across = order_agreement(times[:1], times[1:])
    assert abs(across.item() - found[0].item()) < 1e-12


def test_shared_errors_by_counting() -> None:
    correct, reference = nets(4), nets(1, seed=0)[0]
    found = shared_errors(correct, reference)
    members = [i for i in range(400) if reference[i] and not correct[:, i].any()]
    assert found.members.nonzero().flatten().tolist() == members
    interval = binomtest(len(members), 400).proportion_ci(0.95)
    assert abs(found.low.item() - interval.low) < 1e-9
    assert abs(found.high.item() - interval.high) < 1e-9
    for net in range(4):
        rest = [other for other in range(4) if other != net]
        alone = [i for i in range(400) if correct[net, i] and not correct[rest, i].any()]
        assert abs(found.baseline[net].item() - len(alone) / 400) < 1e-15
        matched = [i for i in range(400) if reference[i] and not correct[rest, i].any()]
        assert abs(found.matched[net].item() - len(matched) / 400) < 1e-15


def test_a_further_net_as_reference_gives_the_baseline() -> None:
    """Over many cohorts the matched share with a net's like as the reference is the baseline."""
    gaps = []
    for seed in range(200):
        correct = nets(6, seed=seed)
        found = shared_errors(correct[:5], correct[5])
        gaps.append((found.matched.mean() - found.baseline.mean()).item())
    gap = torch.tensor(gaps)
    assert abs(gap.mean()) < 3 * gap.std() / math.sqrt(200)


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="nets must be 2 or more"):
        example_agreement(nets(1))
    with pytest.raises(ShapeError, match="correct must be bool"):
        example_agreement(torch.ones(2, 3))
    with pytest.raises(ShapeError, match="2 nets or more"):
        order_agreement(torch.ones(1, 3))
    with pytest.raises(ShapeError, match="reference must be bool"):
        shared_errors(nets(2), torch.ones(400))
    assert shared_errors(torch.ones(2, 5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)).flags["no members"].all()
