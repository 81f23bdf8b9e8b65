"""Estimators of representations by simulation: bias, spread and standard errors with few examples.

    python validation/instruments/representations.py [--repetitions 400]

Truths: Gaussian clouds of known covariance give the effective dimensions at infinitely many examples and the CKA of two
clouds; the area under the curve of two Gaussians is Phi(shift / sqrt 2). Bias is relative (absolute for CKA and
logarithms), with its own standard error; "error/spread" is the root mean square of the standard errors divided by the
spread of the estimates: 1 is right.
"""

import argparse
import math

import torch
from scipy.stats import norm
from torch import Tensor

from refute.instruments.association import auroc
from refute.instruments.cka import linear_cka
from refute.instruments.effective_dimension import dimensions_of, effective_dimension
from refute.instruments.linear_probes import logistic_probe


def line(name: str, values: Tensor, truth: float, errors: Tensor | None = None, *, absolute: bool = False) -> None:
    sound = values[torch.isfinite(values)]
    scale = 1.0 if absolute else truth
    bias, spread = float(sound.mean() - truth) / scale, float(sound.std()) / scale
    own = spread / len(sound) ** 0.5
    ratio = "" if errors is None else f"{float(errors.square().nanmean().sqrt() / values.std()):>14.2f}"
    missing = "" if len(sound) == len(values) else f"   {len(values) - len(sound)} without a value"
    print(f"{name:66}{truth:>9.4g}{bias:>+10.4f} +- {own:.4f}{spread:>9.4f}{ratio}{missing}", flush=True)


def dimensions(repetitions: int) -> None:
    """One class; the spectrum falls as a power of the component, 0 is isotropic."""
    for size, power in ((64, 0.0), (64, 1.0), (512, 1.0)):
        spectrum = torch.arange(1, size + 1, dtype=torch.float64) ** -power
        truth = {name: value.item() for name, value in dimensions_of(spectrum).items()}
        for examples in (50, 100, 200, 400):
            count = max(20, min(repetitions, 40_000 // examples))
            generator = torch.Generator().manual_seed(examples)
            noise = torch.randn(count, examples, size, generator=generator, dtype=torch.float64)
            found = effective_dimension(noise * spectrum.sqrt())
            cloud = f"dimension {size}, lambda_k = k^-{power:g}, {examples} examples: "
            for name in truth:
                line(cloud + name, found.values[name][:, 0], truth[name])
            line(
                cloud + "participation, extrapolated", found.extrapolated["participation"][:, 0], truth["participation"]
            )
            line(cloud + "entropy, extrapolated", found.extrapolated["entropy"][:, 0], truth["entropy"])
            line(cloud + "participation, debiased", found.debiased[:, 0], truth["participation"])
            logs = found.values["participation"][:, 0].log()
            middle = float(logs.mean())  # the error is of the estimate at this n, not of the bias
            line(cloud + "ln participation (halves)", logs, middle, found.log_error(), absolute=True)


def similarities(repetitions: int) -> None:
    """y = share x + noise: |Cov(x, y)|_F^2 and the CKA are known."""
    for size, share in ((20, 0.0), (20, 0.7), (200, 0.0), (200, 0.7)):
        truth = share**2 / (share**2 + 1)
        for examples in (30, 100, 300):
            count = max(20, min(repetitions, 400_000 // (examples * size)))
            generator = torch.Generator().manual_seed(examples)
            x, noise = (torch.randn(count, examples, size, generator=generator, dtype=torch.float64) for _ in range(2))
            for debiased in (False, True):
                found = linear_cka(x, share * x + noise, debiased=debiased)
                kind = "debiased" if debiased else "biased"
                name = f"CKA, {kind}, {size} features, {examples} examples"
                line(name, found.value, truth, found.standard_error, absolute=True)


def areas(repetitions: int) -> None:
    for few, many in ((20, 200), (50, 500), (80, 400)):
        for shift in (0.7, 1.5):
            generator = torch.Generator().manual_seed(few)
            positive = torch.arange(few + many) < few
            scores = torch.randn(repetitions, few + many, generator=generator, dtype=torch.float64) + shift * positive
            found = auroc(scores, positive)
            truth = float(norm.cdf(shift / math.sqrt(2)))
            line(f"AUROC, {few} positives, {many} negatives", found.value, truth, found.standard_error)


def probes(repetitions: int) -> None:
    """What a probe reads from pure noise at new examples, and from a direction that is there."""
    for size, strength in ((20, 0.0), (200, 0.0), (20, 1.5), (200, 1.5)):
        count = max(20, min(repetitions, 4000 // size))
        generator = torch.Generator().manual_seed(size)
        labels = torch.randint(0, 2, (count, 1200), generator=generator)
        features = torch.randn(count, 1200, size, generator=generator, dtype=torch.float64)
        features[:, :, 0] += strength * labels
        truth = float(norm.cdf(strength / math.sqrt(2)))
        for examples in (100, 600):
            fit = logistic_probe(features[:, :examples], labels[:, :examples], penalties=[1.0, 100.0])
            scores = fit.scores(features[:, 600:])[..., 0]
            for place, penalty in enumerate(fit.penalties):
                found = auroc(scores[:, place], labels[:, 600:] > 0)
                name = f"probe's AUROC, {size} features, {examples} examples, penalty {penalty:g}"
                line(name, found.value, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=400)
    count = parser.parse_args().repetitions
    torch.set_num_threads(1)
    print(f"{'estimator':66}{'truth':>9}{'bias':>20}{'spread':>9}{'error/spread':>14}")
    dimensions(count)
    similarities(count)
    areas(count)
    probes(count)


if __name__ == "__main__":
    main()
