"""Sequence classifiers against the same module run by torch, one replica at a time."""

import pytest
import torch
from torch import Tensor

from refute.architectures.sequence_classifier import CELLS, Reader, sequence_classifier
from refute.errors import UsageError

TOKENS = torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(0))
TABLE = torch.cat([torch.zeros(1, 4), torch.rand(6, 4, generator=torch.Generator().manual_seed(1))])


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("table", [None, TABLE], ids=["embedding", "table"])
def test_all_replicas_at_once_are_each_by_itself(cell: str, table: Tensor | None) -> None:
    network = sequence_classifier(cell, 5, 7, 2, hidden=6, embedding=3, table=table)
    weights = network.initialize([1, 2])
    outputs = network.evaluate(weights, TOKENS)
    for replica in range(2):
        module = Reader(cell, 7, 2, hidden=6, embedding=3, dropout=0.0, table=table)
        module.load_state_dict({name: weights[name][replica] for name in module.state_dict()})
        torch.testing.assert_close(outputs[replica], module(TOKENS))
    assert network.mode == "stacked"


def test_padding_in_front_of_a_state_of_zeros_is_the_zero_input() -> None:
    network = sequence_classifier("gru", 5, 7, 2)
    weights = network.initialize([1])
    assert not weights["embedding.weight"][0, 0].any()
    fixed = sequence_classifier("gru", 5, 7, 2, table=TABLE)
    assert not fixed.initialize([1])["embedding.0.weight"][0, 0].any()
    assert "embedding.0.weight" in fixed.initialize([1]).buffers


def test_the_recurrent_matrix_of_a_plain_net_is_orthogonal_at_first() -> None:
    matrix = sequence_classifier("rnn", 5, 7, 2, hidden=6).initialize([1])["recurrent.weight_hh_l0"][0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6))


def test_refusals() -> None:
    with pytest.raises(UsageError, match="cell must be one of gru, lstm, rnn"):
        sequence_classifier("ugrnn", 5, 7, 2)
    with pytest.raises(UsageError, match="one row for each of 8 words, 7 came"):
        sequence_classifier("gru", 5, 8, 2, table=TABLE)
