"""The catalogue: every file of `refute.phenomena` that holds a PHENOMENON. No registry, no list kept by hand."""

import importlib
import json
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from refute import phenomena
from refute.core import Phenomenon, Totals
from refute.errors import UnknownNameError, did_you_mean

TOTALS = Path(__file__).with_name("totals.json")
"""The committed evidence, counted; written by docs/build.py."""


@cache
def names() -> tuple[str, ...]:
    """Names of all phenomena, sorted, from the files' names (nothing heavy is imported)."""
    return tuple(sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(phenomena.__path__)))


def check(wanted: Iterable[str]) -> None:
    """Raises UnknownNameError, with the nearest one, if there is no such phenomenon; imports nothing heavy."""
    for name in wanted:
        if name not in names():
            raise UnknownNameError(f"there is no phenomenon '{name}'; {did_you_mean(name, names())}")


@cache
def get(name: str) -> Phenomenon:
    """A phenomenon by name; raises UnknownNameError with the nearest one."""
    check([name])
    module = importlib.import_module(f"{phenomena.__name__}.{name.replace('-', '_')}")
    found: Phenomenon = module.PHENOMENON
    return found


@cache
def totals() -> dict[str, Totals]:
    """What the committed evidence says, counted, by phenomenon; of two scales full."""
    found = [Totals(**one) for one in json.loads(TOTALS.read_text(encoding="utf-8"))] if TOTALS.exists() else []
    return {one.name: one for one in sorted(found, key=lambda one: one.scale, reverse=True)}
