"""Losses against autograd in float64, at extreme outputs, and against their formulas written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refute import losses
from refute.errors import ShapeError, UnknownNameError
from refute.losses import LOSSES, CrossEntropy, Exponential, Hinge, Logistic, Loss, MeanSquared, Reconstruction, Squared

SEVERAL = ["cross-entropy", "squared", "mean-squared", "hinge", "exponential"]
SINGLE = ["squared", "mean-squared", "hinge", "exponential", "logistic"]
VALUES = ["squared", "mean-squared", "reconstruction"]


def made(classes: int, seed: int, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Outputs (2, 7, classes) and labels (2, 7)."""
    generator = torch.Generator().manual_seed(seed)
    outputs = scale * torch.randn(2, 7, classes, generator=generator, dtype=dtype)
    return outputs, torch.randint(0, max(2, classes), (2, 7), generator=generator)


def agrees_with_autograd(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    leaf = outputs.clone().requires_grad_()
    each = loss.each(leaf, targets)
    assert each.shape == outputs.shape[:2]
    (expected,) = torch.autograd.grad(each.sum(), leaf)
    both = loss.value_and_gradient(outputs, targets)
    torch.testing.assert_close(both.each, each.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(both.gradient, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(loss.gradient(outputs, targets), expected, rtol=1e-10, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SEVERAL), st.integers(2, 6), st.integers(0, 10_000), st.floats(0.01, 20))
def test_several_outputs_agree_with_autograd(name: str, classes: int, seed: int, scale: float) -> None:
    agrees_with_autograd(LOSSES[name], *made(classes, seed, scale))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SINGLE), st.integers(0, 10_000), st.floats(0.01, 20))
def test_a_single_output_agrees_with_autograd(name: str, seed: int, scale: float) -> None:
    agrees_with_autograd(LOSSES[name], *made(1, seed, scale))


@pytest.mark.parametrize("name", VALUES)
def test_values_as_targets_agree_with_autograd(name: str) -> None:
    outputs, _ = made(12, 0)
    targets = torch.randn(2, 7, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    agrees_with_autograd(LOSSES[name], outputs, targets)


def test_formulas_written_out() -> None:
    f, y = [0.5, -1.0, 2.0], 1
    outputs, labels = torch.tensor([[f]], dtype=torch.float64), torch.tensor([[y]])
    one_hot = [0.0, 1.0, 0.0]
    squares = sum((a - b) ** 2 for a, b in zip(f, one_hot, strict=True))
    expected: dict[Loss, float] = {
        CrossEntropy(): -f[y] + math.log(sum(math.exp(v) for v in f)),
        Squared(): squares / 2,
        MeanSquared(): squares / 3,
        Hinge(): max(0.0, 1 + 2.0 - f[y]),
        Exponential(): math.exp(0.5 - f[y]) + math.exp(2.0 - f[y]),
    }
    for loss, value in expected.items():
        assert loss.each(outputs, labels).item() == pytest.approx(value, rel=1e-12)
    for label, sign in ((0, -1), (1, 1)):
        single, labels = torch.tensor([[[0.3]]], dtype=torch.float64), torch.tensor([[label]])
        expected = {
            Squared(): (sign - 0.3) ** 2 / 2,
            MeanSquared(): (sign - 0.3) ** 2,
            Hinge(): max(0.0, 1 - sign * 0.3),
            Exponential(): math.exp(-sign * 0.3),
            Logistic(): math.log(1 + math.exp(-sign * 0.3)),
        }
        for loss, value in expected.items():
            assert loss.each(single, labels).item() == pytest.approx(value, rel=1e-12)
    target = torch.tensor([[[[0.0, 1.0, 0.0]]]], dtype=torch.float64)
    assert Reconstruction().each(outputs, target).item() == pytest.approx(squares / 3, rel=1e-12)


@pytest.mark.parametrize("name", [*SEVERAL, "logistic"])
def test_finite_where_the_loss_is_finite(name: str) -> None:
    loss, classes = LOSSES[name], 1 if name == "logistic" else 3
    size = 1e4 if name != "exponential" else 40.0
    rows = [[size], [-size], [0.0]] if classes == 1 else [[size, 0, -size], [-size, size, 0], [0, 0, 0]]
    outputs = torch.tensor([rows], dtype=torch.float32)
    for label in range(max(2, classes)):
        labels = torch.full((1, 3), label)
        both = loss.value_and_gradient(outputs, labels)
        assert torch.isfinite(both.each).all()
        assert torch.isfinite(both.gradient).all()
        leaf = outputs.clone().requires_grad_()
        (found,) = torch.autograd.grad(loss.each(leaf, labels).sum(), leaf)
        torch.testing.assert_close(both.gradient, found)


def test_small_exponential_losses_keep_their_digits() -> None:
    tiny = Exponential().value_and_gradient(torch.tensor([[[20.0, 0.0]]]), torch.tensor([[0]]))
    assert tiny.each.item() == pytest.approx(math.exp(-20), rel=1e-5, abs=0)
    assert tiny.gradient[0, 0, 0].item() == pytest.approx(-math.exp(-20), rel=1e-5, abs=0)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["cross-entropy", "hinge", "exponential"]), st.integers(2, 6), st.integers(0, 10_000))
def test_adding_a_number_to_all_outputs_changes_nothing(name: str, classes: int, seed: int) -> None:
    outputs, labels = made(classes, seed)
    loss = LOSSES[name]
    torch.testing.assert_close(loss.each(outputs + 5, labels), loss.each(outputs, labels))
    total = loss.gradient(outputs, labels).sum(dim=-1)
    size = loss.gradient(outputs, labels).abs().sum(dim=-1)
    assert (total.abs() <= 1e-12 * (1 + size)).all()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SEVERAL), st.integers(0, 10_000))
def test_the_arguments_are_left_alone_and_types_are_kept(name: str, seed: int) -> None:
    outputs, labels = made(4, seed, dtype=torch.float32)
    before = outputs.clone()
    both = LOSSES[name].value_and_gradient(outputs, labels)
    assert torch.equal(outputs, before)
    assert both.each.dtype == both.gradient.dtype == torch.float32
    assert both.each.shape == (2, 7)
    assert both.gradient.shape == outputs.shape


def test_at_the_kink_the_flat_side_counts() -> None:
    assert Hinge().gradient(torch.tensor([[[1.0]]]), torch.tensor([[1]])).item() == 0
    assert Hinge().gradient(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0]])).tolist() == [[[0, 0]]]


def test_names() -> None:
    assert all(losses.get(name) is LOSSES[name] for name in LOSSES)
    with pytest.raises(UnknownNameError, match="did you mean 'cross-entropy'"):
        losses.get("crossentropy")


def test_targets_that_do_not_fit_are_refused() -> None:
    outputs, labels = made(3, 0)
    with pytest.raises(ShapeError, match=r"class labels \(2, 7\)"):
        CrossEntropy().each(outputs, labels[:, :5])
    with pytest.raises(ShapeError, match="class labels"):
        Hinge().gradient(outputs, labels.double())
    for wrong in (torch.zeros(2, 7, 4), torch.zeros(2, 7)):
        with pytest.raises(ShapeError, match="as many values"):
            Squared().each(outputs, wrong)
    with pytest.raises(ShapeError, match="values, not class labels"):
        Reconstruction().each(outputs, labels)
    with pytest.raises(ShapeError, match="take the cross-entropy"):
        Logistic().each(outputs, labels)
