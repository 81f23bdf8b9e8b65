"""Trace estimators against dense matrices."""

import pytest
import torch
from small_nets import case, dense_hessians

from refute.errors import UsageError
from refute.instruments.trace import trace

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)
DENSE = dense_hessians(MADE)
TRACE = torch.diagonal(DENSE, dim1=1, dim2=2).sum(dim=1)


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_hutchinson_lies_within_its_standard_error(kind: str) -> None:
    found = trace(*ARGUMENTS, seeds=MADE.seeds, products=1000, kind=kind)  # type: ignore[arg-type]
    assert bool(((found.value - TRACE).abs() < 4 * found.standard_error).all())
    frobenius = DENSE.flatten(1).norm(dim=1)
    assert bool(((found.frobenius - frobenius).abs() < 4 * found.frobenius_error).all())


def test_the_standard_error_of_rademacher_probes_is_the_theoretical_one() -> None:
    """Var[v^T A v] = 2 (|A|_F^2 - sum_i A_ii^2) for Rademacher entries (Avron & Toledo 2011, lemma 9)."""
    found = trace(*ARGUMENTS, seeds=MADE.seeds, products=2000)
    diagonal = torch.diagonal(DENSE, dim1=1, dim2=2)
    variance = 2 * (DENSE.square().sum(dim=(1, 2)) - diagonal.square().sum(dim=1))
    assert torch.allclose(found.standard_error, (variance / 2000).sqrt(), rtol=0.1)


def test_hutch_plus_plus_is_exact_once_its_range_is_everything() -> None:
    parameters = DENSE.shape[1]
    found = trace(*ARGUMENTS, seeds=MADE.seeds, products=3 * parameters, method="hutch++")
    assert torch.allclose(found.value, TRACE, rtol=1e-10)


def test_hutch_plus_plus_lies_within_its_standard_error_and_beats_hutchinson() -> None:
    plain = trace(*ARGUMENTS, seeds=MADE.seeds, products=120)
    found = trace(*ARGUMENTS, seeds=MADE.seeds, products=120, method="hutch++")
    assert bool(((found.value - TRACE).abs() < 5 * found.standard_error).all())
    assert bool((found.standard_error < 0.5 * plain.standard_error).all())


def test_flags_and_refusals() -> None:
    once = trace(*ARGUMENTS, seeds=MADE.seeds, products=1)
    assert once.flags["one probe"].all()
    assert trace(*ARGUMENTS, seeds=MADE.seeds, products=2, matrix="residual").flags["uncertain"].any()
    with pytest.raises(UsageError, match=r"products must be at least 3 for hutch[+][+], 2 came"):
        trace(*ARGUMENTS, seeds=MADE.seeds, products=2, method="hutch++")
    with pytest.raises(UsageError, match=r'method must be "hutchinson" or "hutch[+][+]"'):
        trace(*ARGUMENTS, seeds=MADE.seeds, method="xtrace")  # type: ignore[arg-type]


def test_packing_changes_nothing() -> None:
    for method in ("hutchinson", "hutch++"):
        found = trace(*ARGUMENTS, seeds=MADE.seeds, method=method)  # type: ignore[arg-type]
        alone = trace(
            MADE.network,
            MADE.weights.take(slice(1, 2)),
            MADE.inputs,
            MADE.labels,
            seeds=MADE.seeds[1:2],
            method=method,  # type: ignore[arg-type]
        )
        assert torch.allclose(found.value[1:2], alone.value, rtol=1e-11)
