"""One table of tests over every data set; the content itself is checked where a package registry answers."""

import re
from pathlib import Path

import numpy as np
import pytest

import refute.datasets
from refute import datasets
from refute.datasets.dataset import ARRAY_NAMES
from refute.datasets.digits import published_order
from refute.errors import DataError, UnknownNameError

KNOWN_MEANS = {  # of the training pixels in [0, 1], per colour channel, as widely published
    "mnist": [0.1307],
    "fashion-mnist": [0.2860],
    "cifar10": [0.4914, 0.4822, 0.4465],
}
TRAIN_COUNTS = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "fashion-mnist": [6000] * 10,
    "cifar10": [5000] * 10,
    "imdb": [9932, 9972],
}


def test_every_file_with_a_data_set_is_found() -> None:
    folder = Path(refute.datasets.__file__).parent
    files = [path for path in folder.glob("*.py") if re.search(r"^DATASET = ", path.read_text(), re.MULTILINE)]
    assert len(files) == len(datasets.names()) == 5
    assert {path.stem.replace("_", "-") for path in files} == set(datasets.names())


@pytest.mark.parametrize("name", datasets.names())
def test_description_is_complete(name: str) -> None:
    dataset = datasets.get(name)
    assert dataset.name == name
    assert dataset.title
    assert dataset.source
    assert dataset.licence
    assert dataset.url.startswith("http")
    assert dataset.channels
    assert (
        len(dataset.class_names)
        == len(set(dataset.class_names))
        == dataset.classes
        == (2 if dataset.kind == "text" else 10)
    )
    sums = [getattr(dataset.checksums, part) for part in ARRAY_NAMES]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in [*sums, dataset.identity])
    assert len(set(sums)) == 4
    assert hash(dataset) == hash(datasets.get(name))


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fashion-mnist'"):
        datasets.get("fashionmnist")


def test_digits_split() -> None:
    raw = datasets.raw("digits")
    assert raw.train_images.shape == (1297, 8, 8)
    assert np.bincount(raw.test_labels).tolist() == [50] * 10
    assert raw.scale == raw.train_images.max() == 16
    assert raw.source.identity == datasets.get("digits").identity
    order = published_order(1797)
    assert sorted(order) == list(range(1797))
    assert order[:5].tolist() == PINNED_ORDER


PINNED_ORDER = [620, 1385, 735, 1777, 963]


@pytest.mark.network
@pytest.mark.parametrize("name", list(TRAIN_COUNTS))
def test_fetched_for_real(name: str) -> None:
    dataset = datasets.get(name)
    try:
        raw = datasets.raw(name)
    except DataError as error:
        pytest.skip(str(error))
    assert raw.train_images.shape == (dataset.train_size, *dataset.shape)
    assert raw.test_images.shape == (dataset.test_size, *dataset.shape)
    assert np.bincount(raw.train_labels).tolist() == TRAIN_COUNTS[name]
    if dataset.kind == "images":
        pixels = raw.train_images.reshape(-1, len(KNOWN_MEANS[name]))
        assert np.abs(pixels.mean(axis=0) / raw.scale - KNOWN_MEANS[name]).max() < 5e-5
    assert raw.source.identity == dataset.identity
