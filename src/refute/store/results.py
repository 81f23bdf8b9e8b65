"""Stored results as the judge sees them: numbers in memory, curves on disk until they are asked for."""

import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from refute.core import Curve, Result
from refute.store.cohorts import read_results

Value = TypeVar("Value")

FILES_KEPT = 32
"""Files whose curves stay in memory: figures visit the trials in the order of the plan, and few files at once."""


class StoredResults(Mapping[str, Result]):
    """Trial key -> result, for results that lie in files of a lab.

    A result is made when it is asked for; its curves are read from its file when they are. The mapping takes about 100
    bytes a trial and 8 a number, so that a driver's memory does not depend on what a run measures.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._diverged = bytearray()
        self._first, self._layout, self._file = array("Q"), array("L"), array("L")
        self._numbers = array("d")
        self._layouts: dict[tuple[str, ...], int] = {}
        self._files: dict[Path, int] = {}
        self._names: list[tuple[str, ...]] = []
        self._paths: list[Path] = []
        self._with_curves: set[int] = set()
        self._read = lru_cache(maxsize=FILES_KEPT)(read_results)

    def add(self, path: Path, results: Sequence[Result], *, curves: bool = True) -> None:
        """Take over results that lie in the file `path`, which holds curves or not; those already known stay."""
        file = _position(path, self._files, self._paths)
        if curves:
            self._with_curves.add(file)
        for result in results:
            key = sys.intern(result.key)
            if key in self._rows:
                continue
            self._rows[key] = len(self._rows)
            self._diverged.append(result.diverged)
            self._first.append(len(self._numbers))
            self._layout.append(_position(tuple(map(sys.intern, result.values)), self._layouts, self._names))
            self._file.append(file)
            self._numbers.extend(result.values.values())

    def whole(self, key: str) -> Result:
        """A result with its curves, from its file."""
        return self._read(self.path(key))[key]

    def path(self, key: str) -> Path:
        """The file in which a result lies."""
        return self._paths[self._file[self._rows[key]]]

    def __getitem__(self, key: str) -> Result:
        row = self._rows[key]
        names, first = self._names[self._layout[row]], self._first[row]
        values = dict(zip(names, self._numbers[first : first + len(names)], strict=True))
        curves = _Curves(lambda: self.whole(key).curves) if self._file[row] in self._with_curves else {}
        return Result(key, bool(self._diverged[row]), values, curves)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows


class _Curves(Mapping[str, Curve]):
    """Curves that are read when they are first looked at."""

    def __init__(self, read: Callable[[], Mapping[str, Curve]]) -> None:
        self._read = read

    def __getitem__(self, name: str) -> Curve:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(dict(self))


def _position(value: Value, known: dict[Value, int], listed: list[Value]) -> int:
    """The number of a value that may be known already."""
    if value not in known:
        known[value] = len(listed)
        listed.append(value)
    return known[value]
