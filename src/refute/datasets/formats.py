"""File formats: from files on disk to decoded arrays. Nothing that is read here is ever executed."""

import gzip
import json
import lzma
import math
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from refute.datasets.dataset import Arrays, Format
from refute.errors import DataError

SEARCH_DEPTH = 3  # a data set's files lie at most this deep in the folder a user names (torchvision: MNIST/raw/)


# Finding files -----------------------------------------------------------------------------------------------------


def find_files(path: Path, names: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """From each base name in `names` to a file, looked for in the folder or archive `path`.

    Each may have `.gz` appended. Members of an archive (tar, compressed or not, or zip) are unpacked into `folder`
    under their base names, so that no path written in an archive is ever followed.

    Raises `DataError` if `path` is neither folder nor archive, or a file is missing or there twice.
    """
    found = files_in_folder(path, names) if path.is_dir() else _unpack(path, names, folder)
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{path} should hold {_listing(names)}; missing: {', '.join(missing)}")
    return found


def _listing(names: tuple[str, ...]) -> str:
    return ", ".join(names) + " (each may end in .gz)"


def files_in_folder(path: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Those of `names`, each perhaps with `.gz` appended, that lie in `path` or a little deeper.

    Raises `DataError` if two folders hold the same name: nothing says which is meant.
    """
    found: dict[str, Path] = {}
    for depth in range(SEARCH_DEPTH):
        for file in sorted(path.glob("*/" * depth + "*")):
            name = file.name.removesuffix(".gz")
            if name not in names or not file.is_file():
                continue
            if name in found and found[name].parent != file.parent:
                raise DataError(f"{path} holds {name} twice ({found[name]} and {file}): name the folder itself")
            found.setdefault(name, file)
    return found


def _unpack(path: Path, names: tuple[str, ...], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    try:
        for member, stream in _members(path):
            name = member.removesuffix(".gz")
            if name not in names:
                continue
            if name in found:
                raise DataError(f"{path} holds {name} twice")
            found[name] = folder / member
            with found[name].open("wb") as target:
                shutil.copyfileobj(stream, target)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} should be a folder, a tar or a zip that holds {_listing(names)}: {error}") from error
    return found


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(base name, open file) of every plain file in an archive, in one pass."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as stream:
                        yield PurePosixPath(entry.filename).name, stream
        return
    with tarfile.open(path, "r|*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield PurePosixPath(member.name).name, content


def read(path: Path) -> bytes:
    """The bytes of `path`, decompressed if its name ends in .gz."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


# IDX (MNIST and its relatives) -------------------------------------------------------------------------------------

IDX_UINT8 = 0x08  # third byte of the magic number: unsigned bytes; the fourth byte is the number of axes
IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def decode_idx(data: bytes, origin: str) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes.

    Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format": two zero bytes, type, number of axes, then each
    axis length as big-endian uint32, then the values in C order.
    Raises `DataError` if the header or the length is not that.
    """
    if len(data) < 4 or data[:3] != bytes([0, 0, IDX_UINT8]):
        raise DataError(f"{origin} should be an IDX file of unsigned bytes (00 00 08 ..), but starts with {data[:4]!r}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{origin} should have a header of {start} bytes, but has {len(data)} bytes in all")
    shape = tuple(int(length) for length in np.frombuffer(data[4:start], dtype=">u4"))
    if len(data) - start != math.prod(shape):
        raise DataError(f"{origin} should hold {shape} bytes after its header, but holds {len(data) - start}")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _decode_idx_files(files: Mapping[str, Path]) -> Arrays:
    parts = {part: decode_idx(read(files[name]), files[name].name) for part, name in IDX_FILES.items()}
    return Arrays(
        train_images=parts["train_images"],
        train_labels=parts["train_labels"].astype(np.int64),
        test_images=parts["test_images"],
        test_labels=parts["test_labels"].astype(np.int64),
    )


IDX = Format("IDX files", tuple(IDX_FILES.values()), _decode_idx_files)


# CIFAR-10, binary version ------------------------------------------------------------------------------------------

CIFAR_SHAPE = (3, 32, 32)  # one image as stored: red plane, green plane, blue plane
CIFAR_TRAIN_FILES = tuple(f"data_batch_{batch}.bin" for batch in range(1, 6))
CIFAR_TEST_FILE = "test_batch.bin"


def decode_cifar_records(data: bytes, origin: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(images (image, 32, 32, 3), labels (image,)) of a file of records: one label byte, then 3072 bytes of planes.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html, "binary version". Raises `DataError` on a partial record.
    """
    record = 1 + math.prod(CIFAR_SHAPE)
    if not data or len(data) % record:
        raise DataError(f"{origin} should hold records of {record} bytes, but has {len(data)} bytes")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, record)
    return rows[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1), rows[:, 0].astype(np.int64)


def _decode_cifar_binary(files: Mapping[str, Path]) -> Arrays:
    train = [decode_cifar_records(read(files[name]), name) for name in CIFAR_TRAIN_FILES]
    test_images, test_labels = decode_cifar_records(read(files[CIFAR_TEST_FILE]), CIFAR_TEST_FILE)
    return Arrays(
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=np.ascontiguousarray(test_images),
        test_labels=test_labels,
    )


CIFAR_BINARY = Format("CIFAR-10 binary version", (*CIFAR_TRAIN_FILES, CIFAR_TEST_FILE), _decode_cifar_binary)


# CIFAR-10 as PNG sheets --------------------------------------------------------------------------------------------

PNG_TRAIN_SHEETS = tuple(f"data_batch_{batch}.png" for batch in range(1, 6))
PNG_TEST_SHEET = "test_batch.png"
PNG_TRAIN_LABELS, PNG_TEST_LABELS = "train_lables.json", "test_lables.json"  # so spelt in the package


def _decode_sheet(path: Path) -> NDArray[np.uint8]:
    """(image, 32, 32, 3) from a picture each row of which is one image, its 1024 pixels in C order."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"), dtype=np.uint8).reshape(-1, 32, 32, 3)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.name} should be a picture with one 32x32 image per row of 1024 pixels: {error}"
        ) from error


def _decode_labels(path: Path) -> NDArray[np.int64]:
    """(image,) from a JSON list of class numbers."""
    try:
        return np.array(json.loads(read(path)), dtype=np.int64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path.name} should be a JSON list of class numbers: {error}") from error


def _decode_cifar_sheets(files: Mapping[str, Path]) -> Arrays:
    return Arrays(
        train_images=np.concatenate([_decode_sheet(files[name]) for name in PNG_TRAIN_SHEETS]),
        train_labels=_decode_labels(files[PNG_TRAIN_LABELS]),
        test_images=_decode_sheet(files[PNG_TEST_SHEET]),
        test_labels=_decode_labels(files[PNG_TEST_LABELS]),
    )


CIFAR_SHEETS = Format(
    "CIFAR-10 as PNG sheets",
    (*PNG_TRAIN_SHEETS, PNG_TEST_SHEET, PNG_TRAIN_LABELS, PNG_TEST_LABELS),
    _decode_cifar_sheets,
)


# NumPy archive (a user's own copy) ---------------------------------------------------------------------------------

NPZ_NAMES = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}


def decode_npz(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> Arrays:
    """The arrays of a `.npz` with x_train, y_train, x_test, y_test (images of whole numbers, labels of classes).

    `shape` is that of one image, `dtype` what its numbers must fit into (uint16 for tokens); a last axis of length 1
    too many, of images or labels, is dropped.
    Raises `DataError` if a name is missing or an array does not hold whole numbers.
    """
    parts = _read_npz(path)
    most = np.iinfo(dtype).max
    for part, array in parts.items():
        if array.dtype.kind not in "ui":
            raise DataError(f"{path}: {NPZ_NAMES[part]} should hold whole numbers, but is {array.dtype}")
        if part.endswith("images") and array.size and (array.min() < 0 or array.max() > most):
            raise DataError(
                f"{path}: {NPZ_NAMES[part]} should lie in 0..{most}, but ranges {array.min()}..{array.max()}"
            )
    return Arrays(
        train_images=_drop_last(parts["train_images"], 1 + len(shape)).astype(dtype),
        train_labels=_drop_last(parts["train_labels"], 1).astype(np.int64),
        test_images=_drop_last(parts["test_images"], 1 + len(shape)).astype(dtype),
        test_labels=_drop_last(parts["test_labels"], 1).astype(np.int64),
    )


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {part: archive[name] for part, name in NPZ_NAMES.items()}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} should hold the arrays {', '.join(NPZ_NAMES.values())}: {error}") from error


def _drop_last(array: NDArray[np.generic], axes: int) -> NDArray[np.generic]:
    return array[..., 0] if array.ndim == axes + 1 and array.shape[-1] == 1 else array
