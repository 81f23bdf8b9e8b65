"""Stochastic Lanczos quadrature against dense spectra."""

import pytest
import torch
from small_nets import case, dense_hessians

from refute.errors import UsageError
from refute.instruments.spectrum import Spectrum, spectral_density

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)
EXACT = torch.linalg.eigvalsh(dense_hessians(MADE))
PARAMETERS = EXACT.shape[1]


def test_a_probe_sees_its_own_quadratic_forms_exactly() -> None:
    """Every monomial below degree 2 m is integrated exactly for the probe; all nodes are then eigenvalues."""
    found = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=1, steps=PARAMETERS)
    short = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=1, steps=4)
    for order in range(8):
        assert torch.allclose(short.moment(order).value, found.moment(order).value, rtol=1e-9)
    assert torch.allclose(found.nodes[:, 0], EXACT, atol=1e-10)
    assert found.flags["one probe"].all()


def test_with_all_eigenvalues_but_one_projected_out_everything_is_exact() -> None:
    found = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=4, steps=20, largest=36, smallest=36, tolerance=1e-10)
    for order in (1, 2, 4):
        exact = (EXACT**order).sum(dim=1)
        assert torch.allclose(found.moment(order).value, exact, rtol=1e-9)
    kurtosis = PARAMETERS * (EXACT**4).sum(dim=1) / (EXACT**2).sum(dim=1) ** 2
    assert torch.allclose(found.kurtosis().value, kurtosis, rtol=1e-9)
    share = EXACT.abs().sort(dim=1, descending=True).values[:, :3].sum(dim=1) / EXACT.abs().sum(dim=1)
    assert torch.allclose(found.top_share(3).value, share, rtol=1e-9)
    top = EXACT[:, -1] / ((EXACT**2).sum(dim=1) / PARAMETERS).sqrt()
    assert torch.allclose(found.relative_top().value, top, rtol=1e-9)
    outliers = (EXACT.abs() > 0.05 * EXACT[:, -1:]).sum(dim=1).double()
    assert torch.allclose(found.outliers().value, outliers, atol=1e-9)


def test_projecting_out_the_large_eigenvalues_makes_high_moments_precise() -> None:
    plain = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=10, steps=20)
    found = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=10, steps=20, largest=12, smallest=8)
    exact = PARAMETERS * (EXACT**4).sum(dim=1) / (EXACT**2).sum(dim=1) ** 2
    assert bool((found.kurtosis().standard_error < 0.3 * plain.kurtosis().standard_error).all())
    assert torch.allclose(found.kurtosis().value, exact, rtol=0.05)


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_moments_lie_within_their_standard_errors(kind: str) -> None:
    found = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=400, steps=6, kind=kind)  # type: ignore[arg-type]
    for order in (1, 2, 3, 4):
        estimate = found.moment(order)
        assert bool(((estimate.value - (EXACT**order).sum(dim=1)).abs() < 4 * estimate.standard_error).all())


def test_the_smoothed_density_integrates_to_one_and_peaks_at_the_eigenvalues() -> None:
    found = Spectrum(
        torch.tensor([[4.0]]).double(),
        torch.tensor([[[0.0, 2.0]]]).double(),
        torch.tensor([[[0.75, 0.25]]]).double(),
        5,
        {},
    )
    grid = torch.linspace(-2, 6, 4001, dtype=torch.float64)
    density = found.density(grid, width=0.1)
    assert torch.trapezoid(density[0], grid).item() == pytest.approx(1, abs=1e-9)
    peak = 1 / (0.1 * (2 * torch.pi) ** 0.5)
    for place, mass in ((0.0, 0.6), (2.0, 0.2), (4.0, 0.2)):
        assert density[0, (grid - place).abs().argmin()].item() == pytest.approx(mass * peak, rel=1e-6)


def test_packing_changes_nothing() -> None:
    found = spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=2, steps=10, largest=2)
    alone = spectral_density(
        MADE.network,
        MADE.weights.take(slice(1, 2)),
        MADE.inputs,
        MADE.labels,
        seeds=MADE.seeds[1:2],
        probes=2,
        steps=10,
        largest=2,
    )
    assert torch.allclose(found.moment(2).value[1:2], alone.moment(2).value, rtol=1e-10)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="probes and steps must be at least 1"):
        spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=0)
    with pytest.raises(UsageError, match="take `eigenvalues`"):
        spectral_density(*ARGUMENTS, seeds=MADE.seeds, largest=PARAMETERS)
    with pytest.raises(UsageError, match='kind must be "gaussian" or "rademacher"'):
        spectral_density(*ARGUMENTS, seeds=MADE.seeds, kind="uniform")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="measure the density with largest=3 and smallest=3"):
        spectral_density(*ARGUMENTS, seeds=MADE.seeds, probes=1, steps=3).top_share(3)
