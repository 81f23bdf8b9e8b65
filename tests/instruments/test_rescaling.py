"""Dinh et al. 2017: W1 -> alpha W1, b1 -> alpha b1, W2 -> W2 / alpha leaves a relu net's function as it was.

What should not see this does not, and what does see it moves as it should (specification of sharp-minima, C3).
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import Case, case, dense_hessians

from refute.architectures import Weights
from refute.instruments.eigenvalues import eigenvalues
from refute.instruments.pac_bayes import pac_bayes_sigma
from refute.instruments.perturbation import average_sharpness, sam_sharpness
from refute.instruments.relative_flatness import fisher_rao_norm, relative_flatness
from refute.instruments.sharpness import epsilon_sharpness
from refute.instruments.trace import trace

FACTORS = st.floats(0.1, 10)
MADE = case(replicas=2, width=4, depth=1)


def rescaled(made: Case, factor: float) -> Case:
    weights = made.weights.clone()
    for name, power in (("dense1.weight", 1), ("dense1.bias", 1), ("output.weight", -1)):
        weights[name].mul_(factor**power)
    return made._replace(weights=weights)


def arguments(made: Case) -> tuple[object, Weights, torch.Tensor, torch.Tensor]:
    return made.network, made.weights, made.inputs, made.labels


def invariants(made: Case) -> dict[str, torch.Tensor]:
    own = arguments(made)
    return {
        "outputs": made.network.evaluate(made.weights, made.inputs).flatten(1),
        "asam": sam_sharpness(*own, rho=0.3, scale="elementwise", shift=0.0).value,  # type: ignore[arg-type]
        "asam ascent": sam_sharpness(*own, rho=0.3, scale="elementwise", shift=0.0, steps=5).value,  # type: ignore[arg-type]
        "adaptive average": average_sharpness(
            *own,
            seeds=made.seeds,
            sigma=0.1,
            scale="elementwise",
            shift=0.0,
            draws=6,  # type: ignore[arg-type]
        ).value,
        "relative flatness": relative_flatness(*own, seeds=made.seeds, probes=3).value,  # type: ignore[arg-type]
        "fisher-rao": fisher_rao_norm(*own).value,  # type: ignore[arg-type]
    }


@settings(max_examples=15, deadline=None)
@given(factor=FACTORS)
def test_what_should_not_see_a_rescaling_does_not(factor: float) -> None:
    before, after = invariants(MADE), invariants(rescaled(MADE, factor))
    for name, value in before.items():
        assert torch.allclose(after[name], value, rtol=1e-7, atol=1e-12), name


@settings(max_examples=10, deadline=None)
@given(factor=FACTORS)
def test_filter_and_layer_scales_do_not_see_a_rescaling_of_whole_layers(factor: float) -> None:
    for scale in ("filter", "layer"):
        before, after = (
            sam_sharpness(*arguments(made), rho=0.05, scale=scale, shift=0.0).value  # type: ignore[arg-type]
            for made in (MADE, rescaled(MADE, factor))
        )
        assert torch.allclose(after, before, rtol=1e-7)


@settings(max_examples=10, deadline=None)
@given(factor=FACTORS)
def test_traces_of_blocks_move_with_the_square_of_the_factor(factor: float) -> None:
    before, after = dense_hessians(MADE), dense_hessians(rescaled(MADE, factor))
    scale = torch.ones(before.shape[1], dtype=torch.float64)
    scale[:20] = 1 / factor  # dense1: 16 weights and 4 biases
    scale[20:32] = factor  # output.weight
    expected = scale.unsqueeze(1) * before * scale.unsqueeze(0)
    assert torch.allclose(after, expected, rtol=1e-8, atol=1e-10)


def test_raw_sharpness_can_be_made_as_large_as_one_likes() -> None:
    """Not invariant: every raw measure grows at least tenfold at alpha = 10, the function being the same."""
    made, moved = arguments(MADE), arguments(rescaled(MADE, 10.0))
    seeds = MADE.seeds
    raw = {
        "largest eigenvalue": [eigenvalues(*a, seeds=seeds).values[:, 0] for a in (made, moved)],  # type: ignore[arg-type]
        "trace": [trace(*a, seeds=seeds, products=200).value for a in (made, moved)],  # type: ignore[arg-type]
        "epsilon": [epsilon_sharpness(*a, seeds=seeds).value for a in (made, moved)],  # type: ignore[arg-type]
    }
    ratios = {name: (after / before).amin().item() for name, (before, after) in raw.items()}
    assert ratios["largest eigenvalue"] > 10
    assert ratios["trace"] > 10
    assert ratios["epsilon"] > 2
    rises = [average_sharpness(*a, seeds=seeds, rho=0.01).value for a in (made, moved)]  # type: ignore[arg-type]
    assert (rises[1] / rises[0]).amin().item() > 10


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_magnitude_aware_noise_hardly_sees_a_rescaling_and_plain_noise_does(factor: float) -> None:
    """The floor of 1e-6 in its variance is all that differs."""
    labels = MADE.network.evaluate(MADE.weights, MADE.inputs)[0].argmax(dim=1)
    made = MADE._replace(labels=labels, weights=MADE.weights.take(slice(0, 1)), seeds=MADE.seeds[:1])
    options = {"seeds": made.seeds, "draws": 50, "bisections": 25, "tolerance": 0.0}
    aware = [
        pac_bayes_sigma(*arguments(m), magnitude_aware=True, **options).sigma  # type: ignore[arg-type]
        for m in (made, rescaled(made, factor))
    ]
    assert torch.allclose(aware[0], aware[1], rtol=0.05)
    plain = [pac_bayes_sigma(*arguments(m), **options).sigma for m in (made, rescaled(made, factor))]  # type: ignore[arg-type]
    assert abs((plain[1] / plain[0]).log().item()) > 0.2
