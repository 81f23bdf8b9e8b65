"""From a data set to the tensors of one cohort: one pool of images for all replicas, one subset of it for each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refute.datasets import cache
from refute.datasets.dataset import DataSet
from refute.datasets.fetching import RawData, open_raw
from refute.datasets.find import get
from refute.datasets.transforms import average_pool, grayscale, label_noise, moments, standardize, subsample
from refute.errors import UsageError
from refute.randomness import stream

POOLS_KEPT = 8
"""Pools kept open per process; they are memory-mapped and cost address space only."""
COPIES_KEPT = 2
"""Pools kept on a GPU, where each one is a copy: all of CIFAR-10 takes 0.74 GB."""

VIEWS = "views"
"""Folder of the cache with the decoded pools, which all processes of a machine share."""
DECODING = 1
"""Number of the way in which images are decoded; another one never reads what this one wrote."""
PARTS = ("train_inputs", "test_inputs")


class Batch(NamedTuple):
    """`inputs` (replica, example, *input_shape) float32 and `labels` (replica, example) int64."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """The data of one cohort.

    `inputs`: (pool, *input_shape) float32, the images all replicas draw from, in [0, 1] unless standardized;
    `index`: (replica, train) int64, each replica's own training subset, as rows of `inputs`;
    `labels`, `clean_labels`: (replica, train) int64, with and without label noise;
    `validation_index`, `validation_labels`: (replica, validation) int64, disjoint from `index` in each row, labels
    without noise; both None if no validation images were asked for;
    `test_inputs` (test, *input_shape), `test_labels` (test,): the same for all replicas, labels without noise;
    `classes`: how many; `input_shape`: (channel, height, width), or (feature,) if flattened;
    `identity`: sha256 of the decoded data set, see `DataSource`.

    Of text (see `documents.load_documents`) the inputs are tokens, int32 (pool, token).
    """

    name: str
    inputs: Tensor
    index: Tensor
    labels: Tensor
    clean_labels: Tensor
    validation_index: Tensor | None
    validation_labels: Tensor | None
    test_inputs: Tensor
    test_labels: Tensor
    classes: int
    input_shape: tuple[int, ...]
    identity: str

    @property
    def replicas(self) -> int:
        """The number of replicas."""
        return len(self.index)

    def batch(self, positions: Tensor) -> Batch:
        """The training examples at `positions` (replica, example) of each replica's own training subset."""
        rows = self.index.gather(1, positions)
        inputs = self.inputs.index_select(0, rows.flatten()).view(*rows.shape, *self.input_shape)
        return Batch(inputs, self.labels.gather(1, positions))

    def first(self, most: int) -> Batch:
        """The first `most` training examples of each replica's own subset, or all of them if there are fewer."""
        positions = torch.arange(min(most, self.index.shape[1]), device=self.index.device)
        return self.batch(positions.expand(self.replicas, -1))

    def take_replicas(self, chosen: slice) -> "Data":
        """The same data for the `chosen` replicas only; the pool is shared, not copied."""
        return replace(
            self,
            index=self.index[chosen],
            labels=self.labels[chosen],
            clean_labels=self.clean_labels[chosen],
            validation_index=None if self.validation_index is None else self.validation_index[chosen],
            validation_labels=None if self.validation_labels is None else self.validation_labels[chosen],
        )


@dataclass(frozen=True, eq=False)
class Pool:
    """All examples of a data set as tensors: inputs float32 (example, *shape), labels int64 (example,)."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


class _View(NamedTuple):
    """How the images are to be seen; part of the key of the pools kept in memory."""

    size: int | None
    grayscale: bool
    standardize: bool
    flatten: bool
    classes: tuple[int, ...] | None


def load(
    name: str,
    *,
    train: int | None,
    seeds: Sequence[int],
    test: int | None = None,
    size: int | None = None,
    validation: int = 0,
    label_noise: Sequence[float] | Tensor | float = 0.0,
    standardize: bool = False,
    flatten: bool = False,
    grayscale: bool = False,
    classes: Sequence[int] | None = None,
    stratified: bool = False,
    device: str = "cpu",
) -> Data:
    """The data of one cohort; replica r is drawn from `seeds[r]` alone, so packing changes nothing, bit for bit.

    `train`: images in each replica's training subset, None for all that validation leaves; without validation, more
    than there are means all. `seeds`: one per replica. `test`: images in the test subset, None or too many for all;
    the subset is fixed, the same for every seed. `size`: height and width after averaging, None as they are.
    `validation`: images per replica that are in no way used for training. `label_noise`: share of wrong training
    labels, one number or one per replica, see `transforms.label_noise`. `standardize`: by mean and standard deviation
    of each colour channel over the whole training pool, after the other transforms. `flatten`: to (feature,).
    `grayscale`: one channel. `classes`: only these, renumbered 0, 1, ... in this order. `stratified`: see
    `transforms.subsample`. `device`: where the tensors go (draws are made on the CPU).

    Raises `UsageError` if the arguments do not fit the data set or each other, and as `fetch`.

    >>> data = load("digits", train=100, seeds=[0, 1], test=200, validation=50)
    >>> data.inputs.shape, data.index.shape, data.test_labels.shape
    (torch.Size([1297, 1, 8, 8]), torch.Size([2, 100]), torch.Size([200]))
    """
    dataset = get(name)
    check_seeds(name, seeds)
    if dataset.kind != "images":
        raise UsageError(f"{name} holds text, not images: load it with load_documents")
    view = _View(size, grayscale, standardize, flatten, None if classes is None else tuple(classes))
    raw = open_raw(dataset)
    pool = _pool(dataset, raw, view)
    if device != "cpu":
        pool = _copied(pool, device)
    return drawn(
        name,
        pool,
        dataset.classes if classes is None else len(classes),
        raw.source.identity,
        train=training_examples(len(pool.labels), train, validation),
        seeds=seeds,
        test=test,
        validation=validation,
        label_noise=label_noise,
        stratified=stratified,
    )


def drawn(
    name: str,
    pool: Pool,
    classes: int,
    identity: str,
    *,
    train: int,
    seeds: Sequence[int],
    validation: int,
    test: int | None = None,
    label_noise: Sequence[float] | Tensor | float = 0.0,
    stratified: bool = False,
) -> Data:
    """The data of one cohort out of a pool, for the arguments of `load`; on the pool's device."""
    device, labels = pool.inputs.device, pool.labels.cpu()
    subset = subsample(labels, train, validation, seeds, f"{name}: training subset", stratified=stratified)
    clean = labels[subset.train]
    shares = _shares(label_noise, len(seeds))
    noisy = _add_label_noise(clean, shares, classes, seeds, f"{name}: label noise")
    kept = _test_rows(name, len(pool.test_labels), test).to(device)
    return Data(
        name=name,
        inputs=pool.inputs,
        index=subset.train.to(device),
        labels=noisy.to(device),
        clean_labels=clean.to(device),
        validation_index=subset.validation.to(device) if validation else None,
        validation_labels=labels[subset.validation].to(device) if validation else None,
        test_inputs=pool.test_inputs if len(kept) == len(pool.test_labels) else pool.test_inputs[kept],
        test_labels=pool.test_labels[kept],
        classes=classes,
        input_shape=tuple(pool.inputs.shape[1:]),
        identity=identity,
    )


_add_label_noise = label_noise  # `drawn` has an argument of that name


def check_seeds(name: str, seeds: Sequence[int]) -> None:
    """Raise `UsageError` if there are none."""
    if not len(seeds):
        raise UsageError(f"{name}: seeds should hold one seed per replica, but is empty")


def training_examples(pool: int, train: int | None, validation: int) -> int:
    """How many of a pool a replica's training subset has: see `load`."""
    if train is None:
        return pool - validation
    return min(train, pool) if validation == 0 else train


def _shares(label_noise: Sequence[float] | Tensor | float, replicas: int) -> list[float]:
    if isinstance(label_noise, int | float):
        return [float(label_noise)] * replicas
    return [float(share) for share in label_noise]


def _test_rows(name: str, available: int, test: int | None) -> Tensor:
    """The rows of the test subset. A fixed shuffle, because the order of test sets can mean something: the first half
    of MNIST's is easier than the second (LeCun's page)."""
    if test is None or test >= available:
        return torch.arange(available)
    if test < 1:
        raise UsageError(f"{name}: test should be at least 1, but is {test}")
    return torch.randperm(available, generator=stream(0, f"{name}: test subset"))[:test]


# The pool ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=POOLS_KEPT)
def _pool(dataset: DataSet, raw: RawData, view: _View) -> Pool:
    """All images of `raw` seen as `view` says. `open_raw` gives the same value as long as the data are the same."""
    train_labels = _labels(dataset, raw.train_labels, view.classes)
    test_labels = _labels(dataset, raw.test_labels, view.classes)
    named = f"{DECODING} {raw.source.identity} {view._replace(flatten=False)}"
    folder = cache.root() / VIEWS / f"{dataset.name}-{hashlib.sha256(named.encode()).hexdigest()[:16]}"
    inputs = [torch.from_numpy(array) for array in cache.shared(folder, PARTS, lambda: _decode(raw, view))]
    train, test = (part.flatten(1) for part in inputs) if view.flatten else inputs
    return Pool(train, train_labels, test, test_labels)


@lru_cache(maxsize=COPIES_KEPT)
def _copied(pool: Pool, device: str) -> Pool:
    return Pool(*(tensor.to(device) for tensor in (pool.inputs, pool.labels, pool.test_inputs, pool.test_labels)))


def _decode(raw: RawData, view: _View) -> list[cache.FloatArray]:
    """Training and test images, each (image, channel, height, width) float32."""
    train_images, test_images = raw.train_images, raw.test_images
    if view.classes is not None:
        train_images = train_images[np.isin(raw.train_labels, view.classes)]
        test_images = test_images[np.isin(raw.test_labels, view.classes)]
    train, test = _see(train_images, raw.scale, view), _see(test_images, raw.scale, view)
    if view.standardize:
        statistics = moments(train)
        train, test = standardize(train, statistics), standardize(test, statistics)
    return [train.numpy(), test.numpy()]


def _see(images: NDArray[np.uint8], scale: int, view: _View) -> Tensor:
    """(image, channel, height, width) float32 in [0, 1]."""
    stacked = images[..., None] if images.ndim == 3 else images
    pixels = torch.from_numpy(stacked.transpose(0, 3, 1, 2).astype(np.float32, order="C")).div_(scale)
    if view.grayscale:
        pixels = grayscale(pixels)
    return pixels if view.size is None else average_pool(pixels, view.size)


def _labels(dataset: DataSet, labels: NDArray[np.int64], classes: tuple[int, ...] | None) -> Tensor:
    """The labels of the images of `classes` only, renumbered in that order."""
    if classes is None:
        return torch.from_numpy(np.array(labels))
    if len(set(classes)) != len(classes) or not set(classes) <= set(range(dataset.classes)) or not classes:
        raise UsageError(
            f"{dataset.name}: classes should be different numbers in 0..{dataset.classes - 1}, but are {list(classes)}"
        )
    renumbered = np.full(dataset.classes, -1, dtype=np.int64)
    renumbered[list(classes)] = np.arange(len(classes))
    return torch.from_numpy(renumbered[labels[np.isin(labels, classes)]])
