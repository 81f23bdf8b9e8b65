"""From a data set's name to its verified arrays on disk: through the channels, in their order, once."""

import shutil
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refute.datasets import cache
from refute.datasets.channels import ChannelError
from refute.datasets.dataset import ARRAY_NAMES, Arrays, Channel, DataSet, check_arrays, checksums
from refute.datasets.find import catalogue, get, offline_names
from refute.datasets.formats import find_files
from refute.datasets.local import cache_name, local_paths, read_local, set_local_path
from refute.datasets.progress import Tell, bar, note
from refute.errors import ChecksumError, DamagedFileWarning, DataError


@dataclass(frozen=True)
class DataSource:
    """Where the arrays in use came from.

    `channel`: its title, or "own copy PATH"; `path`: the folder of the decoded arrays;
    `identity`: sha256 of what was decoded, equal to the published one unless it is a user's own, different copy.
    """

    name: str
    channel: str
    path: Path
    identity: str


@dataclass(frozen=True, eq=False)
class RawData:
    """The decoded arrays, memory-mapped and read-only. Two values are equal only if they are the same object.

    `train_images`, `test_images`: uint8 (image, height, width) or (image, height, width, channel), or tokens uint16
    (document, token), 0..`scale`;
    `train_labels`, `test_labels`: int64 (image,).
    """

    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    scale: int
    source: DataSource


@dataclass(frozen=True)
class DataStatus:
    """What is known of a data set on this machine.

    `cached`: whether it can be read without fetching; `bytes`: on disk, 0 if not cached; `channels`: their titles, in
    the order they would be tried; `path`: the folder of its arrays; `identity`: the published sha256, or that of the
    user's own copy, or None for an own copy that has not been read yet.
    """

    name: str
    cached: bool
    bytes: int
    channels: tuple[str, ...]
    path: Path
    identity: str | None


class _Place(NamedTuple):
    """Where a data set's arrays belong in the cache, and the user's own copy if they come from one."""

    folder: Path
    own_copy: Path | None


# Public verbs --------------------------------------------------------------------------------------------------------


def fetch(name: str, *, progress: bool = True) -> Path:
    """Get data set `name` if it is not in the cache yet, and return the folder of its arrays.

    `progress`: say on stderr what is done, with a bar if that is a terminal.
    Raises `UnknownNameError`; `DataError` or `ChecksumError` if no channel gave it, saying what each one lacked.
    """
    return obtain(get(name), shown=progress).folder


def raw(name: str) -> RawData:
    """The decoded arrays of data set `name`, fetched if need be, verified once per process. Raises as `fetch`.

    >>> raw("digits").train_images.shape
    (1297, 8, 8)
    """
    return open_raw(get(name))


def status() -> list[DataStatus]:
    """What is known of every data set on this machine; touches no network."""
    return [_status(dataset) for dataset in catalogue().values()]


def use_local(name: str, path: str | Path) -> None:
    """Read data set `name` from the user's own copy at `path`, in this process and its children.

    `path`: a folder or archive in the official format (MNIST and Fashion-MNIST: the four IDX files, .gz or not;
    CIFAR-10: the binary version; imdb: the package's table), or a `.npz` with x_train, y_train, x_test, y_test. Its
    content need not be the published one; `DataSource.identity` then differs. Raises `UnknownNameError`, and
    `DataError` if nothing is there.
    """
    cache_name(get(name), Path(path))
    set_local_path(name, Path(path))


# Steps ---------------------------------------------------------------------------------------------------------------


def obtain(dataset: DataSet, *, shown: bool = False) -> cache.Entry:
    """The cache entry of `dataset`, fetched if need be; of several processes that ask, one fetches."""
    place = _place(dataset)
    entry = _usable(dataset, place)
    if entry is not None:
        return entry
    with cache.locked(place.folder):
        entry = _usable(dataset, place)  # another process may have fetched it while this one waited
        if entry is not None:
            return entry
        shutil.rmtree(place.folder, ignore_errors=True)
        if place.own_copy is not None:
            return _from_own_copy(dataset, place.folder, place.own_copy)
        return _from_channels(dataset, place.folder, shown)


def open_raw(dataset: DataSet) -> RawData:
    """The arrays of `dataset`; a damaged cache entry is replaced, with a `DamagedFileWarning`."""
    entry = obtain(dataset)
    try:
        return _open_verified(dataset, entry)
    except ChecksumError as error:
        warnings.warn(f"{dataset.name} was damaged in the cache and is fetched again: {error}", DamagedFileWarning, 2)
    _discard_if_damaged(dataset, entry)
    return _open_verified(dataset, obtain(dataset))


@lru_cache(maxsize=16)
def _open_verified(dataset: DataSet, entry: cache.Entry) -> RawData:
    """The arrays of `entry`; every byte is hashed, hence cached: once per process."""
    arrays = cache.open_arrays(entry)
    source = DataSource(dataset.name, entry.channel, entry.folder, entry.checksums.identity)
    parts = {name: getattr(arrays, name) for name in ARRAY_NAMES}
    return RawData(**parts, scale=dataset.scale, source=source)


def _discard_if_damaged(dataset: DataSet, entry: cache.Entry) -> None:
    with cache.locked(entry.folder):
        current = _usable(dataset, _place(dataset))
        if current is None:
            return
        try:
            cache.open_arrays(current)  # another process may have replaced it already
        except ChecksumError:
            shutil.rmtree(entry.folder, ignore_errors=True)


def _place(dataset: DataSet) -> _Place:
    own_copy = _own_copy(dataset)
    if own_copy is None:
        return _Place(cache.root() / dataset.name, None)
    return _Place(cache.root() / "own-copies" / cache_name(dataset, own_copy), own_copy)


def _own_copy(dataset: DataSet) -> Path | None:
    paths = local_paths()
    for name in paths:
        get(name)  # a misspelt name must not be ignored
    return paths.get(dataset.name)


def _usable(dataset: DataSet, place: _Place) -> cache.Entry | None:
    entry = cache.find(place.folder)
    if entry is None or (place.own_copy is None and entry.checksums != dataset.checksums):
        return None
    return entry


def _from_own_copy(dataset: DataSet, folder: Path, own_copy: Path) -> cache.Entry:
    scratch = cache.scratch(folder)
    scratch.mkdir()
    try:
        arrays = read_local(dataset, own_copy, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    check_arrays(dataset, arrays, str(own_copy))
    return cache.write(folder, arrays, f"own copy {own_copy}")


def _from_channels(dataset: DataSet, folder: Path, shown: bool) -> cache.Entry:
    """The entry that the first channel that works gives; the others' failures are noted."""
    failures: list[tuple[Channel, DataError]] = []
    for channel in dataset.channels:
        try:
            with bar(f"{dataset.name}: {channel.title}", shown=shown) as tell:
                arrays = _through(dataset, channel, cache.scratch(folder), tell)
        except DataError as error:
            failures.append((channel, error))
            note(f"{dataset.name}: {channel.title} did not work: {error}", shown=shown)
            continue
        entry = cache.write(folder, arrays, channel.title)
        note(f"{dataset.name}: from {channel.title}, verified, in {folder}", shown=shown)
        return entry
    raise _no_channel(dataset, failures)


def _through(dataset: DataSet, channel: Channel, scratch: Path, tell: Tell) -> Arrays:
    """The arrays that `channel` brings, verified against the published checksums."""
    scratch.mkdir()
    try:
        files = find_files(channel.download(scratch, tell), channel.format.files, scratch)
        arrays = channel.format.decode(files)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    check_arrays(dataset, arrays, channel.title)
    actual = checksums(arrays)
    for name in ARRAY_NAMES:
        expected, came = getattr(dataset.checksums, name), getattr(actual, name)
        if came != expected:
            raise ChecksumError(
                f"the decoded {name} from {channel.title} should have sha256 {expected}, but have {came}; "
                "they were not kept"
            )
    return arrays


def _no_channel(dataset: DataSet, failures: list[tuple[Channel, DataError]]) -> DataError:
    """The error that says what was tried, what each channel lacked, and what works without a network."""
    tried = "; ".join(f"({number}) {channel.title}: {error}" for number, (channel, error) in enumerate(failures, 1))
    altered = [error for _, error in failures if not isinstance(error, ChannelError)]
    kind = ChecksumError if any(isinstance(error, ChecksumError) for error in altered) else DataError
    return kind(
        f"{dataset.name} could not be fetched. Tried: {tried}. With your own copy, use --data {dataset.name}=PATH; "
        f"without a network, use {' or '.join(offline_names())}."
    )


def _status(dataset: DataSet) -> DataStatus:
    own = _own_copy(dataset)
    if own is not None and not own.exists():
        return DataStatus(dataset.name, False, 0, (f"own copy {own}, which does not exist",), own, None)
    place = _place(dataset)
    entry = _usable(dataset, place)
    channels = tuple(channel.title for channel in dataset.channels) if own is None else (f"own copy {own}",)
    identity = entry.checksums.identity if entry else dataset.identity if own is None else None
    return DataStatus(dataset.name, entry is not None, entry.bytes if entry else 0, channels, place.folder, identity)
