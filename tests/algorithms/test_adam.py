"""Both ways to take Adam's step, by single operations and by the fused kernel, against torch.optim in float64."""

import pytest
import torch

from refute.algorithms import Adam
from refute.algorithms.adam import FUSED_FROM
from refute.architectures import Weights
from refute.architectures.layers import Slot

RATES, DECAYS = (0.1, 0.001), (0.0, 0.1)


@pytest.mark.parametrize("size", [7, FUSED_FROM + 3], ids=["single operations", "fused"])
@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
@pytest.mark.parametrize("scale", [1.0, 1e-6], ids=["plain", "small gradients"])
def test_steps_are_those_of_torch(size: int, decoupled: bool, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, size, generator=generator)
    gradients = scale * torch.randn(5, 2, size, generator=generator)
    weights = Weights((Slot("w", (size,), "zeros"),), start.clone())
    algorithm = Adam(decoupled=decoupled)
    state = algorithm.start(weights)
    rate, decay = torch.tensor(RATES)[:, None], torch.tensor(DECAYS)[:, None]
    for gradient in gradients:
        algorithm.step(weights, gradient.clone(), state, rate, decay, lambda: None)
    optimizer = torch.optim.AdamW if decoupled else torch.optim.Adam
    for replica in range(2):
        single = start[replica].double().requires_grad_()
        steps = optimizer([single], lr=RATES[replica], weight_decay=DECAYS[replica], fused=False)
        for gradient in gradients:
            single.grad = gradient[replica].double()
            steps.step()
        torch.testing.assert_close(weights.flat[replica].double(), single.detach(), rtol=1e-5, atol=1e-5)
