"""Measure: run the trial function of one cohort and check what it hands back."""

from typing import Any

import torch
from torch import Tensor

from refute.core import Cohort, Curve, Phenomenon, Quantity, Result
from refute.errors import DefinitionError

RANGE_SLACK = 1e-4
"""How far beyond its declared range a value may lie by rounding (float32 cosine distances, accuracies)."""


def measure(phenomenon: Phenomenon, cohort: Cohort) -> list[Result]:
    """Results of a cohort, one per replica; raises DefinitionError when they are not what the phenomenon declares."""
    measured = dict(phenomenon.trial(cohort))
    diverged = measured.pop("diverged", torch.zeros(len(cohort), dtype=torch.bool)).tolist()
    missing = set(phenomenon.quantities) - set(measured)
    extra = set(measured) - set(phenomenon.quantities)
    if missing or extra:
        raise DefinitionError(
            f"{phenomenon.name}: trial must return exactly its declared quantities; "
            f"missing: {', '.join(sorted(missing)) or 'none'}; undeclared: {', '.join(sorted(extra)) or 'none'}"
        )
    values: list[dict[str, float]] = [{} for _ in cohort.trials]
    curves: list[dict[str, Curve]] = [{} for _ in cohort.trials]
    for name, quantity in phenomenon.quantities.items():
        where = f"{phenomenon.name}, quantity '{name}'"
        tensor, coordinates = _split(measured[name])
        _check(where, quantity, tensor, len(cohort), diverged)
        if not quantity.axes:
            for replica, value in enumerate(tensor.tolist()):
                values[replica][name] = value
            continue
        axes = coordinates or tuple(tuple(float(i) for i in range(n)) for n in tensor.shape[1:])
        for replica, row in enumerate(tensor.flatten(1).tolist()):
            curves[replica][name] = Curve(axes, tuple(row))
    return [
        Result(trial.key, bool(diverged[replica]), values[replica], curves[replica])
        for replica, trial in enumerate(cohort.trials)
    ]


def _split(value: Any) -> tuple[Tensor, tuple[tuple[float, ...], ...]]:
    """A bare tensor, or (tensor, coordinates of each axis after replica)."""
    if isinstance(value, Tensor):
        return value.detach().double().cpu(), ()
    tensor, coordinates = value
    return tensor.detach().double().cpu(), tuple(tuple(float(c) for c in axis) for axis in coordinates)


def _check(where: str, quantity: Quantity, tensor: Tensor, replicas: int, diverged: list[bool]) -> None:
    expected = f"(replica{''.join(', ' + axis for axis in quantity.axes)}) with {replicas} replicas"
    if tensor.ndim != 1 + len(quantity.axes) or len(tensor) != replicas:
        raise DefinitionError(f"{where}: a tensor {expected} was expected, shape {tuple(tensor.shape)} came")
    sound = tensor[~torch.tensor(diverged)]
    finite = sound[torch.isfinite(sound)]
    if finite.numel() == 0:
        return
    low, high = float(finite.min()), float(finite.max())
    if low < quantity.low - RANGE_SLACK or high > quantity.high + RANGE_SLACK:
        raise DefinitionError(
            f"{where}: values must lie in [{quantity.low:g}, {quantity.high:g}], [{low:g}, {high:g}] came"
        )
