"""Curvature estimators by simulation: bias, spread and the coverage of their standard errors, against dense Hessians.

    python validation/instruments/curvature.py [--repetitions 400]

For an estimator with a sound standard error: |bias| / its own error below about 3, and about 95 % of the intervals
value +- t x standard error hold the truth (fewer where probes are few and the distribution is skewed).
"""

import argparse

import torch
from scipy.stats import t as student
from torch import Tensor

from refute import architectures, losses
from refute.architectures import Network, Weights
from refute.instruments.eigenvalues import extremes
from refute.instruments.hessian import Curvature, cast, curvature
from refute.instruments.relative_flatness import relative_flatness
from refute.instruments.spectrum import quadrature
from refute.instruments.trace import estimate_trace


def trained(network: Network, inputs: Tensor, labels: Tensor, steps: int) -> Weights:
    """A net after some full-batch steps, so that a few eigenvalues stand out."""
    weights = cast(network.initialize([0]), torch.float64)
    for _ in range(steps):
        weights.flat.sub_(0.5 * curvature(network, weights, inputs, labels).gradient)
    return weights


def line(name: str, values: Tensor, errors: Tensor | None, truth: float, probes: int) -> None:
    bias = (values.mean() - truth) / truth
    own = values.std() / abs(truth) / len(values) ** 0.5
    cover = (
        ""
        if errors is None
        else f"{((values - truth).abs() <= student.ppf(0.975, probes - 1) * errors).double().mean():>10.3f}"
    )
    spread = "" if errors is None else f"{errors.square().mean().sqrt() / values.std():>16.2f}"
    print(
        f"{name:52}{truth:>11.4g}{bias:>+10.4f} +- {own:.4f}{values.std() / abs(truth):>10.4f}{spread}{cover}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400)
    count = parser.parse_args().repetitions
    torch.set_num_threads(1)
    network = architectures.build("mlp", (8,), 4, depth=2, width=12, activation="tanh")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    labels = (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()
    for steps in (0, 100):
        weights = trained(network, inputs, labels, steps)
        dense = torch.autograd.functional.hessian(
            lambda flat, w=weights: (
                losses.get("cross-entropy")
                .each(network(Weights(w.slots, flat[None]), inputs[None]), labels[None])
                .mean()
            ),
            weights.flat[0],
        )
        exact = torch.linalg.eigvalsh(dense)
        # every repetition is a replica with its own probes: one cohort does them all
        many = Weights(weights.slots, weights.flat.expand(count, -1).contiguous())
        at = curvature(network, many, inputs, labels)
        print(f"\n{steps} steps of training, {len(exact)} parameters, {count} repetitions")
        print(f"{'estimator':52}{'truth':>11}{'relative bias':>20}{'spread':>10}{'error/spread':>16}{'coverage':>10}")
        report(at, exact, dense, list(range(count)))
        blocks(network, many, inputs, labels, dense, list(range(count)))


def report(at: Curvature, exact: Tensor, dense: Tensor, seeds: list[int]) -> None:
    trace, frobenius = float(exact.sum()), float(dense.norm())
    for products in (30, 90):
        for kind in ("rademacher", "gaussian"):
            found = estimate_trace(at, seeds=seeds, products=products, kind=kind)  # type: ignore[arg-type]
            line(f"Hutchinson, {products} {kind} products", found.value, found.standard_error, trace, products)
        line(
            f"  |A|_F from these {products} gaussian products",
            found.frobenius,
            found.frobenius_error,
            frobenius,
            products,
        )
        found = estimate_trace(at, seeds=seeds, products=products, method="hutch++")
        line(f"Hutch++, {products} rademacher products", found.value, found.standard_error, trace, products // 3)
    second, fourth = (float((exact**order).sum()) for order in (2, 4))
    kurtosis = len(exact) * fourth / second**2
    for probes, ends in ((5, 0), (10, 0), (5, 4), (5, 10)):
        spectrum = quadrature(at, seeds=seeds, probes=probes, steps=20, largest=ends, smallest=ends // 2)
        name = f"quadrature, {probes} probes, {ends} + {ends // 2} eigenvalues exact: "
        for what, estimate, truth in (
            ("tr A^2", spectrum.moment(2), second),
            ("tr A^4", spectrum.moment(4), fourth),
            ("kappa4", spectrum.kurtosis(), kurtosis),
        ):
            line(name + what, estimate.value, estimate.standard_error, truth, probes)
    for tolerance in (1e-1, 1e-2, 1e-3):
        found_values = extremes(at, seeds=seeds, smallest=1, tolerance=tolerance)
        steps = found_values.steps.double().mean()
        line(
            f"lambda_1 at tolerance {tolerance:g} ({steps:.1f} products)",
            found_values.values[:, 0],
            None,
            float(exact[-1]),
            2,
        )
        line(f"lambda_min at tolerance {tolerance:g}", found_values.values[:, 1], None, float(exact[0]), 2)


def blocks(network: Network, many: Weights, inputs: Tensor, labels: Tensor, dense: Tensor, seeds: list[int]) -> None:
    found = relative_flatness(network, many, inputs, labels, seeds=seeds, probes=30)
    places = curvature(network, many.take(slice(0, 1)), inputs, labels).places
    for number, name in enumerate(found.kernels):
        truth = float(dense.diagonal()[places[name]].sum() * many[name][0].square().sum())
        line(
            f"relative flatness of {name}, 30 probes",
            found.value[:, number],
            found.standard_error[:, number],
            truth,
            30,
        )


if __name__ == "__main__":
    main()
