"""Phenomena of the catalogue on a device that is not the CPU: they run, and measure what they measure on the CPU.

The device is simulated (see `other_device`): it computes, and it refuses what CUDA refuses. Settings are smaller than
those of smoke: the rounding of two ways to compute grows with the steps.
"""

from dataclasses import replace
from typing import Any

import pytest
from other_device import other_device

from refute import catalogue
from refute.core import Cohort, Level
from refute.engine import cohorts, measure, plan

SMALL: dict[str, Level] = {
    "apart": 3,
    "attack_steps": 2,
    "attacked": 8,
    "audited": 4,
    "budget": 1,
    "conv_steps": 4,
    "early": 2,
    "examples": 60,
    "iterations": 3,
    "looks": 2,
    "mask_steps": 5,
    "moments": 3,
    "random_steps": 8,
    "search": 5,
    "second_epochs": 2,
    "single_steps": 6,
    "starts": 8,
    "steps": 6,
    "test": 20,
    "unit": 6,
    "validation": 40,
    "visits": 20,
    "window": 3,
    "word_search": 5,
    "word_starts": 4,
}

# not the linear net of edge-of-stability: its sharpness is constant, so that ranks of it are those of rounding
COHORTS: dict[str, dict[str, Any]] = {
    "adversarial-training-hurts-generalization": {"training": "adversarial", "dataset": "staircase"},
    "autoencoder-memorization": {"architecture": "fc", "depth": 3},
    "bad-global-minima": {"epochs": 0},
    "batch-norm-adversarial-vulnerability": {"architecture": "mlp", "arm": "batch"},
    "edge-of-stability": {"architecture": "deep-tanh"},
    "identity-crisis": {"family": "conv", "depth": 1},
    "implicit-bias-max-margin": {"model": "linear", "optimizer": "gd"},
    "layer-criticality": {"architecture": "fc-4-bn"},
    "layer-rotation": {"algorithm": "layca-sgd"},
    "residual-initialization-sensitivity": {"kind": "dense", "depth": 3},
    "rnn-line-attractor": {"dataset": "valences", "task": "evidence"},
    "stage-like-learning": {"dataset": "tree", "architecture": "linear-2"},
    "supermask-zeros-and-signs": {"treatment": "untrained", "mask": "large_final"},
}


def small_cohort(name: str) -> Cohort:
    """The first cohort of smoke at some levels, with smaller settings."""
    phenomenon, levels = catalogue.get(name), COHORTS[name]
    packed = cohorts(phenomenon, plan(phenomenon, "smoke"), size=2)
    chosen = next(one for one in packed if levels.items() <= dict(one.looped).items())
    smaller = {name: min(SMALL[name], value) if name in SMALL else value for name, value in chosen.settings.items()}
    return replace(chosen, settings=smaller)


def test_the_whole_catalogue_is_here() -> None:
    assert set(COHORTS) == set(catalogue.names())


@pytest.mark.parametrize("name", COHORTS)
def test_a_phenomenon_is_measured_elsewhere_as_on_the_cpu(name: str) -> None:
    cohort = small_cohort(name)
    here = measure(catalogue.get(name), cohort)
    with other_device() as device:
        there = measure(catalogue.get(name), replace(cohort, device=device))
    assert [one.diverged for one in there] == [one.diverged for one in here]
    for found, expected in zip(there, here, strict=True):
        assert found.values == pytest.approx(expected.values, rel=1e-3, abs=1e-3, nan_ok=True)
        places = {name: curve.coordinates for name, curve in expected.curves.items()}
        assert {name: curve.coordinates for name, curve in found.curves.items()} == places
