"""Stochastic gradient descent against torch.optim in float64."""

import pytest
import torch

from refute.algorithms import SGD
from refute.architectures import Weights
from refute.architectures.layers import Slot

RATES, DECAYS = (0.1, 0.001), (0.0, 0.1)


MOMENTA = torch.tensor([[0.9], [0.5]])


@pytest.mark.parametrize(
    "algorithm",
    [SGD(), SGD(0.9), SGD(0.9, nesterov=True), SGD(MOMENTA), SGD(MOMENTA, nesterov=True)],
    ids=["sgd", "momentum", "nesterov", "momenta", "nesterov-momenta"],
)
def test_steps_are_those_of_torch(algorithm: SGD) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 9, generator=generator)
    gradients = torch.randn(6, 2, 9, generator=generator)
    weights = Weights((Slot("w", (9,), "zeros"),), start.clone())
    state = algorithm.start(weights)
    rate, decay = torch.tensor(RATES)[:, None], torch.tensor(DECAYS)[:, None]
    for gradient in gradients:
        algorithm.step(weights, gradient.clone(), state, rate, decay, lambda: None)
    for replica in range(2):
        single = start[replica].double().requires_grad_()
        momentum = algorithm.take(slice(replica, replica + 1)).momentum
        options = {"momentum": float(momentum), "nesterov": algorithm.nesterov}
        steps = torch.optim.SGD([single], lr=RATES[replica], weight_decay=DECAYS[replica], **options)  # type: ignore[arg-type]
        for gradient in gradients:
            single.grad = gradient[replica].double()
            steps.step()
        torch.testing.assert_close(weights.flat[replica].double(), single.detach(), rtol=1e-5, atol=1e-6)
