"""CKA against its definition by Gram matrices, and what leaves it as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.errors import ShapeError, UsageError
from refute.instruments.cka import cka_matrix, hsic, linear_cka

GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def by_definition(x: torch.Tensor, y: torch.Tensor, debiased: bool) -> float:
    """HSIC of one replica with every matrix written out, as in the head of cka.py.

    In numpy's longest numbers: with features far from 0, sums of Gram matrices cancel, and doubles lose digits here.
    """
    n = len(x)
    k, other = (part @ part.T for part in (each.numpy().astype(np.longdouble) for each in (x, y)))
    if not debiased:
        h = np.eye(n, dtype=np.longdouble) - 1 / np.longdouble(n)
        return float(np.trace(k @ h @ other @ h) / (n - 1) ** 2)
    k, other = k - np.diag(k.diagonal()), other - np.diag(other.diagonal())
    ones = np.ones(n, dtype=np.longdouble)
    found = np.trace(k @ other)
    found = found + (ones @ k @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    return float((found - 2 * (ones @ k @ other @ ones) / (n - 2)) / (n * (n - 3)))


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize(("one", "two"), [(3, 5), (40, 60), (3, 60)])
def test_hsic_and_cka_by_definition(debiased: bool, one: int, two: int) -> None:
    x = drawn(2, 20, one) + 3
    y = drawn(2, 20, two) + x[:, :, :1]
    found, ratio = hsic(x, y, debiased=debiased), linear_cka(x, y, debiased=debiased, groups=0).value
    for replica in range(2):
        pair = x[replica], y[replica]
        expected = by_definition(*pair, debiased)
        assert abs(found[replica].item() - expected) < 1e-11 * (1 + abs(expected))
        own = [by_definition(part, part, debiased) for part in pair]
        assert abs(ratio[replica].item() - expected / (own[0] * own[1]) ** 0.5) < 1e-12


def test_the_debiased_one_is_the_mean_over_distinct_examples() -> None:
    x = drawn(1, 6, 2)
    total, count = 0.0, 0
    gram = x[0] @ x[0].T
    for i in range(6):
        for j in range(6):
            for q in range(6):
                for r in range(6):
                    if len({i, j, q, r}) == 4:
                        total += float(gram[i, j] * (gram[i, j] + gram[q, r] - 2 * gram[i, q]))
                        count += 1
    assert abs(hsic(x, x).item() - total / count) < 1e-12


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.booleans())
def test_rotations_shifts_and_scales_change_nothing_but_other_maps_do(seed: int, scale: float, debiased: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 30, 4, generator=generator, dtype=torch.float64)
    y = x[:, :, :3] ** 2 + torch.randn(1, 30, 3, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    before = linear_cka(x, y, debiased=debiased, groups=0).value
    after = linear_cka(scale * x @ turn + 5, y, debiased=debiased, groups=0).value
    assert abs(after - before).item() < 1e-9
    stretched = x * torch.tensor([100.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert abs(linear_cka(stretched, x, debiased=False, groups=0).value.item() - 1) > 1e-3


def test_unrelated_wide_representations_look_alike_only_to_the_biased_one() -> None:
    x, y = drawn(20, 30, 200), drawn(20, 30, 200)
    biased, debiased = linear_cka(x, y, debiased=False), linear_cka(x, y)
    assert (biased.value > 0.8).all()
    assert biased.flags["few examples for the features"].all()
    assert debiased.value.abs().mean() < 0.1
    assert not debiased.flags["few examples for the features"].any()


def test_the_jackknife_by_leaving_groups_out() -> None:
    x = drawn(2, 25, 3)
    y = x + drawn(2, 25, 3)
    found = linear_cka(x, y, groups=5)
    place = torch.arange(25) % 5
    left = torch.stack([linear_cka(x[:, place != g], y[:, place != g], groups=0).value for g in range(5)], dim=1)
    expected = (4 / 5 * (left - left.mean(dim=1, keepdim=True)).square().sum(dim=1)).sqrt()
    torch.testing.assert_close(found.standard_error, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("debiased", [False, True])
def test_the_matrix_holds_every_pair(debiased: bool) -> None:
    layers = [drawn(2, 25, size) for size in (3, 4, 5)]
    found = cka_matrix(layers, debiased=debiased)
    for i in range(3):
        for j in range(3):
            pair = linear_cka(layers[i], layers[j], debiased=debiased, groups=0).value
            torch.testing.assert_close(found[:, i, j], pair, rtol=0, atol=1e-12)


def test_packing_changes_nothing() -> None:
    x, y = drawn(3, 25, 4), drawn(3, 25, 6)
    assert torch.allclose(linear_cka(x[1:2], y[1:2]).value, linear_cka(x, y).value[1:2], rtol=0, atol=1e-14)


def test_constant_representations_are_flagged() -> None:
    found = linear_cka(torch.full((1, 10, 3), 0.1, dtype=torch.float32), torch.randn(1, 10, 3))
    assert found.flags["no variance"].all()
    assert torch.isnan(found.value).all()


def test_refusals_name_what_is_wrong() -> None:
    x = drawn(1, 10, 3)
    with pytest.raises(ShapeError, match="first must be of at least 4 examples"):
        linear_cka(x[:, :3], x[:, :3])
    with pytest.raises(ShapeError, match="same replicas and examples"):
        linear_cka(x, x[:, :8])
    with pytest.raises(UsageError, match="groups must be 0, or 2 and more"):
        linear_cka(x, x, groups=1)
    with pytest.raises(UsageError, match="at least one representation"):
        cka_matrix([])
