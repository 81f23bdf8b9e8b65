"""Spans, matches and identity errors against projectors in closed form and numpy's correlations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from refute.architectures import Network, Weights
from refute.architectures.layers import Activation, Dense
from refute.errors import ShapeError
from refute.instruments.interface import trusted
from refute.instruments.memorization import Memorization, memorization

FEATURES, EXAMPLES = 12, 4


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(matrices: Tensor, inputs: Tensor, examples: Tensor) -> Memorization:
    size = matrices.shape[-1]
    network = Network("linear", (Dense("output", size, size, bias=False),), (size,), size)
    return memorization(network, Weights(network.slots, matrices.flatten(1)), inputs, examples)


def projector(examples: Tensor) -> Tensor:
    return torch.linalg.pinv(examples) @ examples


def test_projector_identity_and_a_random_map() -> None:
    examples, inputs = drawn(EXAMPLES, FEATURES, seed=1), drawn(500, FEATURES, seed=2)
    maps = torch.stack([projector(examples), torch.eye(FEATURES).double(), drawn(FEATURES, FEATURES, seed=3)])
    found = measured(maps, inputs, examples)
    outside = (inputs - inputs @ maps[0]).norm(dim=1) / inputs.norm(dim=1)
    assert found.span_residual[0].max() < 1e-12
    torch.testing.assert_close(found.span_residual[1], outside)
    torch.testing.assert_close(found.identity_error[0], outside.square())
    torch.testing.assert_close(found.projector_error[1], outside.square())
    assert found.identity_error[1].max() == 0
    assert found.projector_gap[0].max() < 1e-12
    assert found.training_error[:2].max() < 1e-24
    assert found.rank.tolist() == [EXAMPLES] * 3
    # a Gaussian direction leaves the share 1 - n/d of its square outside
    assert found.span_residual[1].square().mean().item() == pytest.approx(found.span_reference[1].item() ** 2, abs=0.02)
    assert trusted(found).all()


def test_dependent_examples_count_once() -> None:
    examples = drawn(EXAMPLES, FEATURES, seed=1)
    doubled = torch.cat([examples, 2 * examples[:2]])
    maps, inputs = drawn(1, FEATURES, FEATURES, seed=3), drawn(5, FEATURES, seed=2)
    assert measured(maps, inputs, doubled).rank.tolist() == [EXAMPLES]
    torch.testing.assert_close(
        measured(maps, inputs, doubled).span_residual, measured(maps, inputs, examples).span_residual
    )


def test_correlations_are_numpys() -> None:
    examples, inputs = drawn(3, EXAMPLES, FEATURES, seed=1), drawn(5, FEATURES, seed=2)
    maps = drawn(3, FEATURES, FEATURES, seed=3)
    found = measured(maps, inputs, examples)
    for replica in range(3):
        outputs = (inputs @ maps[replica].T).numpy()
        for row, output in enumerate(outputs):
            expected = sorted(np.corrcoef(output, example)[0, 1] for example in examples[replica].numpy())
            assert found.correlation[replica, row].item() == pytest.approx(expected[-1], abs=1e-12)
            assert found.second[replica, row].item() == pytest.approx(expected[-2], abs=1e-12)


def test_single_examples_need_a_match_and_a_margin() -> None:
    base, other = drawn(FEATURES, seed=1), drawn(FEATURES, seed=2)
    examples = torch.stack([base, base + 0.01 * other, other])
    constant = torch.stack([torch.outer(x, torch.ones(FEATURES).double()) for x in (base, other, base + other)])
    inputs = torch.ones(2, FEATURES).double()
    found = measured(constant, inputs, examples)
    assert found.single_example().tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert found.nearest[1].tolist() == [2, 2]
    assert measured(constant[:1], inputs, examples[:1]).single_example().all()


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_scales_change_no_span_and_no_match(scale: float, seed: int) -> None:
    maps, inputs = drawn(1, FEATURES, FEATURES, seed=seed), drawn(5, FEATURES, seed=seed + 1)
    examples = drawn(EXAMPLES, FEATURES, seed=seed + 2)
    plain, scaled = measured(maps, inputs, examples), measured(scale * maps, inputs, 3 * examples)
    torch.testing.assert_close(plain.span_residual, scaled.span_residual, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(plain.correlation, scaled.correlation, rtol=1e-9, atol=1e-9)


def test_the_nonlinear_span_of_a_one_layer_net() -> None:
    """sigmoid(W x) with W = logit(X)^T (X^T)^+ reproduces X, and its outputs lie in the span of logit(X) alone."""
    examples = 0.1 + 0.8 * torch.rand(EXAMPLES, FEATURES, generator=torch.Generator().manual_seed(1)).double()
    layers = (Dense("output", FEATURES, FEATURES, bias=False), Activation("sigmoid"))
    network = Network("one-layer", layers, (FEATURES,), FEATURES)
    weights = Weights(network.slots, (examples.logit().T @ torch.linalg.pinv(examples.T)).reshape(1, -1))
    inputs = torch.rand(20, FEATURES, generator=torch.Generator().manual_seed(2)).double()
    bent = memorization(network, weights, inputs, examples, inverse=torch.logit)
    assert bent.training_error.max() < 1e-20
    assert bent.span_residual.max() < 1e-10
    assert memorization(network, weights, inputs, examples).span_residual.mean() > 0.01


def test_flags_say_when_a_number_means_nothing() -> None:
    examples, inputs = drawn(FEATURES + 3, FEATURES, seed=1), drawn(3, FEATURES, seed=2)
    maps = torch.stack([torch.eye(FEATURES).double(), torch.zeros(FEATURES, FEATURES).double()])
    found = measured(maps, inputs, examples)
    assert found.flags["span is everything"].tolist() == [True, True]
    assert found.flags["zero outputs"].tolist() == [False, True]
    assert found.span_residual[1].tolist() == [1.0] * 3
    assert found.correlation[1].tolist() == [0.0] * 3
    linear = nn.Linear(FEATURES, FEATURES, bias=False)
    outside = memorization(linear, None, inputs.float(), examples[:2].sigmoid().float(), inverse=torch.logit)
    assert outside.flags["outside the range of the output function"].item()


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ShapeError, match="as many outputs as inputs"):
        memorization(nn.Linear(4, 3), None, torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ShapeError, match="examples must be"):
        memorization(nn.Linear(4, 4), None, torch.ones(1, 4), torch.ones(1, 3))
