"""Small nets in float64 whose dense derivatives are cheap, for tests against an independent computation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from refute import architectures, losses
from refute.architectures import Network, Weights
from refute.instruments.hessian import cast


class Case(NamedTuple):
    network: Network
    weights: Weights
    inputs: Tensor
    labels: Tensor
    seeds: list[int]


def case(name: str = "mlp", *, replicas: int = 3, examples: int = 20, spread: float = 0.3, **options: object) -> Case:
    """A cohort a little off its initial weights (biases are not 0), with shared examples of 3 classes."""
    shape = (1, 5, 5) if name == "vgg" else (4,)
    chosen: dict[str, object] = {"mlp": {"depth": 2, "width": 5}, "vgg": {"multiplier": 0.25}}[name] | options
    network = architectures.build(name, shape, 3, **chosen)
    seeds = list(range(10, 10 + replicas))
    weights = cast(network.initialize(seeds), torch.float64)
    generator = torch.Generator().manual_seed(1)
    weights.flat.add_(spread * torch.randn(weights.flat.shape, generator=generator, dtype=torch.float64))
    inputs = torch.randn(examples, *shape, generator=generator, dtype=torch.float64)
    return Case(network, weights, inputs, torch.randint(0, 3, (examples,), generator=generator), seeds)


def loss_of(
    made: Case, replica: int, loss: str = "cross-entropy", training: bool = False
) -> Callable[[Tensor], Tensor]:
    """One replica's mean loss, vector of parameters -> number, by a pass of its own."""
    alone = made.weights.take(slice(replica, replica + 1))

    def mean_loss(flat: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in alone.buffers.items()}
        outputs = made.network(Weights(alone.slots, flat.unsqueeze(0), buffers), made.inputs[None], training=training)
        return losses.get(loss).each(outputs, made.labels[None]).mean()

    return mean_loss


def dense_hessians(made: Case, loss: str = "cross-entropy", training: bool = False) -> Tensor:
    """(replica, parameter, parameter) by torch.autograd.functional."""
    each = [
        torch.autograd.functional.hessian(loss_of(made, replica, loss, training), made.weights.flat[replica])
        for replica in range(made.weights.replicas)
    ]
    return torch.stack(each)


def dense_gauss_newton(made: Case, loss: str = "cross-entropy") -> Tensor:
    """mean_i J_i^T S_i J_i with every matrix written out."""
    found = []
    for replica in range(made.weights.replicas):
        alone = made.weights.take(slice(replica, replica + 1))

        def outputs(flat: Tensor, alone: Weights = alone) -> Tensor:
            return made.network(Weights(alone.slots, flat.unsqueeze(0), alone.buffers), made.inputs[None])[0]

        flat = made.weights.flat[replica]
        jacobian, at = torch.autograd.functional.jacobian(outputs, flat), outputs(flat)
        total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
        for example, own in enumerate(jacobian):
            label = made.labels[example : example + 1]
            bend = torch.autograd.functional.hessian(
                lambda f, label=label: losses.get(loss).each(f.view(1, 1, -1), label.view(1, 1)).sum(), at[example]
            )
            total += own.T @ bend @ own / len(jacobian)
        found.append(total)
    return torch.stack(found)
