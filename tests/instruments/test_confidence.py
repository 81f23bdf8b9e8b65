"""Confidence against scipy, and temperature scaling against a scalar minimizer."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import entropy

from refute.errors import ShapeError
from refute.instruments.confidence import confidence, fit_temperature, sorted_shares


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (3, 80), generator=generator)
    outputs = 3 * torch.randn(3, 80, 5, generator=generator, dtype=torch.float64)
    return outputs + 2 * torch.nn.functional.one_hot(labels, 5), labels


def test_every_score_by_definition() -> None:
    outputs, labels = drawn()
    found = confidence(outputs, labels)
    for replica in range(3):
        f, y = outputs[replica].numpy(), labels[replica].numpy()
        p, rows = np.exp(log_softmax(f, axis=1)), np.arange(80)
        others = f.copy()
        others[rows, y] = -np.inf
        two = np.sort(f, axis=1)
        expected = {
            "hardness": 1 - p[rows, y],
            "largest": p.max(axis=1),
            "margin": f[rows, y] - others.max(axis=1),
            "lead": two[:, -1] - two[:, -2],
            "entropy": entropy(p, axis=1),
            "right": f.argmax(axis=1) == y,
        }
        for name, values in expected.items():
            assert np.allclose(getattr(found, name)[replica].numpy(), values, rtol=1e-12, atol=1e-14), name
    assert torch.allclose(sorted_shares(outputs)[..., 0], found.largest)


def test_saturated_outputs_keep_their_order() -> None:
    outputs = torch.tensor([[[40.0, 0.0], [60.0, 0.0], [30.0, 0.0]]])
    found = confidence(outputs, torch.zeros(3, dtype=torch.int64))
    assert found.hardness.argsort(dim=1).tolist() == [[1, 0, 2]]
    assert (found.hardness > 0).all()


def test_temperature_like_a_scalar_minimizer() -> None:
    outputs, labels = drawn()
    found = fit_temperature(outputs * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1), labels)
    for replica, scale in enumerate((0.1, 1.0, 30.0)):
        f, y = scale * outputs[replica].numpy(), labels[replica].numpy()
        best = minimize_scalar(
            lambda log_t, f=f, y=y: -log_softmax(f / np.exp(log_t), axis=1)[np.arange(80), y].mean(),
            bounds=(-6, 6),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert abs(np.log(found.value[replica].item()) - best.x) < 1e-6
        assert abs(found.loss[replica].item() - best.fun) < 1e-12
    assert not found.flags["at the end of the range"].any()
    warm = confidence(outputs, labels, temperature=torch.full((3,), 2.0))
    assert torch.allclose(warm.largest, confidence(outputs / 2, labels).largest)


def test_without_errors_the_temperature_has_no_minimum() -> None:
    outputs = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    assert fit_temperature(outputs, torch.tensor([0, 1])).flags["at the end of the range"].all()
    assert fit_temperature(outputs, torch.tensor([1, 0])).flags["at the end of the range"].all()


def test_refusals_name_what_is_wrong() -> None:
    outputs, labels = drawn()
    with pytest.raises(ShapeError, match="outputs must be"):
        confidence(outputs[..., :1], labels)
    with pytest.raises(ShapeError, match="labels must be whole numbers"):
        confidence(outputs, labels[:, :4])
    with pytest.raises(ShapeError, match="labels must be 0 to 4"):
        fit_temperature(outputs, labels + 1)
