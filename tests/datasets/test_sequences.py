"""Made sequences: labels are recounted from tokens, and packing changes nothing."""

import pytest
import torch

from refute.datasets.sequences import Task, as_data, image_sequences, word_evidence, word_sequences
from refute.errors import UsageError


@pytest.mark.parametrize("length", [5, 25])
def test_labels_are_the_sign_of_the_summed_evidence(length: int) -> None:
    found = word_sequences("evidence", 500, length, [3], "test")
    valence = {token: (token - 1) // 8 - 2 for token in range(1, 41)}
    for tokens, label in zip(found.inputs[0].tolist(), found.labels[0].tolist(), strict=True):
        total = sum(valence[token] for token in tokens)
        assert total != 0
        assert label == (total > 0)
    assert set(found.inputs.unique().tolist()) == set(range(1, 41))
    assert 0.4 < found.labels.double().mean() < 0.6


def test_labels_of_the_last_informative_word() -> None:
    found = word_sequences("last", 300, 9, [3], "test")
    for tokens, label in zip(found.inputs[0].tolist(), found.labels[0].tolist(), strict=True):
        informative = [(token - 1) // 8 - 2 for token in tokens if (token - 1) // 8 != 2]
        assert label == (informative[-1] > 0)


def test_labels_of_three_classes() -> None:
    found = word_sequences("three", 600, 25, [3], "test")
    evidence = word_evidence("three")
    for tokens, label in zip(found.inputs[0].tolist(), found.labels[0].tolist(), strict=True):
        total = sum(evidence[token - 1] for token in tokens)
        assert (total > total[label] - 0.5).sum() == 1  # type: ignore[operator, index]
    assert found.labels[0].bincount().min() > 150


def test_shuffled_labels_say_nothing() -> None:
    plain = word_sequences("evidence", 4000, 25, [3], "test")
    coin = word_sequences("shuffled", 4000, 25, [3], "test")
    assert torch.equal(plain.inputs, coin.inputs)
    assert (plain.labels == coin.labels).double().mean().sub(0.5).abs() < 0.04  # 5 standard deviations


@pytest.mark.parametrize("task", ["evidence", "last", "three", "shuffled"])
def test_packing_and_purpose(task: Task) -> None:
    whole = word_sequences(task, 20, 9, [3, 4], "test")
    alone = word_sequences(task, 20, 9, [4], "test")
    assert torch.equal(whole.inputs[1:], alone.inputs)
    assert torch.equal(whole.labels[1:], alone.labels)
    assert not torch.equal(whole.inputs[0], whole.inputs[1])
    assert not torch.equal(alone.inputs, word_sequences(task, 20, 9, [4], "other").inputs)


def test_images_are_a_binomial_mixture_and_labels_their_majority() -> None:
    classes = torch.arange(200) % 10
    found = image_sequences(classes, 3000, 25, [3], "test", first=11)
    assert found.inputs.min() == 11
    assert found.inputs.max() == 210
    speaks = classes[found.inputs[0].long() - 11] < 5
    assert torch.equal(found.labels[0], (speaks.sum(dim=1) > 12).long())
    share = speaks.double().mean(dim=1)
    assert share.mean().sub(0.5).abs() < 0.02
    expected = 0.025 + 0.225 / 25  # variance of the four shares and of 25 tokens given the share: mean of p (1 - p)
    assert share.var().sub(expected).abs() < 0.003
    assert torch.equal(image_sequences(classes, 3000, 25, [2, 3], "test", first=11).inputs[1], found.inputs[0])


def test_every_replica_trains_on_its_own_sequences() -> None:
    train = word_sequences("evidence", 12, 9, [3, 4], "train")
    data = as_data("valences", train, word_sequences("evidence", 5, 9, [3, 4], "test"), 2)
    batch = data.first(12)
    assert torch.equal(batch.inputs, train.inputs)
    assert torch.equal(batch.labels, train.labels)
    assert data.take_replicas(slice(1, 2)).first(3).inputs.tolist() == train.inputs[1:, :3].tolist()


def test_refusals() -> None:
    with pytest.raises(UsageError, match="at least 5, 4 came"):
        word_sequences("evidence", 5, 4, [0], "test")
    with pytest.raises(UsageError, match="must be odd"):
        image_sequences(torch.arange(10), 5, 4, [0], "test")
