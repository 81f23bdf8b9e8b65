"""PAC-Bayes noise against a case that has a closed form."""

import math

import pytest
import torch
from scipy.stats import norm
from small_nets import case

from refute import architectures
from refute.errors import UsageError
from refute.instruments.hessian import cast
from refute.instruments.pac_bayes import pac_bayes_sigma

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)


def test_one_weight_with_noise_has_an_accuracy_in_closed_form() -> None:
    """One weight w > 0 and the sign of w x: right with chance Phi(w / sigma), so sigma* = w / Phi^-1(1 - drop)."""
    network = architectures.build("mlp", (1,), 1, depth=0, bias=False)
    weights = cast(network.initialize([0, 1]), torch.float64)
    weights.flat.copy_(torch.tensor([[0.5], [1.0]]))
    inputs, labels = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([1, 0])
    found = pac_bayes_sigma(
        network, weights, inputs, labels, seeds=[0, 1], draws=1000, limit=8.0, tolerance=0.0, loss="logistic"
    )
    expected = torch.tensor([0.5, 1.0]).double() / norm.ppf(0.9)
    assert torch.allclose(found.sigma, expected, rtol=0.15)
    assert torch.allclose(found.value, found.sigma**-2)
    aware = pac_bayes_sigma(
        network, weights, inputs, labels, seeds=[0, 1], draws=1000, tolerance=0.0, magnitude_aware=True, loss="logistic"
    )
    assert torch.allclose(aware.sigma, torch.full((2,), 1 / norm.ppf(0.9)).double(), rtol=0.15)


def test_accuracy_at_sigma_is_at_the_bound_and_packing_changes_nothing() -> None:
    labels = MADE.network.evaluate(MADE.weights, MADE.inputs)[1].argmax(dim=1)
    found = pac_bayes_sigma(MADE.network, MADE.weights, MADE.inputs, labels, seeds=MADE.seeds)
    alone = pac_bayes_sigma(MADE.network, MADE.weights.take(slice(1, 2)), MADE.inputs, labels, seeds=MADE.seeds[1:2])
    assert alone.sigma.item() == pytest.approx(found.sigma[1].item())
    assert alone.accuracy.item() == 1
    assert 0.9 <= alone.noisy.item() <= 1


def test_flags() -> None:
    labels = MADE.network.evaluate(MADE.weights, MADE.inputs)[0].argmax(dim=1)
    arguments = (MADE.network, MADE.weights.take(slice(0, 1)), MADE.inputs, labels)
    assert pac_bayes_sigma(*arguments, seeds=[0], limit=1e-6).flags["at the limit"].all()
    assert pac_bayes_sigma(*arguments, seeds=[0], limit=1e6, bisections=3).flags["at zero"].all()
    chance = pac_bayes_sigma(
        MADE.network, MADE.weights, MADE.inputs, torch.zeros(20, dtype=torch.int64), seeds=[0, 1, 2]
    )
    assert torch.equal(chance.flags["at chance"], chance.accuracy <= 0.1 + 1 / 3)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"drop must be in \(0, 1\)"):
        pac_bayes_sigma(*ARGUMENTS, seeds=MADE.seeds, drop=math.inf)
    with pytest.raises(UsageError, match="needs class labels"):
        pac_bayes_sigma(
            MADE.network, MADE.weights, MADE.inputs, torch.zeros(20, 3).double(), seeds=MADE.seeds, loss="squared"
        )
