"""What all tests share: one thread, a tiny phenomenon, a folder of its own for every lab."""

from typing import Any

import pytest
import torch

from refute.core import (
    Claim,
    Cohort,
    Grid,
    Phenomenon,
    Protocol,
    Quantity,
    Source,
    Value,
    at_least,
    looped,
    stacked,
)
from refute.randomness import stream

torch.set_num_threads(1)


def noisy_trial(cohort: Cohort) -> dict[str, Any]:
    """A trial without networks: a number that depends on seed, shift and kind alone; replica by replica."""
    noise = torch.stack([torch.randn((), generator=stream(seed, "noise")) for seed in cohort.seeds])
    shift = torch.tensor(cohort["shift"])
    sign = 1.0 if cohort["kind"] == "plus" else -1.0
    steps = torch.arange(4.0)
    return {
        "height": sign * shift + 0.1 * noise,
        "course": (shift[:, None] * steps, (tuple(steps.tolist()),)),
        "diverged": shift > 100,
    }


def make_phenomenon(**changes: Any) -> Phenomenon:
    """A valid phenomenon of two factors; keyword arguments replace its fields."""
    fields: dict[str, Any] = {
        "name": "toy",
        "statement": "Heights rise with the shift.",
        "source": Source(authors="A. Nobody", title="Heights", year=2019),
        "factors": {"kind": looped("sign of the height"), "shift": stacked("how high", default=1.0)},
        "quantities": {
            "height": Quantity(definition="how high it gets", unit="m"),
            "course": Quantity(definition="height over time", unit="m", axes=("step",)),
        },
        "protocols": {
            "smoke": Protocol(grids=(Grid(levels={"kind": ("plus", "minus"), "shift": (1.0, 2.0)}, seeds=5),), cohort=4)
        },
        "trial": noisy_trial,
        "claims": (
            Claim(
                id="C1",
                statement="Heights are at least a half.",
                effect=Value("height"),
                holds=at_least(0.5, reason="half the shift"),
                within=("kind", "shift"),
            ),
        ),
        "cell": ("kind",),
    }
    return Phenomenon(**{**fields, **changes})


@pytest.fixture
def toy() -> Phenomenon:
    return make_phenomenon()
