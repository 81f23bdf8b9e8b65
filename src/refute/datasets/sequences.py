"""Made sequences of tokens whose label is a sum of evidence: controls with known truth for nets that read text.

Forty words, tokens 1 to 40 (0 is padding, as in `documents`), stand for evidence. Source: specification
rnn-line-attractor, D1 and D2.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from refute.datasets.loading import Batch, Data
from refute.errors import UsageError
from refute.randomness import stream

Task = Literal["evidence", "last", "three", "shuffled"]
"""Label: the sign of the summed evidence; the sign of the last word that has any; the class with most evidence; a coin.
"""

WORDS = 40
SPARE = 1.3
"""Sequences drawn for each one wanted, because ties are thrown away: fewer than 10 % at 5 words and more."""
SHARES = (0.3, 0.4, 0.6, 0.7)
"""Shares of tokens that speak for class 1 in sequences of images."""


def word_evidence(task: Task) -> Tensor:
    """Evidence of token t in row t - 1: (40,) for class 1, or (40, 3) for each of three classes.

    >>> word_evidence("evidence").unique().tolist(), word_evidence("three").sum(dim=0).tolist()
    ([-2.0, -1.0, 0.0, 1.0, 2.0], [18.0, 18.0, 18.0])
    """
    if task != "three":
        return torch.arange(-2.0, 3.0).repeat_interleave(WORDS // 5)
    evidence = torch.zeros(WORDS, 3)
    for word in range(36):  # the last four words speak for nothing
        evidence[word, word % 3] = 1.0 + (word // 3) % 2
    return evidence


def word_sequences(task: Task, number: int, length: int, seeds: Sequence[int], purpose: str) -> Batch:
    """Sequences of words that are independent and equally likely, without ties; each replica's from its own stream.

    Returns:
        inputs int32 (replica, sequence, length), labels (replica, sequence).

    Raises:
        UsageError: fewer than 5 words.

    >>> word_sequences("evidence", 3, 7, [0, 1], "test").inputs.shape
    torch.Size([2, 3, 7])
    """
    if length < 5:
        raise UsageError(f"length must be at least 5, {length} came")
    drawn = [_words(task, number, length, stream(seed, purpose)) for seed in seeds]
    return Batch(torch.stack([tokens for tokens, _ in drawn]), torch.stack([labels for _, labels in drawn]))


def _words(task: Task, number: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, WORDS + 1, (int(number * SPARE) + 100, length), generator=generator, dtype=torch.int32)
    evidence = word_evidence(task)[tokens.long() - 1]
    if task == "three":
        best = evidence.sum(dim=1).topk(2, dim=1)
        sound, labels = best.values[:, 0] > best.values[:, 1], best.indices[:, 0]
    elif task == "last":
        informative = evidence != 0
        last = length - 1 - informative.flip(1).to(torch.uint8).argmax(dim=1)
        sound = informative.any(dim=1)
        labels = (evidence.gather(1, last.unsqueeze(1)).squeeze(1) > 0).long()
    else:
        total = evidence.sum(dim=1)
        sound, labels = total != 0, (total > 0).long()
    tokens, labels = tokens[sound][:number], labels[sound][:number]
    if task == "shuffled":
        labels = torch.randint(0, 2, (number,), generator=generator)
    return tokens, labels


def image_sequences(
    classes: Tensor, number: int, length: int, seeds: Sequence[int], purpose: str, *, first: int = 1
) -> Batch:
    """Sequences of images; an image of the lower half of the classes speaks for class 1, any other for class 0.

    Every sequence has its own share of images for class 1 out of .3, .4, .6, .7; the label is the majority.

    Args:
        classes: of the images to draw from, (image,); image i is token `first` + i.
        number: of sequences.
        length: of each, odd.
        seeds: one per replica.
        purpose: of the stream.
        first: token of the first image.

    Raises:
        UsageError: an even length, which has ties.

    >>> image_sequences(torch.arange(10), 4, 3, [0], "test").inputs.shape
    torch.Size([1, 4, 3])
    """
    if length % 2 == 0:
        raise UsageError(f"length must be odd so that there are no ties, {length} came")
    speaks = classes < (int(classes.max()) + 1) // 2
    sides = [(~speaks).nonzero().flatten(), speaks.nonzero().flatten()]
    inputs, labels = [], []
    for seed in seeds:
        generator = stream(seed, purpose)
        shares = torch.tensor(SHARES)[torch.randint(0, len(SHARES), (number, 1), generator=generator)]
        sign = torch.rand(number, length, generator=generator) < shares
        picks = [side[torch.randint(0, len(side), (number, length), generator=generator)] for side in sides]
        inputs.append((torch.where(sign, picks[1], picks[0]) + first).int())
        labels.append((2 * sign.sum(dim=1) > length).long())
    return Batch(torch.stack(inputs), torch.stack(labels))


def as_data(name: str, train: Batch, test: Batch, classes: int, *, device: str = "cpu") -> Data:
    """Sequences that each replica has for itself as the data of a cohort; `test` is the first replica's."""
    replicas, number, length = train.inputs.shape
    labels = train.labels.to(device)
    return Data(
        name=name,
        inputs=train.inputs.flatten(0, 1).to(device),
        index=torch.arange(replicas * number, device=device).view(replicas, number),
        labels=labels,
        clean_labels=labels,
        validation_index=None,
        validation_labels=None,
        test_inputs=test.inputs[0].to(device),
        test_labels=test.labels[0].to(device),
        classes=classes,
        input_shape=(length,),
        identity=name,
    )
