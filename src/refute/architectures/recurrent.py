"""Recurrent layers of all replicas at once: one product for all inputs, then one batched product per time step.

LSTM (Hochreiter & Schmidhuber 1997, with forget gates: Gers et al. 2000), GRU (Cho et al. 2014, with the reset gate
after the product, as in cuDNN and torch.nn.GRU) and the simple recurrent net (Elman 1990). Their backward passes are
written by hand; second derivatives come from automatic differentiation of `run_plainly`.

Shapes: inputs (replica, batch, time, input), weight_ih (replica, gate * hidden, input), weight_hh (replica,
gate * hidden, hidden), bias (replica, gate * hidden), states (replica, batch, hidden).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refute.architectures import products
from refute.architectures.layers import lstm_kernels
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.perceptron import PAYS
from refute.architectures.layers.small_products import LEAST

STEP = 2**17
"""Numbers in the gates of one time step that stay in cache; more replicas than that go in groups."""
LARGE = 2**16
"""Numbers in the gates of one replica from which its own oneDNN call is faster than one batched call for all."""


class Sequence(NamedTuple):
    """What a recurrent layer gives: all its hidden states, (replica, batch, time, hidden), and its last states."""

    outputs: Tensor
    hidden: Tensor
    cell: Tensor | None = None


def run(
    kind: str,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    hidden: Tensor,
    cell: Tensor | None = None,
    *,
    backwards: bool = False,
) -> Sequence:
    """One direction of one layer. `kind` is "lstm", "gru", "rnn-tanh" or "rnn-relu"; `cell` is the LSTM's alone.

    `backwards` reads the inputs from the last to the first.
    """
    function: Any = {"lstm": _LSTM, "gru": _GRU}.get(kind, _RNN)
    gates = weight_hh.shape[1] * inputs.shape[1]
    if kind == "lstm" and _loops(inputs, hidden):
        function, size = _LSTMByLoops, len(inputs)
    elif kind == "lstm" and gates * inputs.shape[2] >= LARGE and _onednn(inputs):
        function, size = _LSTMByOneDNN, len(inputs)
    else:
        size = max(1, STEP // gates)
    tensors = (inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell)
    if size >= len(inputs):
        return Sequence(*function.apply(kind, backwards, *tensors))
    parts = [[None] * math.ceil(len(inputs) / size) if t is None else torch.split(t, size) for t in tensors]
    found = [function.apply(kind, backwards, *some) for some in zip(*parts, strict=True)]
    return Sequence(*(torch.cat(pieces) for pieces in zip(*found, strict=True)))


def run_plainly(
    kind: str,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    hidden: Tensor,
    cell: Tensor | None = None,
    *,
    backwards: bool = False,
) -> Sequence:
    """The same as `run`, written as the formulas are."""
    given = torch.einsum("rbti,rgi->rbtg", inputs, weight_ih)
    if bias_ih is not None:
        given = given + bias_ih[:, None, None]
    outputs = []
    for step in _times(inputs, backwards):
        fed = hidden @ weight_hh.transpose(1, 2)
        if bias_hh is not None:
            fed = fed + bias_hh[:, None]
        if kind == "lstm":
            assert cell is not None
            enter, forget, new, leave = (given[:, :, step] + fed).chunk(4, dim=-1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
        elif kind == "gru":
            reset_x, update_x, new_x = given[:, :, step].chunk(3, dim=-1)
            reset_h, update_h, new_h = fed.chunk(3, dim=-1)
            new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
            hidden = new + torch.sigmoid(update_x + update_h) * (hidden - new)
        else:
            hidden = _function(kind)(given[:, :, step] + fed)
        outputs.append(hidden)
    if backwards:
        outputs.reverse()
    return Sequence(torch.stack(outputs, dim=2), hidden, cell)


def _times(inputs: Tensor, backwards: bool) -> Iterable[int]:
    times = range(inputs.shape[2])
    return reversed(times) if backwards else times


def _function(kind: str) -> Callable[[Tensor], Tensor]:
    return torch.relu if kind == "rnn-relu" else torch.tanh


def _products(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return products.linear(inputs.flatten(1, 2), weight, bias).view(*inputs.shape[:3], -1)


@dataclass(frozen=True)
class _Shared:
    """Gradients of what all time steps share, from those of the gates, (replica, batch, time, gate * hidden)."""

    inputs: Tensor | None
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor


def _shared(
    of_given: Tensor, of_fed: Tensor, inputs: Tensor, weight_ih: Tensor, previous: Tensor, *, wanted: bool
) -> _Shared:
    given, fed = of_given.flatten(1, 2), of_fed.flatten(1, 2)
    of_weight_ih = torch.empty_like(weight_ih, memory_format=torch.contiguous_format)
    of_weight_hh = torch.empty(*weight_ih.shape[:2], previous.shape[-1], dtype=weight_ih.dtype, device=weight_ih.device)
    products.weight_gradient(given, inputs.flatten(1, 2), of_weight_ih, keep=0)
    products.weight_gradient(fed, previous.flatten(1, 2), of_weight_hh, keep=0)
    of_inputs = products.input_gradient(given, weight_ih).view(inputs.shape) if wanted else None
    return _Shared(of_inputs, of_weight_ih, of_weight_hh, given.sum(1))


def _before(outputs: Tensor, hidden: Tensor, backwards: bool) -> Tensor:
    """The hidden state that every time step started from, (replica, batch, time, hidden)."""
    first = hidden.unsqueeze(2)
    return torch.cat([outputs[:, :, 1:], first], 2) if backwards else torch.cat([first, outputs[:, :, :-1]], 2)


def _twice(ctx: Any, of_outputs: Tensor, of_hidden: Tensor, of_cell: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients that can themselves be differentiated."""
    # aliases: what the inputs were computed from must not be counted here
    sources = [None if t is None else t.view_as(t) for t in ctx.saved_tensors[:7]]
    found = run_plainly(ctx.kind, *sources, backwards=ctx.backwards)  # type: ignore[arg-type]
    wanted = [t for t, need in zip(sources, ctx.needs_input_grad[2:], strict=True) if t is not None and need]
    ends, given = [found.outputs, found.hidden], [of_outputs, of_hidden]
    if found.cell is not None and of_cell is not None:
        ends, given = [*ends, found.cell], [*given, of_cell]
    gradients = iter(torch.autograd.grad(ends, wanted, given, create_graph=True, allow_unused=True))
    needed = zip(sources, ctx.needs_input_grad[2:], strict=True)
    return (None, None, *(next(gradients) if t is not None and need else None for t, need in needed))


class _LSTM(torch.autograd.Function):
    """Gates are kept in the order enter, forget, leave, new: one call makes the first three."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        backwards: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        hidden: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        replicas, batch, times, _ = inputs.shape
        width = hidden.shape[-1]
        bias = None if bias_ih is None or bias_hh is None else _swapped(bias_ih + bias_hh, width)
        given = _products(inputs, _swapped(weight_ih, width), bias)
        back = _swapped(weight_hh, width).transpose(1, 2)
        gates = given.new_empty(times, replicas, batch, 4 * width)
        cells = given.new_empty(times, replicas, batch, width)
        squashed = torch.empty_like(cells)
        outputs = given.new_empty(replicas, batch, times, width)
        before, kept = hidden, cell
        for step in _times(inputs, backwards):
            gate, now, tanh = gates[step], cells[step], squashed[step]
            products.multiply(before, back, gate.copy_(given[:, :, step]), keep=1)
            gate[..., : 3 * width].sigmoid_()
            enter, forget, leave, new = torch.split(gate, width, dim=-1)
            new.tanh_()
            torch.mul(forget, kept, out=now)
            now.addcmul_(enter, new)
            torch.tanh(now, out=tanh)
            before, kept = outputs[:, :, step], now
            torch.mul(leave, tanh, out=before)
        ctx.kind, ctx.backwards = kind, backwards
        ctx.save_for_backward(
            inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell, outputs, gates, cells, squashed
        )
        return outputs, before.clone(), kept.clone()

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor, of_hidden: Tensor, of_cell: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _twice(ctx, of_outputs, of_hidden, of_cell)
        inputs, weight_ih, weight_hh, bias_ih, _, hidden, cell, outputs, gates, cells, squashed = ctx.saved_tensors
        replicas, batch, times, _ = inputs.shape
        width = hidden.shape[-1]
        back = _swapped(weight_hh, width)
        of_gates = outputs.new_empty(replicas, batch, times, 4 * width)
        of_gate = outputs.new_empty(replicas, batch, 4 * width)
        of_enter, of_forget, of_leave, of_new = torch.split(of_gate, width, dim=-1)
        of_now, held = of_cell.clone(), torch.empty_like(cells[0])
        passed = of_hidden.clone()
        order = list(_times(inputs, backwards=not ctx.backwards))
        for step, earlier in zip(order, [*order[1:], None], strict=True):
            gate, tanh = gates[step], squashed[step]
            enter, forget, leave, new = torch.split(gate, width, dim=-1)
            passed.add_(of_outputs[:, :, step])
            torch.mul(passed, tanh, out=of_leave)
            torch.mul(passed, leave, out=held)
            torch.ops.aten.tanh_backward.grad_input(held, tanh, grad_input=held)
            of_now.add_(held)
            torch.mul(of_now, new, out=of_enter)
            torch.mul(of_now, cell if earlier is None else cells[earlier], out=of_forget)
            torch.mul(of_now, enter, out=of_new)
            of_now.mul_(forget)
            three = slice(0, 3 * width)
            torch.ops.aten.sigmoid_backward.grad_input(
                of_gate[..., three], gate[..., three], grad_input=of_gate[..., three]
            )
            torch.ops.aten.tanh_backward.grad_input(of_new, new, grad_input=of_new)
            of_gates[:, :, step] = of_gate
            products.multiply(of_gate, back, passed, keep=0)
        found = _shared(
            of_gates, of_gates, inputs, _swapped(weight_ih, width), _before(outputs, hidden, ctx.backwards),
            wanted=ctx.needs_input_grad[2],
        )  # fmt: skip
        of_bias = None if bias_ih is None else _swapped(found.bias, width)
        of_weights = _swapped(found.weight_ih, width), _swapped(found.weight_hh, width)
        return None, None, found.inputs, *of_weights, of_bias, of_bias, passed, of_now


def _loops(inputs: Tensor, hidden: Tensor) -> bool:
    """Whether the compiled loops can take an LSTM, and are known to be faster than libraries."""
    return PAYS and inputs.numel() > 0 and hidden.shape[-1] % LEAST == 0 and _single_precision_on_cpu(inputs)


def _single_precision_on_cpu(inputs: Tensor) -> bool:
    return inputs.dtype == torch.float32 and inputs.device.type == "cpu"


class _LSTMByLoops(torch.autograd.Function):
    """See `lstm_kernels`, whose names are used here."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        backwards: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        hidden: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        replicas, examples, times, reads = inputs.shape
        width, keeps = hidden.shape[-1], any(ctx.needs_input_grad)
        read = width + reads + -reads % LEAST
        slots = (replicas, times, examples) if keeps else (1, 2, examples)
        states, gates = torch.zeros(*slots, read), torch.empty(*slots, 4 * width)
        cells, tanhs = torch.empty(*slots, width), torch.empty(*slots, width)
        outputs, last = torch.empty(replicas, examples, times, width), torch.empty(replicas, examples, width)
        bias = torch.zeros(weight_ih.shape[:2]) if bias_ih is None or bias_hh is None else bias_ih + bias_hh
        given = inputs.flip(2) if backwards else inputs
        lstm_kernels.forward(
            _flat(given), _flat(weight_ih), _flat(weight_hh), _flat(bias), _flat(hidden), _flat(cell),
            (replicas, examples, times, reads, width, read), keeps,
            _flat(states), _flat(gates), _flat(cells), _flat(tanhs), _flat(outputs), _flat(last),
        )  # fmt: skip
        ctx.kind, ctx.backwards, ctx.kept = kind, backwards, (states, gates, cells, tanhs)
        ctx.save_for_backward(inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell)
        return outputs.flip(2) if backwards else outputs, outputs[:, :, -1].clone(), last

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor, of_hidden: Tensor, of_cell: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _twice(ctx, of_outputs, of_hidden, of_cell)
        inputs, weight_ih, weight_hh, bias_ih, _, _, cell = ctx.saved_tensors
        replicas, examples, times, reads = inputs.shape
        width, read, wanted = weight_hh.shape[-1], ctx.kept[0].shape[-1], ctx.needs_input_grad[2]
        of_weights, of_bias = torch.zeros(*weight_ih.shape[:2], read), torch.zeros(weight_ih.shape[:2])
        of_inputs = torch.empty(inputs.shape if wanted else 0)
        of_hidden, of_cell = of_hidden.clone(), of_cell.clone()  # loops work on them
        given = of_outputs.flip(2) if ctx.backwards else of_outputs
        states, gates, cells, tanhs = (_flat(each) for each in ctx.kept)
        lstm_kernels.backward(
            _flat(given), _flat(weight_ih), _flat(weight_hh), _flat(cell),
            (replicas, examples, times, reads, width, read), states, gates, cells, tanhs,
            _flat(of_weights), _flat(of_bias), _flat(of_inputs), _flat(of_hidden), _flat(of_cell),
        )  # fmt: skip
        of_weight_hh, of_weight_ih = of_weights[..., :width], of_weights[..., width : width + reads]
        of_biases = (None, None) if bias_ih is None else (of_bias, of_bias)
        of_given = (of_inputs.flip(2) if ctx.backwards else of_inputs) if wanted else None
        return None, None, of_given, of_weight_ih, of_weight_hh, *of_biases, of_hidden, of_cell


def _flat(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy().reshape(-1)


def _onednn(inputs: Tensor) -> bool:
    return torch._C._has_mkldnn and bool(torch.backends.mkldnn.enabled) and _single_precision_on_cpu(inputs)


_ONEDNN = {
    "mode": 2, "batch_sizes": [], "num_layers": 1, "has_biases": True, "bidirectional": False, "batch_first": False
}  # fmt: skip
"""Settings of oneDNN's calls; 2 is its number for LSTMs."""


class _LSTMByOneDNN(torch.autograd.Function):
    """One fused call of oneDNN for every replica, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        backwards: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        hidden: Tensor,
        cell: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kind, ctx.backwards = kind, backwards
        ctx.training = any(ctx.needs_input_grad)
        tensors = (inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell)
        found = []
        with torch.set_grad_enabled(ctx.training):  # without it oneDNN keeps nothing for the backward call
            for own in _of_replicas(tensors):
                settings = {**_ONEDNN, "reverse": backwards, "hidden_size": hidden.shape[-1], "train": ctx.training}
                found.append(torch.ops.aten.mkldnn_rnn_layer(*own, **settings))
        ctx.workspaces = [each[3] for each in found] if ctx.training else []
        results = tuple(_stacked(pieces) for pieces in zip(*(each[:3] for each in found), strict=True))
        ctx.save_for_backward(*tensors, *results)
        ctx.set_materialize_grads(False)
        by_time, last, kept = results
        return by_time.transpose(1, 2), last, kept

    @staticmethod
    def backward(
        ctx: Any, of_outputs: Tensor | None, of_hidden: Tensor | None, of_cell: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        tensors, (by_time, last, kept) = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
        if torch.is_grad_enabled():
            ends = by_time.transpose(1, 2), last, kept
            given = zip((of_outputs, of_hidden, of_cell), ends, strict=True)
            return _twice(ctx, *(torch.zeros_like(end) if of_end is None else of_end for of_end, end in given))
        of_ends = None if of_outputs is None else of_outputs.transpose(1, 2), of_hidden, of_cell
        found = []
        for r, own in enumerate(_of_replicas(tensors)):
            of_own = (None if each is None else each[r].contiguous() for each in of_ends)
            settings = {**_ONEDNN, "reverse": ctx.backwards, "hidden_size": last.shape[-1], "train": True}
            arrays = *own, by_time[r], last[r], kept[r], *of_own
            found.append(torch.ops.aten.mkldnn_rnn_layer_backward(*arrays, **settings, workspace=ctx.workspaces[r]))
        of_inputs, *of_weights, of_first, of_kept = (_stacked(pieces) for pieces in zip(*found, strict=True))
        of_biases = (None, None) if tensors[3] is None else of_weights[2:]
        return None, None, of_inputs.transpose(1, 2), *of_weights[:2], *of_biases, of_first, of_kept


def _of_replicas(tensors: tuple[Tensor | None, ...]) -> Iterator[tuple[Tensor, ...]]:
    """What oneDNN takes of every replica: inputs (time, batch, input), weights, biases and states."""
    inputs, weight_ih, *_ = tensors
    assert inputs is not None
    assert weight_ih is not None
    nothing = weight_ih.new_zeros(weight_ih.shape[:2])
    by_time, *others = (nothing if each is None else each.detach() for each in (inputs.transpose(1, 2), *tensors[1:]))
    for r in range(len(inputs)):
        yield by_time[r].contiguous(), *(each[r].contiguous() for each in others)


def _stacked(pieces: tuple[Tensor, ...]) -> Tensor:
    """(replica, ...); without a copy when there is but one."""
    return pieces[0].unsqueeze(0) if len(pieces) == 1 else torch.stack(pieces)


def _swapped(gates: Tensor, width: int) -> Tensor:
    """The last two of four gates change places along axis 1: torch's order to ours, and back."""
    first, third, fourth = torch.split(gates, [2 * width, width, width], dim=1)
    return torch.cat([first, fourth, third], dim=1)


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        backwards: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        hidden: Tensor,
        cell: None,
    ) -> tuple[Tensor, Tensor]:
        replicas, batch, times, _ = inputs.shape
        width = hidden.shape[-1]
        given = _products(inputs, weight_ih, bias_ih)
        back = weight_hh.transpose(1, 2)
        bias = None if bias_hh is None else bias_hh.unsqueeze(1).expand(-1, batch, -1)
        gates = given.new_empty(times, replicas, batch, 3 * width)  # reset, update and what the reset gate scales
        news = given.new_empty(times, replicas, batch, width)
        outputs = given.new_empty(replicas, batch, times, width)
        before = hidden
        for step in _times(inputs, backwards):
            gate, new = gates[step], news[step]
            if bias is None:
                products.multiply(before, back, gate, keep=0)
            else:
                products.multiply(before, back, gate.copy_(bias), keep=1)
            gate[..., : 2 * width].add_(given[:, :, step, : 2 * width]).sigmoid_()
            reset, update, scaled = torch.split(gate, width, dim=-1)
            torch.addcmul(given[:, :, step, 2 * width :], reset, scaled, out=new)
            new.tanh_()
            now = outputs[:, :, step]
            torch.sub(before, new, out=now)
            now.mul_(update).add_(new)
            before = now
        ctx.kind, ctx.backwards = kind, backwards
        ctx.save_for_backward(inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell, outputs, gates, news)
        return outputs, before.clone()

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor, of_hidden: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _twice(ctx, of_outputs, of_hidden, None)
        inputs, weight_ih, weight_hh, bias_ih, _, hidden, _, outputs, gates, news = ctx.saved_tensors
        replicas, batch, times, _ = inputs.shape
        width = hidden.shape[-1]
        of_given = outputs.new_empty(replicas, batch, times, 3 * width)
        of_fed = torch.empty_like(of_given)
        of_gate = outputs.new_empty(replicas, batch, 3 * width)
        of_reset, of_update, of_new = torch.split(of_gate, width, dim=-1)
        passed, held = of_hidden.clone(), torch.empty_like(news[0])
        previous = _before(outputs, hidden, ctx.backwards)
        for step in _times(inputs, backwards=not ctx.backwards):
            gate, new = gates[step], news[step]
            reset, update, scaled = torch.split(gate, width, dim=-1)
            passed.add_(of_outputs[:, :, step])
            torch.sub(previous[:, :, step], new, out=of_update)
            of_update.mul_(passed)
            torch.mul(passed, update, out=held)  # straight to the state before
            torch.sub(passed, held, out=of_new)
            torch.ops.aten.tanh_backward.grad_input(of_new, new, grad_input=of_new)
            torch.mul(of_new, scaled, out=of_reset)
            two = slice(0, 2 * width)
            torch.ops.aten.sigmoid_backward.grad_input(of_gate[..., two], gate[..., two], grad_input=of_gate[..., two])
            of_given[:, :, step] = of_gate
            of_new.mul_(reset)
            of_fed[:, :, step] = of_gate
            products.multiply(of_gate, weight_hh, passed.copy_(held), keep=1)
        found = _shared(of_given, of_fed, inputs, weight_ih, previous, wanted=ctx.needs_input_grad[2])
        of_biases = (None, None) if bias_ih is None else (found.bias, of_fed.sum((1, 2)))
        return None, None, found.inputs, found.weight_ih, found.weight_hh, *of_biases, passed, None


class _RNN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        backwards: bool,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        hidden: Tensor,
        cell: None,
    ) -> tuple[Tensor, Tensor]:
        outputs = _products(inputs, weight_ih, None if bias_ih is None or bias_hh is None else bias_ih + bias_hh)
        back, before, held = weight_hh.transpose(1, 2), hidden, torch.empty_like(hidden)
        for step in _times(inputs, backwards):
            products.multiply(before, back, held, keep=0)
            before = outputs[:, :, step].add_(held)
            before.relu_() if kind == "rnn-relu" else before.tanh_()
        ctx.kind, ctx.backwards = kind, backwards
        ctx.save_for_backward(inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell, outputs)
        return outputs, before.clone()

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor, of_hidden: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _twice(ctx, of_outputs, of_hidden, None)
        inputs, weight_ih, weight_hh, bias_ih, _, hidden, _, outputs = ctx.saved_tensors
        of_gates = torch.empty_like(outputs)
        passed, held = of_hidden.clone(), torch.empty_like(of_hidden)
        for step in _times(inputs, backwards=not ctx.backwards):
            passed.add_(of_outputs[:, :, step])
            if ctx.kind == "rnn-relu":
                torch.ops.aten.threshold_backward.grad_input(passed, outputs[:, :, step], 0, grad_input=held)
            else:
                torch.ops.aten.tanh_backward.grad_input(passed, outputs[:, :, step], grad_input=held)
            of_gates[:, :, step] = held
            products.multiply(held, weight_hh, passed, keep=0)
        previous = _before(outputs, hidden, ctx.backwards)
        found = _shared(of_gates, of_gates, inputs, weight_ih, previous, wanted=ctx.needs_input_grad[2])
        of_bias = None if bias_ih is None else found.bias
        return None, None, found.inputs, found.weight_ih, found.weight_hh, of_bias, of_bias, passed, None
