"""Estimators of bias, variance and peaks by simulation: bias, spread, standard errors and intervals.

    python validation/instruments/decomposition.py [--repetitions 2000]

Truths: predictions drawn with known variances of training set, start and both; and ridge regression, whose bias and
variance over training sets and starts are found from 20,000 fits of their own. "naive" lines show what the sample
variance with divisor K and the uncorrected variance of means would say. Bias is absolute, with its own standard error;
"error/spread": root mean square of the standard errors over the spread of the estimates, 1 is right; "covers": share of
95 % intervals that hold the truth. Peaks: how often a monotone curve with noise shows a drop-in and a drop-out.
"""

import argparse
import math

import torch
from torch import Tensor

from refute.instruments.curve_fits import power_law
from refute.instruments.decomposition import Decomposition, bias_variance
from refute.instruments.double_descent import double_descent, mean_descent

PARTS = ("bias_squared", "variance", "initialization", "sampling", "interaction", "risk")
EXAMPLES, OUTPUTS = 20, 3


def line(name: str, values: Tensor, truth: float, errors: Tensor | None = None, draws: Tensor | None = None) -> None:
    spread = float(values.std())
    own = spread / len(values) ** 0.5
    ratio = "" if errors is None else f"{float(errors.square().mean().sqrt()) / spread:>8.2f}"
    covers = ""
    if errors is not None:
        inside = ((values - truth).abs() <= 1.96 * errors).double().mean()
        covers = f"{float(inside):>8.3f}"
    if draws is not None and draws.shape[1]:
        low, high = (draws.nanquantile(share, dim=1) for share in (0.025, 0.975))
        covers += f"{float(((low <= truth) & (truth <= high)).double().mean()):>8.3f}"
    bias = float(values.mean()) - truth
    far = "  <-- more than 4 standard errors" if abs(bias) > 4 * own else ""
    print(f"{name:58}{truth:>9.4f}{bias:>+10.4f} +- {own:.4f}{spread:>9.4f}{ratio}{covers}{far}", flush=True)


def components(repetitions: int) -> None:
    """h = mean + set + start + both, variances per output."""
    for sets, starts in ((2, 2), (3, 10), (6, 5), (10, 4), (30, 5)):
        for crossed in (False, True):
            for of_set, of_start, of_both in ((0.3, 0.5, 0.2), (0.0, 0.5, 0.2), (0.5, 0.0, 0.05)):
                generator = torch.Generator().manual_seed(sets * 100 + starts)

                def noise(*shape: int, variance: float, generator: torch.Generator = generator) -> Tensor:
                    drawn = torch.randn(
                        repetitions, *shape, EXAMPLES, OUTPUTS, generator=generator, dtype=torch.float64
                    )
                    return variance**0.5 * drawn

                start = noise(1, starts, variance=of_start) if crossed else noise(sets, starts, variance=of_start)
                h = 0.4 + noise(sets, 1, variance=of_set) + start + noise(sets, starts, variance=of_both)
                found = bias_variance(
                    h, torch.zeros(EXAMPLES, OUTPUTS), crossed=crossed, seeds=list(range(repetitions)), draws=200
                )
                design = f"{sets} sets x {starts} {'crossed' if crossed else 'nested'}, {of_set:g} + {of_start:g}: "
                truth = {
                    "bias_squared": 0.16,
                    "variance": of_set + of_start + of_both,
                    "initialization": of_start + of_both,
                    "sampling": of_set,
                    "interaction": of_both if crossed else math.nan,
                    "risk": 0.16 + of_set + of_start + of_both,
                }
                table(design, found, {part: OUTPUTS * value for part, value in truth.items()})
                means = h.mean(dim=2)
                naive = means.var(dim=1, correction=0).sum(dim=-1).mean(dim=-1)
                line(design + "naive sampling", naive, OUTPUTS * of_set)


def table(design: str, found: Decomposition, truth: dict[str, float]) -> None:
    for part in PARTS:
        values = getattr(found.parts, part)
        if not bool(torch.isnan(values).any()):
            line(design + part, values, truth[part], getattr(found.standard_error, part), getattr(found.draws, part))


def ridge(repetitions: int) -> None:
    """Ridge regression on random features (the start draws them) of a noisy line; sets are independent."""
    generator = torch.Generator().manual_seed(1)
    at = torch.linspace(-2, 2, EXAMPLES, dtype=torch.float64).unsqueeze(1)
    goal = torch.sin(2 * at)

    def fits(sets: int, starts: int, designs: int) -> Tensor:
        x = 2 * torch.randn(designs, sets, 1, 25, 1, generator=generator, dtype=torch.float64)
        y = torch.sin(2 * x) + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        w = 2 * torch.randn(designs, sets, starts, 1, 15, generator=generator, dtype=torch.float64)
        b = 6.3 * torch.rand(designs, sets, starts, 1, 15, generator=generator, dtype=torch.float64)
        z, ahead = torch.cos(x * w + b), torch.cos(at * w + b)
        gram = z.mT @ z + 0.1 * torch.eye(15, dtype=torch.float64)
        return ahead @ torch.linalg.solve(gram, z.mT @ y.expand(*w.shape[:3], 25, 1))

    many = fits(400, 50, 1)[0]  # 20,000 nets, in float64
    grand = many.mean(dim=(0, 1))
    within = float(many.var(dim=1).mean(dim=0).sum(dim=-1).mean())
    between = float(many.mean(dim=1).var(dim=0).sum(dim=-1).mean())
    truth = {
        "bias_squared": float((grand - goal).square().sum(dim=-1).mean()),
        "initialization": within,
        "sampling": between - within / 50,
    }
    truth["variance"] = truth["initialization"] + truth["sampling"]
    truth["risk"] = truth["bias_squared"] + truth["variance"]
    for sets, starts in ((3, 3), (6, 5), (10, 4)):
        found = bias_variance(fits(sets, starts, repetitions), goal)
        table(f"ridge on random features, {sets} sets x {starts}: ", found, truth)


def peaks(repetitions: int) -> None:
    """Monotone curves with noise have no peak: how often does the rule see one, and do its intervals know better?"""
    widths = [2.0**k for k in range(12)]
    curve = torch.tensor([30 * 0.75**k for k in range(12)], dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    print(f"\n{'no peak: noise per seed, seeds':42}{'mean drop-in':>14}{'both > 1 point':>16}{'interval above 0':>18}")
    count = max(50, repetitions // 10)
    for noise in (0.5, 1.0, 2.0):
        for seeds in (1, 5, 10):
            drawn = noise * torch.randn(count, seeds, 12, generator=generator, dtype=torch.float64)
            errors = curve + drawn
            found = double_descent(errors.mean(dim=1), widths)
            seen = (found.smaller > 1).double().mean()
            above = math.nan
            if seeds > 1:
                lows = [mean_descent(one, widths, seed=0, draws=300).intervals["smaller"][0] for one in errors]
                above = sum(low > 0 for low in lows) / count
            rise = float(found.drop_in.mean())
            print(f"{f'{noise:g} points, {seeds} seeds':42}{rise:>14.3f}{seen:>16.3f}{above:>18.3f}")
    bump = curve + 8 * torch.exp(-((torch.arange(12.0) - 6) ** 2) / 3)
    exact = double_descent(bump[None], widths)
    for smooth in (True, False):
        errors = bump + torch.randn(count, 5, 12, generator=generator, dtype=torch.float64)
        found = double_descent(errors.mean(dim=1), widths, smooth=smooth)
        name = f"a bump of 8 points, 5 seeds of 1 point, {'smoothed' if smooth else 'raw'}: "
        line(name + "drop-in", found.drop_in, exact.drop_in.item())
        line(name + "drop-out", found.drop_out, exact.drop_out.item())
        line(name + "log2 location", found.location.log2(), float(exact.location.log2()))


def powers(repetitions: int) -> None:
    sizes = torch.tensor([100.0 * 2**k for k in range(8)], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    print()
    count = max(100, repetitions // 4)
    for floor in (0.0, 0.02, 0.1):
        for noise in (0.01, 0.05):
            logs = noise * torch.randn(count, 8, generator=generator, dtype=torch.float64)
            found = power_law(sizes, (5 * sizes**-0.5 + floor) * logs.exp(), floor=True)
            kept = ~(found.flags["floor at 0"] | found.flags["floor and exponent not told apart"])
            name = f"5 n^-0.5 + {floor:g}, noise {noise:g} ({float(kept.double().mean()):.2f} unflagged): "
            if int(kept.sum()) > 20:
                line(name + "exponent", found.exponent[kept], 0.5, found.exponent_error[kept])
                line(name + "floor", found.floor[kept], floor, found.floor_error[kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    print(f"{'':58}{'truth':>9}{'bias':>20}{'spread':>9}{'error/':>8}{'covers':>8}{'draws':>8}")
    components(max(50, repetitions // 10))
    ridge(repetitions)
    peaks(repetitions)
    powers(repetitions)


if __name__ == "__main__":
    main()
