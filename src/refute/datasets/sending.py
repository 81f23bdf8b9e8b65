"""From one machine's cache to another's: a run on many machines brings its data sets along."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refute.datasets import cache
from refute.datasets.dataset import ARRAY_NAMES, Arrays
from refute.datasets.fetching import raw, use_local
from refute.datasets.find import get
from refute.datasets.formats import NPZ_NAMES

CHANNEL = "the driver of the run"


@dataclass(frozen=True)
class Parcel:
    """A data set on its way: its arrays, and their identity if they are a user's own, different copy, which no machine
    can fetch."""

    name: str
    arrays: Arrays
    own: str | None


def pack(name: str) -> Parcel:
    """The data set as this process sees it, fetched if need be. Raises as `fetch`."""
    found = raw(name)
    arrays = Arrays(**{part: np.asarray(getattr(found, part)) for part in ARRAY_NAMES})
    own = found.source.identity if found.source.identity != get(name).identity else None
    return Parcel(name, arrays, own)


def receive(name: str, own: str | None, unpack: Callable[[], Parcel]) -> None:
    """Put a data set into this machine's cache, unless it is there; of several processes one does.

    `own`: as in the parcel; `unpack`: gets the parcel, called only if it is needed.
    Raises `DataError` if the cache takes nothing.
    """
    if own is not None:
        use_local(name, _own_copy(name, own, unpack))
        return
    folder = cache.root() / name
    if _there(name, folder):
        return
    with cache.locked(folder):
        if not _there(name, folder):
            shutil.rmtree(folder, ignore_errors=True)
            cache.write(folder, unpack().arrays, CHANNEL)


def _there(name: str, folder: Path) -> bool:
    entry = cache.find(folder)
    return entry is not None and entry.checksums == get(name).checksums


def _own_copy(name: str, own: str, unpack: Callable[[], Parcel]) -> Path:
    """The user's copy as a file of this machine."""
    path = cache.root() / "own-copies" / f"{name}-{own[:16]}.npz"
    if path.exists():
        return path
    with cache.locked(path):
        if not path.exists():
            temporary = cache.scratch(path)
            save_npz(temporary, unpack().arrays)
            temporary.rename(path)
    return path


def save_npz(path: Path, arrays: Arrays) -> None:
    """Write the arrays as the file that `use_local` takes; it is on disk when this returns."""
    with path.open("wb") as stream:
        np.savez(stream, **{NPZ_NAMES[part]: getattr(arrays, part) for part in ARRAY_NAMES})
        stream.flush()
        os.fsync(stream.fileno())
