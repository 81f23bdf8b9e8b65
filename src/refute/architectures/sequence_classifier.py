"""Classifiers of token sequences: an embedding, one recurrent layer, a dense readout of its last state."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from refute.architectures.network import Network
from refute.errors import UsageError

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Reader(nn.Module):
    """See `sequence_classifier`, whose arguments are these."""

    def __init__(
        self,
        cell: str,
        words: int,
        classes: int,
        *,
        hidden: int,
        embedding: int,
        dropout: float,
        table: Tensor | None,
    ) -> None:
        super().__init__()
        if table is None:
            self.embedding: nn.Module = nn.Embedding(words, embedding, padding_idx=0)
        else:
            frozen = nn.Embedding(words, table.shape[1], _weight=table.clone(), _freeze=True)
            self.embedding = nn.Sequential(frozen, nn.Linear(table.shape[1], embedding, bias=False))
        self.dropout = nn.Dropout(dropout)
        self.recurrent = CELLS[cell](embedding, hidden, batch_first=True)
        if cell == "rnn":
            nn.init.orthogonal_(self.recurrent.weight_hh_l0)  # type: ignore[arg-type]
        self.readout = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, time) to outputs (batch, class)."""
        states = self.recurrent(self.dropout(self.embedding(tokens)))[0]
        outputs: Tensor = self.readout(states[:, -1])
        return outputs


def sequence_classifier(
    cell: str,
    length: int,
    words: int,
    classes: int,
    *,
    hidden: int = 32,
    embedding: int = 16,
    dropout: float = 0.0,
    table: Tensor | None = None,
) -> Network:
    """One layer of `cell` over embedded tokens, read out after the last one; all replicas run at once.

    Args:
        cell: "gru", "lstm" or "rnn" (tanh, its recurrent matrix orthogonal at first).
        length: tokens of a sequence.
        words: size of the vocabulary, padding (token 0, whose embedding is zero) included.
        classes: number of outputs.
        hidden: units.
        embedding: numbers of an embedded token.
        dropout: of embedded tokens.
        table: fixed features of every token, (words, feature), row 0 of zeros; a linear map of them is trained instead
            of an embedding.

    Raises:
        UsageError: an unknown cell, or a table of another size.

    >>> net = sequence_classifier("gru", 25, 41, 2)
    >>> net.mode, net.parameters()
    ('stacked', 5522)
    """
    if cell not in CELLS:
        raise UsageError(f"cell must be one of {', '.join(CELLS)}, {cell!r} came")
    if table is not None and len(table) != words:
        raise UsageError(f"table must have one row for each of {words} words, {len(table)} came")
    make = partial(Reader, cell, words, classes, hidden=hidden, embedding=embedding, dropout=dropout, table=table)
    return Network.from_module(
        make, input_shape=(length,), outputs=classes, name=f"{cell}-{hidden}", input_dtype=torch.int64
    )
