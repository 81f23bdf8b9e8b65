"""A user's own copy of a data set, instead of a channel.

The choice lives in the environment variable REFUTE_DATA_LOCAL ("mnist=PATH:cifar10=PATH", with the system's path
separator) and nowhere else, so that worker processes inherit it.
"""

import hashlib
import os
from pathlib import Path

from refute.datasets.dataset import Arrays, DataSet
from refute.datasets.formats import decode_npz, files_in_folder, find_files
from refute.errors import DataError, UsageError

LOCAL_VARIABLE = "REFUTE_DATA_LOCAL"


def local_paths() -> dict[str, Path]:
    """From data set name to the user's own copy. Raises `UsageError` if the variable is not NAME=PATH entries."""
    paths: dict[str, Path] = {}
    for entry in filter(None, os.environ.get(LOCAL_VARIABLE, "").split(os.pathsep)):
        name, equals, path = entry.partition("=")
        if not (name and equals and path):
            raise UsageError(f"{LOCAL_VARIABLE} should hold NAME=PATH{os.pathsep}NAME=PATH..., but holds {entry!r}")
        paths[name] = Path(path)
    return paths


def set_local_path(name: str, path: Path) -> None:
    """From now on, in this process and its children, data set `name` is read from `path`.

    Raises `UsageError` if the path holds the character that separates paths.
    """
    if os.pathsep in str(path):
        raise UsageError(f"{name}: a path with {os.pathsep!r} cannot be used here: {path}")
    paths = local_paths() | {name: path.absolute()}
    os.environ[LOCAL_VARIABLE] = os.pathsep.join(f"{key}={value}" for key, value in paths.items())


def cache_name(dataset: DataSet, path: Path) -> str:
    """A name for the decoded arrays of this copy: another path, size or time of change gives another name.

    Raises `DataError` if there is nothing at `path`, or a folder holds the data set twice.
    """
    if not path.exists():
        raise DataError(f"{dataset.name}: your own copy {path} does not exist (named by --data or {LOCAL_VARIABLE})")
    files = [path] if path.is_file() else list(files_in_folder(path, dataset.local.files).values())
    facts = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{dataset.name}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"


def read_local(dataset: DataSet, path: Path, folder: Path) -> Arrays:
    """The arrays in the user's own copy at `path`: a `.npz`, or a folder or archive in the data set's local format.

    `folder` takes what has to be unpacked. Raises `DataError`.
    """
    if path.suffix == ".npz":
        return decode_npz(path, dataset.shape, dataset.dtype)
    return dataset.local.decode(find_files(path, dataset.local.files, folder))
