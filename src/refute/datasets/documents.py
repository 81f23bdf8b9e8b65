"""Text as tokens: words are numbered by a vocabulary that is built from the training documents alone.

Token 0 is padding and stands in front of a document, so that every document ends at the last place; token 1 is a word
that is not in the vocabulary; the others follow by falling number of occurrences, so that a smaller vocabulary is got
from a larger one by calling the rarer words unknown.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refute.datasets.fetching import open_raw
from refute.datasets.find import get
from refute.datasets.loading import Data, Pool, check_seeds, drawn
from refute.errors import UsageError
from refute.randomness import stream

PADDING, UNKNOWN, WORDS = 0, 1, 2
"""Tokens: nothing, a word outside the vocabulary, and the first word of it."""
WORD = re.compile(rb"[a-z]+(?:'[a-z]+)?")
MARKUP = re.compile(rb"<[^<>]*>")


def words_of(text: str) -> list[str]:
    """The words of a text: runs of the letters a to z, lower-cased, apostrophes inside a word kept, markup left out.

    >>> words_of("It isn't <br />GOOD at all.")
    ['it', "isn't", 'good', 'at', 'all']
    """
    plain = MARKUP.sub(b" ", text.encode("ascii", "replace").lower())
    return [word.decode() for word in WORD.findall(plain)]


def vocabulary(documents: Sequence[Sequence[str]], size: int) -> dict[str, int]:
    """Word -> token, of the `size` - 2 words that occur most often (of equals the first in the alphabet).

    >>> vocabulary([["b", "a", "b"], ["c", "a"]], 4)
    {'a': 2, 'b': 3}
    """
    counts = Counter(word for document in documents for word in document)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: token for token, word in enumerate(ordered[: size - WORDS], WORDS)}


def encode(documents: Sequence[Sequence[str]], tokens: dict[str, int], length: int) -> NDArray[np.uint16]:
    """The last `length` words of each document as tokens, (document, length), padding in front.

    >>> encode([["a", "x", "b"], ["b"]], {"a": 2, "b": 3}, 2).tolist()
    [[1, 3], [0, 3]]
    """
    found = np.full((len(documents), length), PADDING, dtype=np.uint16)
    for row, document in zip(found, documents, strict=True):
        last = [tokens.get(word, UNKNOWN) for word in document[-length:]]
        row[length - len(last) :] = last
    return found


def load_documents(
    name: str,
    *,
    train: int | None,
    seeds: Sequence[int],
    words: int,
    length: int,
    test: int | None = None,
    validation: int = 0,
    device: str = "cpu",
) -> Data:
    """Documents of a cohort; replica r is drawn from `seeds[r]` alone, so packing changes nothing.

    Args:
        name: of a data set of text.
        train: documents in each replica's training subset, None for all that validation leaves.
        seeds: one per replica.
        words: size of the vocabulary, padding and unknown included; rarer words become unknown.
        length: tokens of a document: its last ones.
        test: documents in the test subset, the same for all; None or too many for all.
        validation: documents per replica that are in no way used for training.
        device: where the tensors go.

    Returns:
        `Data` whose inputs are tokens, int32 (pool, length).

    Raises:
        UsageError: the data set holds no text, or has fewer words, tokens or documents; also as `fetch`.
    """
    dataset = get(name)
    if dataset.kind != "text":
        raise UsageError(f"{name} holds images, not text: load it with load")
    check_seeds(name, seeds)
    if not WORDS < words <= dataset.scale + 1:
        raise UsageError(f"{name}: words should lie in {WORDS + 1}..{dataset.scale + 1}, but is {words}")
    if not 1 <= length <= dataset.shape[0]:
        raise UsageError(f"{name}: length should lie in 1..{dataset.shape[0]}, but is {length}")
    if test is not None and test < 1:
        raise UsageError(f"{name}: test should be at least 1, but is {test}")
    raw = open_raw(dataset)
    labels = torch.from_numpy(np.array(raw.train_labels))
    order = torch.randperm(len(raw.test_labels), generator=stream(0, f"{name}: test subset"))
    kept = order[: len(order) if test is None else test]
    pool = Pool(
        _cut(raw.train_images, words, length).to(device),
        labels.to(device),
        _cut(raw.test_images, words, length)[kept].to(device),
        torch.from_numpy(np.array(raw.test_labels))[kept].to(device),
    )
    wanted = len(labels) - validation if train is None else train
    return drawn(name, pool, dataset.classes, raw.source.identity, train=wanted, seeds=seeds, validation=validation)


def _cut(documents: NDArray[np.uint16], words: int, length: int) -> Tensor:
    tokens = torch.from_numpy(documents[:, documents.shape[1] - length :].astype(np.int32))
    tokens[tokens >= words] = UNKNOWN
    return tokens
