"""Words, vocabulary, tokens and the documents of a cohort, against counts made by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refute import datasets
from refute.datasets import imdb
from refute.datasets.dataset import Arrays, checksums
from refute.datasets.documents import PADDING, UNKNOWN, encode, load_documents, vocabulary, words_of
from refute.errors import DataError, UsageError

POSITIVE, NEGATIVE = "a <br />good film, isn't it", "a BAD, bad film"


def test_words_are_lower_case_runs_of_letters() -> None:
    assert words_of("Don't... stop<br /><br />2 NIGHT! caf\u00e9 'so'") == ["don't", "stop", "night", "caf", "so"]
    assert words_of("") == []


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=9), min_size=1, max_size=9), st.integers(3, 9))
def test_vocabulary_is_ordered_by_count_and_encoding_keeps_the_ends(documents: list[list[str]], size: int) -> None:
    tokens = vocabulary(documents, size)
    counts = Counter(word for document in documents for word in document)
    kept = sorted(tokens, key=tokens.__getitem__)
    assert [tokens[word] for word in kept] == list(range(2, 2 + len(kept)))
    assert kept == [word for word, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))][: size - 2]
    found = encode(documents, tokens, 5)
    names = {token: word for word, token in tokens.items()}
    for row, document in zip(found, documents, strict=True):
        assert (row[: max(0, 5 - len(document))] == PADDING).all()
        for token, word in zip(row[::-1], document[::-1], strict=False):
            assert names.get(int(token), word) == word
            assert (token == UNKNOWN) == (word not in tokens)


def make_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: int = 40, test: int = 12) -> Arrays:
    """The data set imdb with other content, in the cache of this test."""
    generator = np.random.default_rng(0)
    parts = [generator.integers(0, 50, (number, 400)).astype(np.uint16) for number in (train, test)]
    labels = [np.arange(number) % 2 for number in (train, test)]
    arrays = Arrays(parts[0], labels[0], parts[1], labels[1])
    path = tmp_path / "own.npz"
    np.savez(path, x_train=parts[0], y_train=labels[0], x_test=parts[1], y_test=labels[1])
    monkeypatch.setenv("REFUTE_DATA_LOCAL", f"imdb={path}")
    return arrays


def test_documents_of_a_cohort_do_not_depend_on_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = make_text(tmp_path, monkeypatch)
    whole = load_documents("imdb", train=20, seeds=[3, 4], words=30, length=7, validation=10, test=5)
    alone = load_documents("imdb", train=20, seeds=[4], words=30, length=7, validation=10, test=5)
    assert torch.equal(whole.index[1:], alone.index)
    assert not torch.equal(whole.index[0], whole.index[1])
    assert torch.equal(whole.test_inputs, alone.test_inputs)
    assert whole.input_shape == (7,)
    assert whole.validation_index is not None
    assert not set(whole.index[0].tolist()) & set(whole.validation_index[0].tolist())
    expected = np.where(arrays.train_images[:, -7:] < 30, arrays.train_images[:, -7:].astype(np.int64), UNKNOWN)
    assert np.array_equal(whole.inputs.numpy(), expected)
    batch = whole.first(3)
    assert np.array_equal(batch.inputs[0].numpy(), expected[whole.index[0, :3].numpy()])
    assert np.array_equal(batch.labels[0].numpy(), arrays.train_labels[whole.index[0, :3].numpy()])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"words": 2}, r"words should lie in 3\.\.20000, but is 2"),
        ({"length": 401}, r"length should lie in 1\.\.400, but is 401"),
        ({"seeds": []}, "seeds should hold one seed per replica"),
        ({"test": 0}, "test should be at least 1"),
        ({"train": 100}, "train should be at least 1 and train"),
    ],
)
def test_refusals(changed: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_text(tmp_path, monkeypatch)
    given_ = {"train": 10, "seeds": [0], "words": 30, "length": 7, **changed}
    with pytest.raises(UsageError, match=said):
        load_documents("imdb", **given_)  # type: ignore[arg-type]


def test_text_and_images_are_not_mixed_up() -> None:
    with pytest.raises(UsageError, match="digits holds images, not text"):
        load_documents("digits", train=10, seeds=[0], words=30, length=7)
    with pytest.raises(UsageError, match="imdb holds text, not images"):
        datasets.load("imdb", train=10, seeds=[0])


def write_table(path: Path, rows: list[tuple[str, object, str]], header: str = "text,label,source") -> Path:
    lines = [f'"{text}",{label},{source}' for text, label, source in rows]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_reviews_are_split_once_and_numbered_by_the_training_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imdb, "TEST_PER_CLASS", 1)
    kinds = ((POSITIVE, 1, "x"), (NEGATIVE, 0, "y"))
    rows = [(f"{text} {letter * n}", label, "imdb") for n in range(1, 4) for text, label, letter in kinds]
    path = write_table(tmp_path / imdb.TABLE, [*rows, rows[0], ("from elsewhere", 1, "rotten_tomatoes")])
    found = imdb.REVIEWS.decode({imdb.TABLE: path})
    again = imdb.REVIEWS.decode({imdb.TABLE: write_table(tmp_path / "b.csv", rows[::-1])})
    assert checksums(found) == checksums(again)
    assert found.train_images.shape == (4, 400)
    assert found.test_images.shape == (2, 400)
    assert sorted(found.train_labels.tolist()) == [0, 0, 1, 1]
    assert sorted(found.test_labels.tolist()) == [0, 1]
    for row, label in zip(found.train_images, found.train_labels, strict=True):
        assert (row > 0).sum() == (6 if label else 5)
    assert (found.test_images == UNKNOWN).sum(axis=1).tolist() == [1, 1]  # the word that only this review has
    assert UNKNOWN not in found.train_images


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([], "text,label", "should start with the columns text, label, source"),
        ([("a", "good", "imdb")], "text,label,source", "label 0 or 1"),
        ([("a", 1, "imdb")], "text,label,source", "more than 2500 reviews"),
    ],
)
def test_tables_that_are_not_the_reviews(
    rows: list[tuple[str, object, str]], header: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        imdb.REVIEWS.decode({imdb.TABLE: write_table(tmp_path / imdb.TABLE, rows, header)})
