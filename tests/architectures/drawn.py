"""Modules for random architectures, in the ways that people write them."""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

Part = tuple[str, Callable[[], nn.Module]]
"""What a failure calls it, and what makes it."""


def part(kind: Callable[..., nn.Module], *arguments: object, **options: object) -> Part:
    return f"{kind.__name__}{arguments}{options or ''}", lambda: kind(*arguments, **options)


def wrapped(kind: Callable[..., nn.Module], *inner: Part) -> Part:
    return f"{kind.__name__}({', '.join(text for text, _ in inner)})", lambda: kind(*(make() for _, make in inner))


class Residual(nn.Module):
    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Recurrent(nn.Module):
    """All hidden states, plus the last ones of every direction, so that both results matter."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, width: int, *, time_first: bool, **options: object) -> None:
        super().__init__()
        self.time_first = time_first
        self.net = kind(inputs, width, batch_first=not time_first, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        outputs, last = self.net(x.transpose(0, 1) if self.time_first else x)
        outputs = outputs.transpose(0, 1) if self.time_first else outputs
        ends = torch.stack(last if isinstance(last, tuple) else (last,)).sum((0, 1))
        return outputs + ends.repeat(1, outputs.shape[-1] // ends.shape[-1])[:, None]


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool, weighted: bool, **options: object) -> None:
        super().__init__()
        self.causal, self.weighted = causal, weighted
        self.net = nn.MultiheadAttention(width, heads, batch_first=True, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        attended, shares = self.net(x, x, x, attn_mask=future, need_weights=self.weighted)
        return x + (attended if shares is None else attended * shares.diagonal(dim1=1, dim2=2)[..., None])


class OverChannels(nn.Module):
    """A layer that wants (batch, channel, time), on (batch, time, channel)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Positions(nn.Module):
    """Learned positions, looked up without a batch axis."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(torch.arange(x.shape[1]))


class Dropping(nn.Module):
    """Dropout as a function, besides the layer."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability, self.layer = probability, nn.Dropout(probability)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(self.layer(x), self.probability, self.training)


class InWindows(nn.Module):
    """A layer on times as if they were examples."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
