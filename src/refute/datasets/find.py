"""Finds the data sets: every module of this package that holds a value `DATASET`. There is no list to keep."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from refute.datasets.dataset import DataSet
from refute.errors import UnknownNameError, did_you_mean


@cache
def catalogue() -> Mapping[str, DataSet]:
    """From name to data set, in the order of the names."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)], prefix=f"{__package__}.")
    values = [getattr(importlib.import_module(module.name), "DATASET", None) for module in modules]
    found = {value.name: value for value in values if isinstance(value, DataSet)}
    return MappingProxyType(dict(sorted(found.items())))


def names() -> tuple[str, ...]:
    """The names of all data sets.

    >>> names()
    ('cifar10', 'digits', 'fashion-mnist', 'imdb', 'mnist')
    """
    return tuple(catalogue())


def get(name: str) -> DataSet:
    """The data set called `name`. Raises `UnknownNameError`, which suggests the nearest name.

    >>> get("digits").shape
    (8, 8)
    """
    if name not in catalogue():
        raise UnknownNameError(f"there is no data set {name!r}: {did_you_mean(name, names())}")
    return catalogue()[name]


def offline_names() -> tuple[str, ...]:
    """The names of the data sets that need no network."""
    return tuple(name for name, dataset in catalogue().items() if any(channel.offline for channel in dataset.channels))
