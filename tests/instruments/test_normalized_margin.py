"""Normalized margins in closed form and under rescaling, and the multi-class machine against scikit-learn."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC
from small_nets import case

from refute import architectures
from refute.architectures import Weights
from refute.errors import ShapeError
from refute.instruments.hessian import cast
from refute.instruments.max_margin import max_margin
from refute.instruments.normalized_margin import class_differences, normalized_margin

HOMOGENEOUS = case(bias=False)
ARGUMENTS = (HOMOGENEOUS.inputs, HOMOGENEOUS.labels)


def by_hand(replica: int) -> tuple[float, float]:
    """Normalized and smoothed margin of one replica, written out."""
    outputs = HOMOGENEOUS.network.evaluate(HOMOGENEOUS.weights, HOMOGENEOUS.inputs)[replica]
    margins, losses = [], 0.0
    for row, label in zip(outputs.tolist(), HOMOGENEOUS.labels.tolist(), strict=True):
        others = [value for number, value in enumerate(row) if number != label]
        margins.append(row[label] - max(others))
        losses += math.log1p(sum(math.exp(value - row[label]) for value in others))
    size = HOMOGENEOUS.weights.flat[replica].norm().item() ** 3
    return min(margins) / size, -math.log(math.expm1(losses)) / size


def test_against_the_definition() -> None:
    found = normalized_margin(HOMOGENEOUS.network, HOMOGENEOUS.weights, *ARGUMENTS)
    for replica in range(3):
        normalized, smoothed = by_hand(replica)
        assert abs(found.normalized[replica].item() - normalized) < 1e-14
        assert abs(found.smoothed[replica].item() - smoothed) < 1e-14
    assert found.order.tolist() == [3.0] * 3
    assert not found.flags["not homogeneous"].any()
    assert torch.equal(found.flags["errors"], found.smallest <= 0)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.05, 20.0))
def test_scale_and_balance_of_layers(factor: float) -> None:
    """Scaling all weights leaves the margin; exchanging scale between two layers changes |theta| only."""
    network, weights = HOMOGENEOUS.network, HOMOGENEOUS.weights
    found = normalized_margin(network, weights, *ARGUMENTS)
    scaled = normalized_margin(network, Weights(weights.slots, factor * weights.flat, {}), *ARGUMENTS)
    torch.testing.assert_close(scaled.normalized, found.normalized, rtol=1e-10, atol=0)
    moved = weights.clone()
    moved["dense1.weight"].mul_(factor)
    moved["output.weight"].div_(factor)
    balanced = normalized_margin(network, moved, *ARGUMENTS)
    torch.testing.assert_close(balanced.smallest, found.smallest, rtol=1e-9, atol=1e-12)
    assert (scaled.smoothed <= scaled.normalized + 1e-12).all()


def test_the_smoothed_margin_comes_to_the_normalized_one_and_never_overflows() -> None:
    network = architectures.build("linear", (4,), 3, depth=3, width=6)
    weights = cast(network.initialize([0, 1]), torch.float64)
    large = Weights(weights.slots, 100 * weights.flat, {})
    inputs = HOMOGENEOUS.inputs.expand(2, -1, -1)
    labels = network.evaluate(weights, inputs).argmax(dim=-1)
    found = normalized_margin(network, large, inputs, labels)
    assert (found.smallest > 100).all()
    assert not any(raised.any() for raised in found.flags.values())
    torch.testing.assert_close(found.smoothed, found.normalized, rtol=1e-2, atol=0)
    wrong = normalized_margin(network, large, inputs, (labels + 1) % 3)
    assert wrong.flags["errors"].all()
    assert torch.isfinite(wrong.smoothed).all()


def test_one_output_is_the_logistic_case_of_two() -> None:
    single = architectures.build("mlp", (4,), 1, depth=1, width=6, bias=False)
    weights = cast(single.initialize([0, 1]), torch.float64)
    labels = (HOMOGENEOUS.labels > 0).long()
    found = normalized_margin(single, weights, HOMOGENEOUS.inputs, labels)
    outputs = single.evaluate(weights, HOMOGENEOUS.inputs).squeeze(2)
    margins = torch.where(labels > 0, outputs, -outputs)
    size = weights.flat.norm(dim=1).square()
    torch.testing.assert_close(found.normalized, margins.amin(dim=1) / size)
    total = torch.log1p(torch.exp(-margins)).sum(dim=1)
    torch.testing.assert_close(found.smoothed, -torch.log(torch.expm1(total)) / size)


def test_biases_and_normalization_raise_the_flag() -> None:
    for made in (case(), case(normalization="batch")):
        found = normalized_margin(made.network, made.weights, made.inputs, made.labels)
        assert found.flags["not homogeneous"].all()


def test_a_module_alone() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 3, bias=False))
    found = normalized_margin(module, None, ARGUMENTS[0].float(), ARGUMENTS[1])
    outputs = module.double()(ARGUMENTS[0].float().double())
    at_label = outputs.gather(1, ARGUMENTS[1].unsqueeze(1))
    gap = (at_label - outputs.scatter(1, ARGUMENTS[1].unsqueeze(1), -torch.inf)).amin()
    size = sum(float(p.detach().square().sum()) for p in module.parameters())
    assert abs(found.normalized.item() - gap.item() / size) < 1e-14
    assert found.order.item() == 2


def test_multi_class_machine_against_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 4 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    inputs = centres[labels] + 0.4 * torch.randn(60, 4, generator=generator, dtype=torch.float64)
    found = max_margin(class_differences(inputs[None], labels, classes=3))
    w = found.direction.view(3, 4)
    machine = LinearSVC(
        multi_class="crammer_singer", C=1e6, fit_intercept=False, tol=1e-10, max_iter=1_000_000, random_state=0
    ).fit(inputs.numpy(), labels.numpy())
    reference = torch.from_numpy(machine.coef_)
    reference = reference - reference.mean(dim=0)  # a common vector changes no difference
    torch.testing.assert_close(w, reference, rtol=0, atol=2e-4 * float(reference.abs().max()))
    scores = inputs @ w.T
    gaps = scores.gather(1, labels[:, None]) - scores.scatter(1, labels[:, None], -torch.inf).amax(dim=1, keepdim=True)
    assert abs(gaps.min().item() - 1) < 1e-6


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="expected inputs"):
        class_differences(torch.ones(3, 4), torch.ones(3).long(), classes=3)
    with pytest.raises(ShapeError, match="whole numbers of 0 to 1"):
        class_differences(torch.ones(1, 3, 4), torch.tensor([0, 1, 2]), classes=2)
    with pytest.raises(ShapeError, match="inputs must be finite"):
        normalized_margin(HOMOGENEOUS.network, HOMOGENEOUS.weights, ARGUMENTS[0] / 0, ARGUMENTS[1])
