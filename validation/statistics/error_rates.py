"""How often is a cell's verdict wrong? Simulated with the shipped `judge_cell`, next to docs/statistics.md.

The true mean sits exactly on the bound (the worst place), or `shift` standard deviations beyond it (power).
Run: python validation/statistics/error_rates.py --replications 20000
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from refute.statistics import Region, judge_cell

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def lognormal(sigma: float) -> Draw:
    mean, variance = math.exp(sigma**2 / 2), (math.exp(sigma**2) - 1) * math.exp(sigma**2)
    return lambda rng, size: (rng.lognormal(0, sigma, size) - mean) / math.sqrt(variance)


# Mean 0 and standard deviation 1 each.
EFFECTS: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(0, 1, size),
    "t with 3 df": lambda rng, size: rng.standard_t(3, size) / math.sqrt(3),
    "uniform": lambda rng, size: rng.uniform(-math.sqrt(3), math.sqrt(3), size),
    "gamma(4)": lambda rng, size: (rng.gamma(4, 1, size) - 4) / 2,
    "lognormal(.5)": lognormal(0.5),
    "exponential": lambda rng, size: rng.exponential(1, size) - 1,
}

# (effects, looks, shift in sd, supported, refuted), values of the document: sections 3 and 4. NaN = not given.
ROWS: list[tuple[str, tuple[int, ...], float, float, float]] = [
    ("normal", (5, 10, 20, 40), 0.0, 0.035, 0.035),
    ("t with 3 df", (5, 10, 20, 40), 0.0, 0.032, 0.032),
    ("uniform", (5, 10, 20, 40), 0.0, 0.032, 0.031),
    ("gamma(4)", (5, 10, 20, 40), 0.0, 0.018, 0.057),
    ("lognormal(.5)", (5, 10, 20, 40), 0.0, 0.012, 0.075),
    ("exponential", (5, 10, 20, 40), 0.0, 0.010, 0.082),
    ("normal", (5,), 0.0, 0.036, 0.036),
    ("normal", (20,), 0.0, 0.045, 0.045),
    ("normal", (5, 10, 20), 0.0, 0.034, 0.034),
    ("normal", (10, 20, 40), 0.0, 0.036, 0.036),
    ("normal", (5, 10, 20, 40), 0.5, 0.870, math.nan),
    ("normal", (5, 10, 20, 40), 1.0, 1.000, math.nan),
]

# (bound in sd, error on the bound "supported", "refuted"), section 4.
EQUIVALENCE = [(0.5, 0.027, 0.036), (1.0, 0.035, 0.036)]

# (p0, exact error supported, refuted), section 4.
SHARES = [(0.5, 0.023, 0.023), (0.8, 0.017, 0.025), (0.9, 0.015, 0.023)]


def rates(effects: np.ndarray, region: Region, looks: tuple[int, ...], share: bool = False) -> tuple[float, float]:
    """Share of rows judged supported, and refuted."""
    words = [judge_cell(row, region=region, looks=looks, share=share).verdict for row in effects]
    return words.count("supported") / len(words), words.count("refuted") / len(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=20_000, help="simulated cells per row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="rows whose label contains this text")
    options = parser.parse_args()
    print(f"{'':44} {'supported':>9} {'document':>9} {'refuted':>9} {'document':>9}   2 se  seconds")

    def show(label: str, draw: Draw, region: Region, looks: tuple[int, ...], said: tuple[float, float]) -> None:
        if options.only not in label:
            return
        start = time.perf_counter()
        rng = np.random.default_rng(options.seed)
        drawn = draw(rng, (options.replications, looks[-1]))
        supported, refuted = rates(drawn, region, looks, share=label.startswith("share"))
        widest = max((p for p in (supported, refuted)), key=lambda p: p * (1 - p))
        error = 2 * math.sqrt(widest * (1 - widest) / options.replications)
        seconds = time.perf_counter() - start
        print(
            f"{label:44} {supported:9.4f} {said[0]:9.3f} {refuted:9.4f} {said[1]:9.3f} {error:6.4f} {seconds:8.1f}",
            flush=True,
        )

    for name, looks, shift, supported, refuted in ROWS:
        label = f"{name}, looks {'-'.join(map(str, looks))}, {shift:g} sd beyond"
        show(label, EFFECTS[name], Region("at_least", -shift), looks, (supported, refuted))
    for bound, supported, refuted in EQUIVALENCE:
        draw: Draw = lambda rng, size, bound=bound: rng.normal(bound, 1, size)  # type: ignore[misc]
        show(
            f"within {bound:g} sd, mean on the bound",
            draw,
            Region("within", bound),
            (5, 10, 20, 40),
            (supported, refuted),
        )
    for p0, supported, refuted in SHARES:
        draw = lambda rng, size, p0=p0: (rng.uniform(size=size) < p0).astype(float)  # type: ignore[misc]
        show(f"share, at least {p0:g}", draw, Region("at_least", p0), (5, 10, 20, 40), (supported, refuted))


if __name__ == "__main__":
    main()
