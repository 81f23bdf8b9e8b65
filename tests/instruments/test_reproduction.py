"""Reproduction: clean identities and constants, mixtures in closed form, silent outputs, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refute.errors import ShapeError
from refute.instruments.reproduction import correlation, reproduction

INPUTS, SEEN = torch.rand(2, 40, 25).double(), torch.rand(2, 25).double()


def test_an_identity_and_a_constant() -> None:
    identity = reproduction(INPUTS, INPUTS, SEEN)
    constant = reproduction(SEEN.unsqueeze(1).expand_as(INPUTS), INPUTS, SEEN)
    assert identity.bias.tolist() == [1.0, 1.0]
    assert constant.bias.tolist() == [-1.0, -1.0]
    assert identity.neither.tolist() == constant.neither.tolist() == [0.0, 0.0]
    assert torch.allclose(identity.identity, torch.ones(2).double())
    assert torch.allclose(constant.constant, torch.ones(2).double())
    assert torch.allclose(identity.constant, identity.baseline)


@given(st.floats(0.0, 1.0))
def test_a_mixture_in_closed_form(share: float) -> None:
    mixed = share * INPUTS + (1 - share) * SEEN.unsqueeze(1)
    found = reproduction(mixed, INPUTS, SEEN)
    expected = (share**2 - (1 - share) ** 2) / (share**2 + (1 - share) ** 2)
    assert torch.allclose(found.bias, torch.full((2,), expected).double())
    assert torch.allclose(found.neither, torch.full((2,), min(share, 1 - share) ** 2).double())


def test_correlations_are_pearsons_and_silent_outputs_count_as_none() -> None:
    assert torch.allclose(
        correlation(INPUTS[0, 0], SEEN[0]), torch.corrcoef(torch.stack([INPUTS[0, 0], SEEN[0]]))[0, 1]
    )
    found = reproduction(torch.zeros_like(INPUTS), INPUTS, SEEN)
    assert found.identity.tolist() == found.constant.tolist() == [0.0, 0.0]
    assert found.flags["silent outputs"].all()
    assert not reproduction(INPUTS, INPUTS, SEEN).flags["silent outputs"].any()


def test_inputs_next_to_the_reference_are_left_out() -> None:
    near = INPUTS.clone()
    near[:, 0] = SEEN + 1e-6
    outputs = near.clone()
    outputs[:, 0] = -5.0
    assert reproduction(outputs, near, SEEN).bias.tolist() == [1.0, 1.0]


def test_packing_changes_nothing() -> None:
    outputs = INPUTS.flip(1)
    both = reproduction(outputs, INPUTS, SEEN)
    alone = reproduction(outputs[1:], INPUTS[1:], SEEN[1:])
    assert torch.equal(both.bias[1:], alone.bias)
    assert torch.equal(both.each_constant[1:], alone.each_constant)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="reference"):
        reproduction(INPUTS, INPUTS, SEEN[:, :3])
