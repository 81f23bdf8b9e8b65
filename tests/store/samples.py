"""Cohorts and results that nobody trained."""

import math
from collections.abc import Sequence

from refute.core import Cohort, Curve, Provenance, Result, Trial, digest

PROVENANCE = Provenance(
    code_version="0.1.0+abc",
    python="3.13.1",
    packages={"numpy": "2.4.0", "torch": "2.13.0"},
    platform="Linux x86_64",
    processor="Abacus 3",
    device="cpu",
    created="2026-01-02T03:04:05+00:00",
)


def trials(count: int, *, phenomenon: str = "toy", first: int = 0) -> list[Trial]:
    return [
        Trial(
            phenomenon=phenomenon,
            version=1,
            levels={"dataset": "digits", "learning_rate": 0.1 * block, "deep": True},
            block=block,
            settings={"steps": 100},
            key=digest([phenomenon, block]),
            seed=2**59 + block,
        )
        for block in range(first, first + count)
    ]


def cohort(members: Sequence[Trial]) -> Cohort:
    return Cohort(tuple(members), {"dataset": "digits"}, {}, {"steps": 100})


def result(trial: Trial, *, shift: float = 0.0) -> Result:
    """Scalars, NaN, infinity, a curve over steps and one over steps and layers; a number that float32 can't hold."""
    values = {"accuracy": 0.9 + shift, "gap": math.nan, "loss": math.inf, "block": float(trial.block)}
    curves = {
        "course": Curve(((0.0, 10.0, 100.0),), (2.3, math.nan, 0.1 + trial.block)),
        "map": Curve(((1.0, 2.0), (0.5, 0.25, 0.0)), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0 + trial.block)),
    }
    return Result(trial.key, trial.block % 2 == 1, values, curves)


def results(members: Sequence[Trial], *, shift: float = 0.0) -> list[Result]:
    return [result(trial, shift=shift) for trial in members]


def same(one: Result, other: Result) -> bool:
    """Equal, with NaN equal to NaN; repr tells every double from every other."""
    return repr(one) == repr(other)
