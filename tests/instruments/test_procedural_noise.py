"""Noise against scipy's convolution, closed-form spectra, and its own symmetries."""

import math

import pytest
import torch
from scipy import signal

from refute.errors import ShapeError, UsageError
from refute.instruments import procedural_noise
from refute.instruments.procedural_noise import (
    Gabor,
    gabor_noise,
    gabor_patterns,
    perlin_noise,
    permuted_patterns,
    phase_randomized,
    signs,
    white_patterns,
)
from refute.randomness import stream


def test_gabor_noise_is_the_convolution_of_scipy() -> None:
    gabor = Gabor(0.7, 6.0, 2.5, sides=3, aspect=0.8)
    side = 20
    ours = gabor_noise(side, gabor, stream(0, "x"), density=0.1)
    generator = stream(0, "x")
    where = torch.rand(40, 40, generator=generator, dtype=torch.float64) < 0.1
    weight = 2 * torch.rand(40, 40, generator=generator, dtype=torch.float64) - 1
    whole = signal.convolve2d((where * weight).numpy(), gabor.kernel().numpy(), mode="same")
    assert (ours - torch.from_numpy(whole[10:30, 10:30])).abs().max() < 1e-12


def test_the_kernel_is_the_formula_and_symmetric() -> None:
    gabor = Gabor(0.4, 5.0, 2.0)
    kernel = gabor.kernel()
    reach = kernel.shape[0] // 2
    for v, u in ((0, 0), (2, -3), (-1, 4)):
        along, across = u * math.cos(0.4) + v * math.sin(0.4), v * math.cos(0.4) - u * math.sin(0.4)
        expected = math.exp(-(along**2 + across**2) / 8) * math.cos(2 * math.pi * along / 5)
        assert kernel[reach + v, reach + u].item() == pytest.approx(expected)
    assert torch.allclose(kernel, kernel.flip(0, 1))
    assert torch.allclose(Gabor(0.0, 5.0, 2.0).kernel().T, Gabor(math.pi / 2, 5.0, 2.0).kernel(), atol=1e-12)
    many = Gabor(0.3, 5.0, 2.0, sides=12).kernel()
    assert (many - many.rot90()).abs().max() < 1e-10  # 12 sides contain every quarter turn


def test_gabor_noise_has_its_wavelength_and_orientation() -> None:
    spectrum = torch.zeros(64, 64, dtype=torch.float64)
    for draw in range(20):
        spectrum += torch.fft.fft2(gabor_noise(64, Gabor(0.0, 8.0, 8.0), stream(draw, "s"))).abs().square()
    row, column = divmod(int(spectrum.argmax()), 64)
    assert (row, min(column, 64 - column)) == (0, 8)  # 64 / 8 waves to the right, none down


def test_perlin_noise_is_zero_on_its_grid_and_bounded_and_smooth() -> None:
    field = perlin_noise(33, 8.0, stream(0, "p"))
    assert field[::8, ::8].abs().max() < 1e-12
    assert field.abs().max() <= math.sqrt(0.5) + 1e-9
    assert field.std() > 0.1
    fine = perlin_noise(321, 80.0, stream(0, "p"))
    assert fine.diff(dim=0).abs().max() < 0.05
    assert torch.allclose(fine[::10, ::10], field, atol=1e-12)  # the same corners, sampled finer
    waves = perlin_noise(33, 8.0, stream(0, "p"), sine=3.0)
    assert torch.allclose(waves, torch.sin(6 * math.pi * field))
    assert not torch.allclose(perlin_noise(33, 8.0, stream(0, "p"), octaves=2), field)


def test_patterns_are_drawn_as_specified() -> None:
    side = 28
    found = gabor_patterns(side, 60, seed=0)
    assert found.signs.shape == (60, side, side)
    assert set(found.signs.unique().tolist()) == {-1.0, 1.0}
    assert found.signs.mean(dim=(1, 2)).abs().max() <= 0.1 + 1e-6
    assert 3 <= found.wavelength.min() <= found.wavelength.max() <= side / 2
    assert side / 14 <= found.deviation.min() <= found.deviation.max() <= side / 6
    assert set(found.sides.tolist()) == {1, 8}
    assert found.rejected > 0
    again = gabor_patterns(side, 5, seed=0)
    assert torch.equal(again.signs, found.signs[:5])
    assert not torch.equal(gabor_patterns(side, 5, seed=1).signs, again.signs)


def test_the_mean_frequency_of_thresholded_noise_is_that_of_the_specification() -> None:
    """At 28 pixels and wavelength 8: nominal 0.125, 0.196 cycles per pixel after the sign."""
    found = gabor_patterns(28, 80, seed=3, wavelengths=(8.0, 8.0))
    places = torch.fft.fftfreq(28)
    radius = (places.unsqueeze(0).square() + places.unsqueeze(1).square()).sqrt()
    power = torch.fft.fft2(found.signs - found.signs.mean(dim=(1, 2), keepdim=True)).abs().square()
    mean = ((power * radius).sum(dim=(1, 2)) / power.sum(dim=(1, 2))).mean().item()
    assert 0.15 < mean < 0.22


def test_controls_keep_what_they_should() -> None:
    found = gabor_patterns(16, 6, seed=0)
    mixed = permuted_patterns(found.signs, seed=1)
    assert torch.equal(mixed.flatten(1).sum(dim=1), found.signs.flatten(1).sum(dim=1))
    assert not torch.equal(mixed, found.signs)
    surrogate = phase_randomized(found.fields.double(), seed=1)
    assert torch.allclose(torch.fft.fft2(surrogate).abs(), torch.fft.fft2(found.fields.double()).abs(), atol=1e-9)
    assert (surrogate - found.fields).abs().max() > 0.1
    white = white_patterns(16, 200, seed=0)
    assert set(white.unique().tolist()) == {-1.0, 1.0}
    assert abs(white.mean().item()) < 0.02
    assert torch.equal(white_patterns(16, 3, seed=0), white[:3])
    assert signs(found.fields).shape == found.fields.shape


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="wavelength, deviation"):
        Gabor(0.0, 0.0, 1.0)
    with pytest.raises(UsageError, match="side must be"):
        gabor_noise(0, Gabor(0.0, 4.0, 1.0), stream(0, "x"))
    with pytest.raises(UsageError, match="half the side"):
        gabor_patterns(4, 1, seed=0)
    monkeypatch.setattr(procedural_noise, "MOST_SHIFT", -1.0)
    with pytest.raises(UsageError, match="shorter wavelengths"):
        gabor_patterns(8, 1, seed=0)
    with pytest.raises(UsageError, match="wavelength above 0"):
        perlin_noise(8, 0.0, stream(0, "x"))
    with pytest.raises(ShapeError, match="patterns must be"):
        permuted_patterns(torch.zeros(3, 3), seed=0)
