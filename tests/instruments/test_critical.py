"""Critical step sizes and thresholds of stability."""

import pytest
import torch
from small_nets import case

from refute import architectures
from refute.errors import UsageError
from refute.instruments.critical import critical_sharpness, stability_threshold
from refute.instruments.directional import gradient_curvature
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.objective import objective


def test_on_a_quadratic_loss_it_is_the_curvature_along_the_gradient() -> None:
    network = architectures.build("mlp", (3,), 2, depth=0)
    weights = cast(network.initialize([0, 1, 2]), torch.float64)
    inputs, labels = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1, 0, 1])
    found = critical_sharpness(network, weights, inputs, labels, loss="squared", bisections=30)
    along = gradient_curvature(network, weights, inputs, labels, loss="squared").hessian
    assert torch.allclose(found.value, along, rtol=1e-7)
    assert torch.allclose(found.quadratic, along, rtol=1e-10)
    assert bool(trusted(found).all())


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_the_loss_rises_just_beyond_the_step_and_nowhere_before(loss: str) -> None:
    made = case(activation="tanh")
    arguments = (made.network, made.weights, made.inputs, made.labels)
    found = critical_sharpness(*arguments, loss=loss)
    function = objective(*arguments, loss=loss)
    level, gradient = function.gradient(made.weights.flat)
    for share in (0.02, 0.1, 0.3, 0.6, 0.9, 1 - 2 * found.width):
        assert bool((function.losses(made.weights.flat - share * found.step.unsqueeze(1) * gradient) < level).all())
    assert bool((function.losses(made.weights.flat - found.step.unsqueeze(1) * gradient) > level).all())


def test_a_loss_that_never_rises_is_flagged() -> None:
    """One example: cross-entropy falls for ever along its gradient."""
    network = architectures.build("mlp", (2,), 2, depth=0)
    weights = cast(network.initialize([0]), torch.float64)
    found = critical_sharpness(network, weights, torch.ones(1, 2).double(), torch.tensor([0]), tries=20)
    assert found.flags["never rises"].all()
    assert found.value.item() == 0


def test_thresholds_of_the_papers() -> None:
    assert stability_threshold(0.01) == 200
    assert stability_threshold(0.01, momentum=0.9) == pytest.approx(380)
    assert stability_threshold(0.01, momentum=0.9, nesterov=True) == pytest.approx(380 / 2.8)
    assert stability_threshold(0.01, beta1=0.9) == pytest.approx(3800)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_thresholds_separate_stable_from_unstable_training_on_a_bowl(momentum: float, nesterov: bool) -> None:
    threshold = float(stability_threshold(1.0, momentum=momentum, nesterov=nesterov))
    for share, stable in ((0.98, True), (1.02, False)):
        w = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=1.0, momentum=momentum, nesterov=nesterov)
        for _ in range(3000):
            optimizer.zero_grad()
            (share * threshold * w.square() / 2).sum().backward()
            optimizer.step()
            if w.abs() > 1e6:
                break
        assert (w.abs().item() < 1) == stable


def test_wrong_numbers_are_refused() -> None:
    made = case()
    with pytest.raises(UsageError, match="tries must be at least 1"):
        critical_sharpness(made.network, made.weights, made.inputs, made.labels, tries=0)
    with pytest.raises(UsageError, match="give one of them"):
        stability_threshold(0.1, momentum=0.9, beta1=0.9)
    with pytest.raises(UsageError, match=r"must be in \[0, 1\)"):
        stability_threshold(0.1, momentum=1.0)
    with pytest.raises(UsageError, match="learning_rate must be above 0"):
        stability_threshold(0.0)
