"""Handwritten digits, 8x8: the offline default, inside scikit-learn.

scikit-learn ships the 1,797 test images of the UCI set without a split. The split here is fixed and needs no random
generator: rows are put in the order of sha256("refute digits ROW"), and the first 50 rows of each class in that order
are the test set (500 images); the other 1,297, in the same order, are the training set.
"""

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refute.datasets.channels import InstalledFile
from refute.datasets.dataset import Arrays, Checksums, DataSet, Format
from refute.errors import DataError

TEST_PER_CLASS = 50


def published_order(rows: int) -> NDArray[np.int64]:
    """The fixed permutation (row,): rows in the order of sha256("refute digits ROW")."""
    keys = [hashlib.sha256(f"refute digits {row}".encode()).digest() for row in range(rows)]
    return np.array(sorted(range(rows), key=keys.__getitem__), dtype=np.int64)


def _decode(files: Mapping[str, Path]) -> Arrays:
    path = files["digits.csv"]
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open("rt") as stream:
            table = np.loadtxt(stream, delimiter=",").astype(np.int64)  # 64 pixels 0..16, then the label
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} should be a table of 65 comma-separated numbers per row: {error}") from error
    table = table[published_order(len(table))]
    images, labels = table[:, :64].reshape(-1, 8, 8).astype(np.uint8), table[:, 64]
    position = np.zeros(len(labels), dtype=np.int64)  # of each row among those of its class
    for label in np.unique(labels):
        position[labels == label] = np.arange(np.sum(labels == label))
    test = position < TEST_PER_CLASS
    return Arrays(images[~test], labels[~test], images[test], labels[test])


CSV = Format("table of 65 columns", ("digits.csv",), _decode)

DATASET = DataSet(
    name="digits",
    title="Optical recognition of handwritten digits (8x8)",
    source="E. Alpaydin & C. Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning "
    "Repository, doi:10.24432/C50P49",
    url="https://archive.ics.uci.edu/dataset/80",
    licence="CC BY 4.0 (UCI); distributed with scikit-learn (BSD-3-Clause)",
    shape=(8, 8),
    class_names=tuple("0123456789"),
    train_size=1297,
    test_size=500,
    scale=16,
    channels=(
        InstalledFile(
            "sklearn",
            "datasets/data/digits.csv.gz",
            sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
            format=CSV,
        ),
    ),
    local=CSV,
    checksums=Checksums(
        train_images="35e5b282f1a490a33717d920fb908de2b8e1249585a3e86ead9e18932bfe0da0",
        train_labels="8938525c0a04228b0ccdc5a3bd6e6be85fade4c2215d8ffa528e9da231e2fba9",
        test_images="6449602518a8ab98b0dfcecb02e05c4601bb8c6db136bb1ed827c1852936404f",
        test_labels="c6a00732c6249faa495de053593fc74b8dd2c3738021e8c8e7631d8bc72471de",
    ),
)
