"""A small made-up data set, and the files of it in every format that refute reads. Nothing here needs a network."""

import gzip
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from refute.datasets import find
from refute.datasets.channels import ChannelError
from refute.datasets.dataset import Arrays, Channel, DataSet, Format, checksums
from refute.datasets.formats import CIFAR_BINARY, CIFAR_TEST_FILE, CIFAR_TRAIN_FILES, IDX, IDX_FILES


def make_arrays(shape: tuple[int, ...] = (28, 28), train: int = 60, test: int = 20, seed: int = 0) -> Arrays:
    generator = np.random.default_rng(seed)
    return Arrays(
        generator.integers(0, 256, (train, *shape), dtype=np.uint8),
        generator.permutation(np.arange(train) % 10),
        generator.integers(0, 256, (test, *shape), dtype=np.uint8),
        generator.permutation(np.arange(test) % 10),
    )


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(arrays: Arrays, folder: Path, *, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in IDX_FILES.items():
        data = idx_bytes(getattr(arrays, part))
        (folder / f"{name}{'.gz' * compressed}").write_bytes(gzip.compress(data) if compressed else data)
    return folder


def write_cifar(arrays: Arrays, folder: Path) -> Path:
    """The binary version, training images dealt out over the five batch files."""
    folder.mkdir(parents=True, exist_ok=True)
    fifth = len(arrays.train_images) // 5
    for batch, name in enumerate(CIFAR_TRAIN_FILES):
        part = slice(batch * fifth, (batch + 1) * fifth)
        (folder / name).write_bytes(cifar_records(arrays.train_images[part], arrays.train_labels[part]))
    (folder / CIFAR_TEST_FILE).write_bytes(cifar_records(arrays.test_images, arrays.test_labels))
    return folder


def cifar_records(images: np.ndarray, labels: np.ndarray) -> bytes:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1).tobytes()


def write_tar(folder: Path, path: Path, inside: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=inside)
    return path


def write_npz(arrays: Arrays, path: Path) -> Path:
    np.savez(
        path,
        x_train=arrays.train_images,
        y_train=arrays.train_labels,
        x_test=arrays.test_images,
        y_test=arrays.test_labels,
    )
    return path


@dataclass(frozen=True)
class FolderChannel:
    """A channel that hands out a folder on disk, notes each download, and can be made to fail."""

    folder: Path
    log: Path
    title: str = "test folder"
    format: Format = IDX
    offline: bool = False
    failure: str = ""
    seconds: float = 0.0

    def download(self, _folder: Path, _tell: Callable[[int, int], None]) -> Path:
        with self.log.open("a") as stream:
            stream.write("download\n")
        time.sleep(self.seconds)
        if self.failure:
            raise ChannelError(self.failure)
        return self.folder


def make_dataset(arrays: Arrays, *channels: Channel, name: str = "mnist") -> DataSet:
    """`name` with other content: the catalogue's value, but for sizes, channels and checksums."""
    return replace(find.get(name), channels=channels, checksums=checksums(arrays), local=LOCAL[name])


LOCAL = {"mnist": IDX, "fashion-mnist": IDX, "cifar10": CIFAR_BINARY}
