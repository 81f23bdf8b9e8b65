"""Architectures: one family per file, networks whose parameters carry a leading replica axis."""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from refute.architectures.network import Network, Weights, estimate_statistics
from refute.architectures.readout import Readout
from refute.errors import UnknownNameError, UsageError, did_you_mean

__all__ = ["Network", "Readout", "Weights", "build", "estimate_statistics", "names"]


@cache
def _families() -> dict[str, Callable[..., Network]]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {
        module.__name__.rpartition(".")[2].replace("_", "-"): module.BUILD
        for module in modules
        if hasattr(module, "BUILD")
    }


def names() -> tuple[str, ...]:
    """Names of all families.

    >>> "mlp" in names()
    True
    """
    return tuple(sorted(_families()))


def build(name: str, input_shape: tuple[int, ...], classes: int, **options: Any) -> Network:
    """A network of a named family for inputs of a shape (without batch); options are the family's own.

    Raises UnknownNameError for an unknown family, UsageError for an option that the family does not have.

    >>> build("mlp", (64,), 10, depth=1, width=16).parameters()
    1210
    """
    if name not in _families():
        raise UnknownNameError(f"unknown architecture '{name}'; {did_you_mean(name, names())}")
    try:
        return _families()[name](input_shape, classes, **options)
    except TypeError as error:
        raise UsageError(f"architecture '{name}' can't be built with {options}: {error}") from error
