"""Twins of torch's layers that run all replicas at once (see `folding`)."""

import re
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from refute.architectures import products, recurrent
from refute.architectures.folding import SHARED, Fold, NotFoldable, Order, Twin, dropped

LARGE = 2**14
"""Numbers in one replica's activations from which one call per replica costs less than one more pass over memory."""


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(replica, ..., input) -> (replica, ..., output), with every replica's own `weight` (replica, output, input)."""
    rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    return products.linear(rows, weight, bias).view(*inputs.shape[:-1], weight.shape[1])


class Linear(Twin, nn.Linear):
    """A matrix product for each replica."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weights("weight")
        assert weight is not None
        return self.join(linear(self.part(input), weight, self.weights("bias")))


class Embedding(Twin, nn.Embedding):
    """One table of all replicas' rows."""

    def forward(self, input: Tensor) -> Tensor:
        weight, indices = self.weights("weight"), self.part(input)
        assert weight is not None
        first = torch.arange(len(weight), device=indices.device) * self.num_embeddings
        table = weight.reshape(-1, self.embedding_dim)
        if self.padding_idx is not None and table.requires_grad:
            trained = torch.ones(self.num_embeddings, 1, dtype=table.dtype, device=table.device)
            trained[self.padding_idx] = 0
            trained = trained.repeat(len(weight), 1)
            hooked: Any = table
            hooked.register_hook(lambda gradient: gradient * trained)
        return self.join(functional.embedding(indices + first.view(-1, *[1] * (indices.ndim - 1)), table))


class _BatchNorm(Twin, nn.modules.batchnorm._BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        mean, variance, count = (self._buffers.get(n) for n in ("running_mean", "running_var", "num_batches_tracked"))
        if self.training and count is not None:
            count.add_(1)
        by_batch = self.training or mean is None
        if not self.training:
            mean, variance = (None if t is None else t.clone() for t in (mean, variance))
        weight, bias, inputs = self.weights("weight"), self.weights("bias"), self.part(input)
        replicas = len(inputs)
        if self.axis != 0:
            raise NotFoldable("the inputs of a normalization over examples do not lead with the examples")

        def normalize(x: Tensor, m: Tensor | None, v: Tensor | None, w: Tensor | None, b: Tensor | None) -> Tensor:
            return functional.batch_norm(x, m, v, w, b, by_batch, self.momentum or 0.0, self.eps)

        if replicas == 1 or inputs[0].numel() >= LARGE:
            return self.fold.each(normalize, inputs, mean, variance, weight, bias)
        channels = (None if t is None else t.reshape(-1) for t in (mean, variance, weight, bias))
        merged = normalize(inputs.transpose(0, 1).flatten(1, 2), *channels)
        return self.join(merged.view(len(merged), replicas, -1, *merged.shape[2:]).transpose(0, 1))


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """Statistics for every replica and channel."""


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Statistics for every replica and channel."""


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """Statistics for every replica and channel."""


def _scaled(twin: Twin, normalized: Tensor, shape: tuple[int, ...]) -> Tensor:
    """normalized * weight + bias with weights (replica, channel...) seen as `shape` (replica, 1, channel, ...)."""
    weight, bias = twin.weights("weight"), twin.weights("bias")
    if weight is None:
        return normalized
    if bias is None:
        return normalized * weight.view(shape)
    return torch.addcmul(bias.view(shape), normalized, weight.view(shape))


class LayerNorm(Twin, nn.LayerNorm):
    """One normalization of all replicas' examples, then every replica's scale and shift."""

    def forward(self, input: Tensor) -> Tensor:
        inputs, weight, bias = self.part(input), self.weights("weight"), self.weights("bias")
        shape = tuple(self.normalized_shape)
        if self.axis != SHARED and inputs[0].numel() >= LARGE:
            eps = self.eps
            found = self.fold.each(lambda x, w, b: functional.layer_norm(x, shape, w, b, eps), inputs, weight, bias)
            return self.turned(found)
        normalized = functional.layer_norm(inputs, shape, None, None, self.eps)
        return self.join(_scaled(self, normalized, (len(inputs), *[1] * (inputs.ndim - 1 - len(shape)), *shape)))


class RMSNorm(Twin, nn.RMSNorm):
    """As `LayerNorm`, without a mean."""

    def forward(self, x: Tensor) -> Tensor:
        inputs, shape = self.part(x), tuple(self.normalized_shape)
        normalized = functional.rms_norm(inputs, shape, None, self.eps)
        return self.join(_scaled(self, normalized, (len(inputs), *[1] * (inputs.ndim - 1 - len(shape)), *shape)))


class GroupNorm(Twin, nn.GroupNorm):
    """One normalization of all replicas' examples, then every replica's scale and shift."""

    def forward(self, input: Tensor) -> Tensor:
        inputs, weight, bias = self.part(input), self.weights("weight"), self.weights("bias")
        if self.axis != 0:
            raise NotFoldable("the inputs of GroupNorm do not lead with the examples")
        if inputs[0].numel() >= LARGE:
            groups = self.num_groups
            return self.fold.each(
                lambda x, w, b: functional.group_norm(x, groups, w, b, self.eps), inputs, weight, bias
            )
        normalized = self.fold.part(functional.group_norm(input, self.num_groups, None, None, self.eps))
        return self.join(_scaled(self, normalized, (len(inputs), 1, -1, *[1] * (inputs.ndim - 3))))


class _Recurrent(Twin, nn.RNNBase):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if not isinstance(input, Tensor) or input.ndim != 3:
            raise NotFoldable(f"{self.mode} is given something other than one tensor of whole batches")
        examples = input if self.batch_first else input.transpose(0, 1)
        outputs = self.part(examples)
        if self.axis != 0:
            raise NotFoldable(f"the inputs of {self.mode} do not lead with the examples")
        starts = self._starts(outputs, hx)
        ends: list[list[Tensor]] = [[] for _ in starts]
        ways = 2 if self.bidirectional else 1
        kind = {"RNN_TANH": "rnn-tanh", "RNN_RELU": "rnn-relu"}.get(self.mode, self.mode.lower())
        for layer in range(self.num_layers):
            found = []
            for way in range(ways):
                suffix = f"_l{layer}" + ("_reverse" if way else "")
                names = (f"weight_ih{suffix}", f"weight_hh{suffix}", f"bias_ih{suffix}", f"bias_hh{suffix}")
                own = [self.weights(name) for name in names]
                states = [start[layer * ways + way] for start in starts]
                result = recurrent.run(kind, outputs, *own, *states, backwards=bool(way))  # type: ignore[arg-type]
                found.append(result.outputs)
                for end, state in zip(ends, (result.hidden, result.cell), strict=False):
                    if state is not None:
                        end.append(state.flatten(0, 1))
            outputs = found[0] if ways == 1 else torch.cat(found, dim=-1)
            if self.training and self.dropout and layer + 1 < self.num_layers:
                outputs = self._dropped(outputs)
        folded = self.join(outputs)
        last = [torch.stack(end) for end in ends]
        return folded if self.batch_first else folded.transpose(0, 1), tuple(last) if len(last) == 2 else last[0]

    def _starts(self, inputs: Tensor, hx: Any) -> list[Tensor]:
        """States (layer * direction, replica, batch, hidden) to start from: hidden, and the LSTM's cells."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        shape = (count, *inputs.shape[:2], self.hidden_size)
        if hx is None:
            return [inputs.new_zeros(shape)] * (2 if self.mode == "LSTM" else 1)
        return [state.view(shape) for state in ((hx,) if isinstance(hx, Tensor) else hx)]

    def _dropped(self, outputs: Tensor) -> Tensor:
        """Dropout between layers; torch draws its mask time by time."""
        by_time = outputs.transpose(1, 2).contiguous()
        return dropped(by_time.flatten(0, 1), self.dropout, self.fold).view(by_time.shape).transpose(1, 2)


class LSTM(_Recurrent, nn.LSTM):  # type: ignore[misc]
    """See `recurrent`."""


class GRU(_Recurrent, nn.GRU):  # type: ignore[misc]
    """See `recurrent`."""


class RNN(_Recurrent, nn.RNN):  # type: ignore[misc]
    """See `recurrent`."""


class _Cell(Twin, nn.RNNCellBase):
    """One step of a recurrent net."""

    def products(self, input: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Products of inputs and of the state with their weights, and the state (replica, batch, hidden)."""
        inputs = self.part(input)
        state = inputs.new_zeros(*inputs.shape[:2], self.hidden_size) if hidden is None else self.fold.part(hidden)
        weights = [self.weights(name) for name in ("weight_ih", "weight_hh")]
        assert weights[0] is not None
        assert weights[1] is not None
        given = linear(inputs, weights[0], self.weights("bias_ih"))
        return given, linear(state, weights[1], self.weights("bias_hh")), state


class LSTMCell(_Cell, nn.LSTMCell):
    """See `recurrent`."""

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        given, fed, state = self.products(input, hx[0] if hx else None)
        enter, forget, new, leave = (given + fed).chunk(4, dim=-1)
        kept = self.fold.part(hx[1]) if hx else torch.zeros_like(state)
        cell = torch.sigmoid(forget) * kept + torch.sigmoid(enter) * torch.tanh(new)
        return self.join(torch.sigmoid(leave) * torch.tanh(cell)), self.join(cell)


class GRUCell(_Cell, nn.GRUCell):
    """See `recurrent`."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        given, fed, state = self.products(input, hx)
        reset_x, update_x, new_x = given.chunk(3, dim=-1)
        reset_h, update_h, new_h = fed.chunk(3, dim=-1)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return self.join(new + torch.sigmoid(update_x + update_h) * (state - new))


class RNNCell(_Cell, nn.RNNCell):
    """See `recurrent`."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        given, fed, _ = self.products(input, hx)
        return self.join(torch.relu(given + fed) if self.nonlinearity == "relu" else torch.tanh(given + fed))


class MultiheadAttention(Twin, nn.MultiheadAttention):
    """Scaled dot-product attention (Vaswani et al. 2017) with every replica's own projections."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        same = query is key and key is value
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        if query.ndim != 3:
            raise NotFoldable("MultiheadAttention is given a sequence without examples")
        q, k, v = (self._heads(x) for x in self._projected(query, key, value, same=same))
        mask = self._mask(q, key_padding_mask, attn_mask)
        causal = is_causal and mask is None and attn_mask is not None
        probability = self.dropout if self.training else 0.0
        attended, shares = attention(q, k, v, mask, probability, self.fold, causal=causal, need_weights=need_weights)
        joined = self.fold.part(attended.transpose(1, 2).flatten(2))
        out = self.out_proj._parameters
        assert out["weight"] is not None
        outputs = linear(joined, out["weight"], out.get("bias")).flatten(0, 1)
        if shares is not None and average_attn_weights:
            shares = shares.mean(dim=1)
        return outputs if self.batch_first else outputs.transpose(0, 1), shares

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, *, same: bool) -> list[Tensor]:
        packed, bias = self.weights("in_proj_weight"), self.weights("in_proj_bias")
        inputs = [self.part(query)] if same else [self.part(x) for x in (query, key, value)]
        if self.axis != 0:
            raise NotFoldable("the inputs of MultiheadAttention do not lead with the examples")
        if packed is not None and same:
            return list(linear(inputs[0], packed, bias).chunk(3, dim=-1))
        if packed is not None:
            weights = list(packed.chunk(3, dim=1))
        else:
            weights = [w for n in ("q", "k", "v") if (w := self.weights(f"{n}_proj_weight")) is not None]
        inputs = inputs * 3 if same else inputs
        biases = [None] * 3 if bias is None else bias.chunk(3, dim=1)
        return [linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]

    def _heads(self, projected: Tensor) -> Tensor:
        """(replica, batch, time, embedding) -> (replica * batch, head, time, share of the embedding)."""
        replicas, batch, time, width = projected.shape
        shape = (replicas * batch, time, self.num_heads, width // self.num_heads)
        return projected.reshape(shape).transpose(1, 2)

    def _mask(self, query: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """The sum of both masks, (replica * batch or 1, head or 1, time, time), -inf where there is no attention."""
        total: Tensor | None = None
        if mask is not None:
            mask = _additive(mask, query)
            total = mask if mask.ndim == 2 else mask.view(len(query), self.num_heads, *mask.shape[1:])
        if padding is not None:
            added = _additive(padding, query)[:, None, None, :]
            total = added if total is None else total + added
        return total


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill_(mask, float("-inf"))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    probability: float,
    fold: Fold,
    *,
    causal: bool = False,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """softmax(query key^T / sqrt(width) + mask) value, with dropout of the shares; (replica * batch, head, ...)."""
    if not need_weights and probability == 0.0:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal), None
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu_(1)
        mask = _additive(future, scores)
    shares = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    shares = dropped(shares, probability, fold) if probability else shares
    return shares @ value, shares if need_weights else None


class _Dropout(Twin, nn.modules.dropout._DropoutNd):
    own_axes: int | None = None
    order: Order | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return input
        self.part(input)
        if self.axis == SHARED:
            raise NotFoldable("dropout of something that has no axis of examples")
        folded, time_first = self.turned(input), self.axis == 1
        found = dropped(folded, self.p, self.fold, own_axes=self.own_axes, order=self.order, time_first=time_first)
        return self.turned(found)


class Dropout(_Dropout, nn.Dropout):
    """Numbers are dropped, from every replica's own stream."""


class Dropout1d(_Dropout, nn.Dropout1d):
    """Whole channels are dropped, from every replica's own stream."""

    own_axes = 2


class Dropout2d(_Dropout, nn.Dropout2d):
    """Whole channels are dropped, from every replica's own stream."""

    own_axes = 2


class Dropout3d(_Dropout, nn.Dropout3d):
    """Whole channels are dropped, from every replica's own stream."""

    own_axes = 2


class Conv1D(Twin):
    """A dense layer whose weight is (input, output), as in GPT-2."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weights("weight")
        assert weight is not None
        return self.join(linear(self.part(x), weight.transpose(1, 2), self.weights("bias")))


TWINS: dict[type[nn.Module], type[Twin]] = {
    nn.Linear: Linear,
    nn.Embedding: Embedding,
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
    nn.LayerNorm: LayerNorm,
    nn.RMSNorm: RMSNorm,
    nn.GroupNorm: GroupNorm,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNN: RNN,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
    nn.RNNCell: RNNCell,
    nn.MultiheadAttention: MultiheadAttention,
    nn.Dropout: Dropout,
    nn.Dropout1d: Dropout1d,
    nn.Dropout2d: Dropout2d,
    nn.Dropout3d: Dropout3d,
}
"""Layers of torch and what stands in for them. A subclass of one of these is another layer."""

TWINS_BY_NAME: dict[str, type[Twin]] = {
    "transformers.pytorch_utils.Conv1D": Conv1D,
    "timm.layers.norm.LayerNorm": LayerNorm,
}
"""The same for layers of other libraries, which are not imported here."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Run replica by replica: on processors a convolution of all replicas (in groups) is slower."""

_KNOWN_NAMES = re.compile(
    r"weight|bias|in_proj_weight|in_proj_bias|[qkv]_proj_weight|bias_[kv]|(weight|bias)_(ih|hh)(_l\d+(_reverse)?)?"
)


def twin_of(module: nn.Module) -> type[Twin] | None:
    """What stands in for the module, if its kind and settings are known."""
    kind = type(module)
    twin = TWINS.get(kind) or TWINS_BY_NAME.get(f"{kind.__module__}.{kind.__qualname__}")
    if twin is None or not all(_KNOWN_NAMES.fullmatch(name) for name in module._parameters):
        return None
    match module:
        case nn.Embedding():
            known = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        case nn.RNNBase():
            known = module.proj_size == 0
        case nn.modules.batchnorm._BatchNorm():
            known = module.momentum is not None or not module.track_running_stats
        case nn.MultiheadAttention():
            known = module.bias_k is None and module.bias_v is None and not module.add_zero_attn
        case nn.modules.dropout._DropoutNd():
            known = not module.inplace
        case _:
            known = True
    return twin if known else None
