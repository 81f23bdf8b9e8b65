"""Measure: run the trial function of one cohort and check what it hands back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refute.core import Cohort, Curve, Phenomenon, Quantity, Result
from refute.errors import DefinitionError, ExecutionError
from refute.precision import full_precision

RANGE_SLACK = 1e-4
"""How far beyond its declared range a value may lie by rounding (float32 cosine distances, accuracies)."""


def measure(phenomenon: Phenomenon, cohort: Cohort) -> list[Result]:
    """Results of a cohort, one per replica.

    A trial function that says which replicas diverged may use NaN for what is not defined in the others; one that does
    not say so has diverged wherever a number is not finite. A replica without one finite number has in any case.

    Raises:
        DefinitionError: the trial function does not return what the phenomenon declares.
        ExecutionError: a number lies outside its declared range.
    """
    full_precision()
    measured = dict(phenomenon.trial(cohort))
    told = measured.pop("diverged", None)
    missing = set(phenomenon.quantities) - set(measured)
    extra = set(measured) - set(phenomenon.quantities)
    if missing or extra:
        raise DefinitionError(
            f"{phenomenon.name}: trial must return exactly its declared quantities; "
            f"missing: {', '.join(sorted(missing)) or 'none'}; undeclared: {', '.join(sorted(extra)) or 'none'}"
        )
    split = {name: _split(measured[name]) for name in phenomenon.quantities}
    for name, quantity in phenomenon.quantities.items():
        _check_shape(f"{phenomenon.name}, quantity '{name}'", quantity, split[name][0], len(cohort))
    diverged = _diverged(told, [tensor for tensor, _ in split.values()], len(cohort))
    values: list[dict[str, float]] = [{} for _ in cohort.trials]
    curves: list[dict[str, Curve]] = [{} for _ in cohort.trials]
    for name, quantity in phenomenon.quantities.items():
        tensor, coordinates = split[name]
        _check_range(f"{phenomenon.name}, quantity '{name}'", quantity, tensor[~diverged])
        if not quantity.axes:
            for replica, value in enumerate(tensor.tolist()):
                values[replica][name] = value
            continue
        axes = coordinates or tuple(tuple(float(i) for i in range(n)) for n in tensor.shape[1:])
        for replica, row in enumerate(tensor.flatten(1).tolist()):
            curves[replica][name] = Curve(axes, tuple(row))
    return [
        Result(trial.key, flag, values[replica], curves[replica])
        for replica, (trial, flag) in enumerate(zip(cohort.trials, diverged.tolist(), strict=True))
    ]


def _diverged(told: Any, quantities: Sequence[Tensor], replicas: int) -> Tensor:
    """bool (replica,): what the trial function says, and what its numbers say."""
    finite = torch.cat([torch.isfinite(tensor.reshape(replicas, -1)) for tensor in quantities], dim=1)
    if told is None:
        return ~finite.all(dim=1)
    flags = torch.as_tensor(told).detach().cpu().bool()
    if flags.shape != (replicas,):
        raise DefinitionError(f"diverged: a tensor (replica) with {replicas} replicas was expected, {flags.shape} came")
    return flags | ~finite.any(dim=1)


def _split(value: Any) -> tuple[Tensor, tuple[tuple[float, ...], ...]]:
    """A bare tensor, or (tensor, coordinates of each axis after replica)."""
    if isinstance(value, Tensor):
        return value.detach().double().cpu(), ()
    tensor, coordinates = value
    return tensor.detach().double().cpu(), tuple(tuple(float(c) for c in axis) for axis in coordinates)


def _check_shape(where: str, quantity: Quantity, tensor: Tensor, replicas: int) -> None:
    expected = f"(replica{''.join(', ' + axis for axis in quantity.axes)}) with {replicas} replicas"
    if tensor.ndim != 1 + len(quantity.axes) or len(tensor) != replicas:
        raise DefinitionError(f"{where}: a tensor {expected} was expected, shape {tuple(tensor.shape)} came")


def _check_range(where: str, quantity: Quantity, sound: Tensor) -> None:
    finite = sound[torch.isfinite(sound)]
    if finite.numel() == 0:
        return
    low, high = float(finite.min()), float(finite.max())
    if low < quantity.low - RANGE_SLACK or high > quantity.high + RANGE_SLACK:
        raise ExecutionError(
            f"{where}: values must lie in [{quantity.low:g}, {quantity.high:g}], [{low:g}, {high:g}] came"
        )
