"""The cache of decoded arrays on disk.

One folder per data set, with four `.npy` files and `source.json` (channel, checksums, sizes). A folder is written
under a temporary name, flushed to disk and renamed, so that it is there completely or not at all; a lock per data set
lets one process fetch while the others wait.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray

from refute.datasets.dataset import ARRAY_NAMES, Arrays, Checksums, checksums, sha256
from refute.errors import ChecksumError, DataError

DATA_VARIABLE = "REFUTE_DATA"
SOURCE_FILE = "source.json"

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """One complete cached data set.

    `folder`: where its arrays lie; `channel`: how they came; `checksums`: as they were when written;
    `bytes`: what the arrays take on disk.
    """

    folder: Path
    channel: str
    checksums: Checksums
    bytes: int


def root() -> Path:
    """The cache folder: $REFUTE_DATA, or the folder `data` of the user's cache of refute."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).absolute() if named else Path(platformdirs.user_cache_dir("refute")) / "data"


def find(folder: Path) -> Entry | None:
    """The entry in `folder`, or None if it is not there, was truncated, or its `source.json` cannot be read."""
    try:
        source = json.loads((folder / SOURCE_FILE).read_text())
        sizes = {name: (folder / f"{name}.npy").stat().st_size for name in ARRAY_NAMES}
        entry = Entry(folder, source["channel"], Checksums(**source["checksums"]), sum(sizes.values()))
        return entry if sizes == source["sizes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(folder: Path, arrays: Arrays, channel: str) -> Entry:
    """Store `arrays` in `folder`, which must not exist yet; the caller holds the lock.

    Raises `DataError` if the disk does not take them.
    """
    temporary = scratch(folder)
    try:
        temporary.mkdir(parents=True)
        sizes = {name: _write_array(temporary / f"{name}.npy", getattr(arrays, name)) for name in ARRAY_NAMES}
        sums = checksums(arrays)
        source = {"channel": channel, "identity": sums.identity, "checksums": asdict(sums), "sizes": sizes}
        _write_bytes(temporary / SOURCE_FILE, json.dumps(source, indent=1).encode())
        temporary.rename(folder)
        _flush_folder(folder.parent)
    except OSError as error:
        raise DataError(f"{folder} could not be written ({error}); {DATA_VARIABLE}=FOLDER names another") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Entry(folder, channel, sums, sum(sizes.values()))


def open_arrays(entry: Entry) -> Arrays:
    """The arrays of `entry`, memory-mapped and read-only.

    Raises `ChecksumError`, showing both sums, if one is not what was written.
    """
    try:
        arrays = Arrays(**{name: np.load(entry.folder / f"{name}.npy", mmap_mode="r") for name in ARRAY_NAMES})
    except (OSError, ValueError) as error:
        raise ChecksumError(f"{entry.folder} holds an array that cannot be read: {error}") from error
    actual = checksums(arrays)
    for name in ARRAY_NAMES:
        expected, came = getattr(entry.checksums, name), getattr(actual, name)
        if came != expected:
            raise ChecksumError(f"{entry.folder / name}.npy should have sha256 {expected}, but has {came}")
    return arrays


def shared(folder: Path, names: Sequence[str], make: Callable[[], Sequence[FloatArray]]) -> list[FloatArray]:
    """Arrays that are derived from a data set: made by the first process that asks, memory-mapped by all.

    A process that maps them shares their pages with all others. Where the cache can't be written, or the disk is full,
    each process keeps its own.

    `names`: of the arrays; `make`: computes them, in this order.
    """
    try:
        found = _open_shared(folder, names)
        if found is None:
            with locked(folder):
                found = _open_shared(folder, names) or _write_shared(folder, names, make())
        return found
    except (OSError, DataError):
        return list(make())


def _open_shared(folder: Path, names: Sequence[str]) -> list[FloatArray] | None:
    """The arrays in `folder`; None if one is not there or is not what was written."""
    try:
        sums = json.loads((folder / SOURCE_FILE).read_text())["checksums"]
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="c") for name in names]  # a stray write stays private
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return arrays if all(sha256(array) == sums.get(name) for name, array in zip(names, arrays, strict=True)) else None


def _write_shared(folder: Path, names: Sequence[str], arrays: Sequence[FloatArray]) -> list[FloatArray]:
    """Store them under the lock; what was damaged is replaced."""
    temporary = scratch(folder)
    try:
        temporary.mkdir(parents=True)
        for name, array in zip(names, arrays, strict=True):
            _write_array(temporary / f"{name}.npy", array)
        sums = {name: sha256(array) for name, array in zip(names, arrays, strict=True)}
        _write_bytes(temporary / SOURCE_FILE, json.dumps({"checksums": sums}, indent=1).encode())
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _open_shared(folder, names) or list(arrays)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, and clear what a killed process left there; waits for whoever holds it.

    Raises `DataError` if the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f"{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"the data folder {folder.parent} cannot be written ({error}); {DATA_VARIABLE}=FOLDER names another"
        ) from error
    try:
        for leftover in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def scratch(folder: Path) -> Path:
    """A new name beside `folder` for what is not complete yet; only for the process that holds the lock."""
    return folder.parent / f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}"


def _write_array(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> int:
    with path.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
        return stream.tell()


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
