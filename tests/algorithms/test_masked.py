"""Sparse training: what is masked stays bit for bit, and the rest is trained as if the network had nothing else."""

import pytest
import torch

from refute.algorithms import SAM, SGD, Adam, Algorithm, Clipped, Layca, Masked, mask_of
from refute.architectures import Weights
from refute.architectures.layers import Slot
from refute.errors import ShapeError, UnknownNameError

SLOTS = (Slot("dense1.weight", (4, 3), "he-normal"), Slot("dense1.bias", (4,), "zeros"))
RATE, DECAY = torch.tensor([[0.1], [0.3]]), torch.tensor([[0.1], [0.2]])
INNERS = [SGD(), SGD(0.9, nesterov=True), Adam(), Adam(decoupled=True), Clipped(SGD(0.9), 0.1), SAM(rho=0.3), Layca()]


def cohort() -> tuple[Weights, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    flat, mask = torch.randn(2, 16, generator=generator), torch.rand(2, 16, generator=generator) < 0.5
    return Weights(SLOTS, flat), mask


def run(algorithm: Algorithm, weights: Weights, columns: slice | torch.Tensor = slice(None)) -> Weights:
    """Three steps on a sum of cosines; `columns` are the places of these weights among the 16."""
    gradient, state = torch.zeros_like(weights.flat), algorithm.start(weights)
    phases = torch.arange(16.0)[columns]

    def again() -> None:
        gradient.copy_(-torch.sin(weights.flat + phases))

    for _ in range(3):
        again()
        algorithm.step(weights, gradient, state, RATE[: len(weights.flat)], DECAY[: len(weights.flat)], again)
    return weights


@pytest.mark.parametrize("inner", INNERS, ids=repr)
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_masked_weights_never_move(inner: Algorithm, kind: torch.dtype) -> None:
    weights, mask = cohort()
    before = weights.flat.clone()
    run(Masked(inner, mask.to(kind)), weights)
    assert torch.equal(weights.flat[~mask], before[~mask])
    if not isinstance(inner, Layca):  # which leaves biases alone
        assert (weights.flat[mask] != before[mask]).all()


@pytest.mark.parametrize("inner", INNERS[:-1], ids=repr)
def test_the_others_are_trained_as_if_nothing_else_were_there(inner: Algorithm) -> None:
    weights, mask = cohort()
    chosen = mask[0].nonzero().squeeze(1)
    small = Weights((Slot("w", (len(chosen),), "zeros"),), weights.flat[:1, chosen].clone())
    run(Masked(inner, mask), weights)
    run(inner, small, chosen)
    torch.testing.assert_close(weights.flat[0, chosen], small.flat[0])


def test_a_mask_from_tensors_by_name() -> None:
    weights, _ = cohort()
    kernel = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    mask = Weights(SLOTS, mask_of(weights, {"dense1.weight": kernel}))
    assert mask.flat.dtype == torch.bool
    assert torch.equal(mask["dense1.weight"], kernel)
    assert mask["dense1.bias"].all()
    alike = Weights(SLOTS, mask_of(weights, {"dense1.weight": kernel[0]}))
    assert torch.equal(alike["dense1.weight"][1], kernel[0])
    with pytest.raises(UnknownNameError, match=r"did you mean 'dense1\.weight'"):
        mask_of(weights, {"dense1.wieght": kernel})
    with pytest.raises(ShapeError, match=r"must be \(2, 4, 3\) or \(4, 3\), \(3,\) came"):
        mask_of(weights, {"dense1.weight": kernel[0, 0]})


def test_masks_that_do_not_fit_are_refused() -> None:
    weights, mask = cohort()
    with pytest.raises(ShapeError, match=r"\(2, 16\), \(1, 16\) came"):
        Masked(SGD(), mask[:1]).start(weights)
    with pytest.raises(ShapeError, match="only zeros and ones"):
        Masked(SGD(), mask.float() / 2).start(weights)
