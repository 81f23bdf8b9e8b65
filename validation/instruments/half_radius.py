"""How often the 95 % bootstrap interval of the half-accuracy radius holds the true one, and how large its error is.

Nets: one linear threshold net, right examples at exponentially distributed distances (median log 2), a share wrong from
the start. The true radius is then log 2 whatever that share. Each row: 500 test sets of that size.

    python validation/instruments/half_radius.py
"""

import math

import torch

from refute.instruments.half_radius import bisect

TRIALS = 500
WRONG = 0.2


def simulated(examples: int, seed: int) -> tuple[float, float, float]:
    """Mean error and its standard deviation in octaves, and coverage."""
    generator = torch.Generator().manual_seed(seed)
    distance = -torch.rand(TRIALS, examples, generator=generator, dtype=torch.float64).log()
    clean = (torch.rand(TRIALS, examples, generator=generator) > WRONG).double()
    found = bisect(
        lambda radius, _: clean * (distance > radius.unsqueeze(1)),
        clean,
        list(range(TRIALS)),
        start=0.1,
        smallest=None,
        largest=None,
        precision=0.02,
        visits=40,
        resamples=200,
    )
    truth = math.log(2)
    errors = (found.radius / truth).log2()
    covered = (found.low <= truth) & (truth <= found.high)
    reported = found.octaves.mean().item()
    print(
        f"{examples:8d} {errors.mean().item():9.4f} {errors.std().item():9.4f} {reported:9.4f} "
        f"{covered.double().mean().item():9.3f}"
    )
    return errors.mean().item(), errors.std().item(), covered.double().mean().item()


def main() -> None:
    torch.set_num_threads(1)
    print("examples      bias        sd  reported  coverage")
    for examples in (50, 100, 250, 500, 1000):
        simulated(examples, examples)


if __name__ == "__main__":
    main()
