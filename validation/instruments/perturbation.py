"""Average sharpness by simulation: bias, spread and coverage of its standard error.

    python validation/instruments/perturbation.py [--repetitions 2000]

On a quadratic loss E L(theta + sigma T u) - L(theta) = sigma^2 tr(T A T) / 2 exactly; on a net the mean over all
repetitions stands for the truth, and the quadratic value shows where the small-noise limit ends.
"""

import argparse

import torch
from scipy.stats import t as student
from torch import Tensor

from refute import architectures
from refute.architectures import Network, Weights
from refute.instruments.hessian import cast, curvature
from refute.instruments.perturbation import average_sharpness, perturbation_scale


def quadratic(network: Network, weights: Weights, inputs: Tensor, labels: Tensor, scale: str, loss: str) -> float:
    """tr(T A T) / 2 from all products."""
    one = weights.take(slice(0, 1))
    units = perturbation_scale(one, scale, shift=0.0)  # type: ignore[arg-type]
    at = curvature(network, one, inputs, labels, loss=loss, scale=units)
    identity = torch.eye(at.parameters, dtype=torch.float64)
    return sum(float(at.product(row.unsqueeze(0))[0] @ row) for row in identity) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    count = parser.parse_args().repetitions
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    labels = (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()
    head = f"{'net, loss':28}{'scale':>13}{'sigma':>8}{'draws':>7}{'mean':>11}{'quadratic':>11}"
    print(f"{head}{'bias of mean':>20}{'spread':>9}{'error/spread':>14}{'coverage':>10}")
    for depth, loss in ((0, "squared"), (2, "cross-entropy")):
        network = architectures.build("mlp", (8,), 4, depth=depth, width=12, activation="tanh")
        weights = cast(network.initialize([0]), torch.float64)
        many = Weights(weights.slots, weights.flat.expand(count, -1).contiguous())
        for scale in ("none", "elementwise"):
            limit = quadratic(network, weights, inputs, labels, scale, loss)
            for sigma in (0.01, 0.1):
                for draws in (20, 50):
                    found = average_sharpness(
                        network,
                        many,
                        inputs,
                        labels,
                        seeds=range(count),
                        sigma=sigma,
                        scale=scale,  # type: ignore[arg-type]
                        shift=0.0,
                        draws=draws,
                        loss=loss,
                    )
                    value, error = found.value, found.standard_error
                    truth = sigma**2 * limit if depth == 0 else float(value.mean())
                    bias, own = float(value.mean()) / truth - 1, float(value.std()) / truth / count**0.5
                    held = (value - truth).abs() <= student.ppf(0.975, draws // 2 - 1) * error
                    print(
                        f"{f'{depth} hidden layers, {loss}':28}{scale:>13}{sigma:>8}{draws:>7}{value.mean():>11.3e}"
                        f"{sigma**2 * limit:>11.3e}{bias:>+11.4f} +- {own:.4f}{value.std() / truth:>8.3f}"
                        f"{error.square().mean().sqrt() / value.std():>13.2f}{held.double().mean():>11.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
