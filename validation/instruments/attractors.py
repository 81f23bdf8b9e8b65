"""Attractors by simulation: how fast Arnoldi finds a spectral radius, and the standard error of a recovery rate.

    python validation/instruments/attractors.py [--repetitions 2000]

The radius of random matrices, normal and far from normal, against LAPACK; the recovery rate of a map on the line with
two attractors, whose true value is the probability of a start on the one's side.
"""

import argparse

import torch
from scipy.stats import norm
from torch import Tensor

from refute.architectures import Network, Weights
from refute.architectures.layers import Activation, Dense
from refute.instruments.attractors import arnoldi_radius, recovery


def matrices(kind: str, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random matrices (matrix, size, size) of about unit radius."""
    drawn = torch.randn(count, size, size, generator=generator, dtype=torch.float64) / size**0.5
    if kind == "circular law":
        return drawn
    if kind == "symmetric":
        return (drawn + drawn.transpose(1, 2)) / 8**0.5
    if kind == "low rank + small":
        left, right = (torch.randn(count, size, 10, generator=generator, dtype=torch.float64) for _ in range(2))
        return left @ right.transpose(1, 2) / size + 0.05 * drawn
    return torch.triu(drawn, 1) + torch.diag_embed(torch.linspace(0, 1, size, dtype=torch.float64).expand(count, -1))


def radii(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    size = 128
    print(f"{'matrices':>20}{'steps':>7}{'median error':>15}{'largest error':>15}{'median residual':>17}")
    for kind in ("circular law", "symmetric", "low rank + small", "triangular"):
        drawn = matrices(kind, count, size, generator)
        true = torch.linalg.eigvals(drawn).abs().amax(dim=1)
        start = torch.randn(count, size, generator=generator, dtype=torch.float64)
        for steps in (10, 20, 40, 60, 128):
            found, residual = arnoldi_radius(
                lambda v, drawn=drawn: (drawn @ v.unsqueeze(-1)).squeeze(-1), start, steps=steps
            )
            error = (found - true).abs() / true
            print(f"{kind:>20}{steps:7}{error.median():15.1e}{error.max():15.1e}{residual.median():17.1e}")


def rates(count: int) -> None:
    network = Network("tanh", (Dense("output", 1, 1, bias=False), Activation("tanh")), (1,), 1)
    weights = Weights(network.slots, torch.full((count, 1), 2.0, dtype=torch.float64))
    point = torch.tensor([[0.957504]], dtype=torch.float64)
    print(f"\n{'true rate':>10}{'starts':>8}{'mean':>9}{'spread':>9}{'mean error':>12}{'coverage of 95 %':>18}")
    for rate in (0.5, 0.8, 0.95):
        for starts in (30, 100):
            generator = torch.Generator().manual_seed(starts)
            drawn = torch.randn(count, starts, 1, generator=generator, dtype=torch.float64) + norm.ppf(rate)
            found = recovery(network, weights, drawn, point)
            share, error = found.recovered, found.standard_error
            covered = ((share - rate).abs() <= 1.96 * error).double().mean()
            print(f"{rate:10}{starts:8}{share.mean():9.4f}{share.std():9.4f}{error.mean():12.4f}{covered:18.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    count = parser.parse_args().repetitions
    torch.set_num_threads(1)
    radii(min(count, 100))
    rates(count)


if __name__ == "__main__":
    main()
