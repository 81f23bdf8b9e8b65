"""An LSTM (Hochreiter & Schmidhuber 1997, with forget gates: Gers et al. 2000), compiled for the processor at hand.

A replica goes through all times before the next one does. Its weights of inputs and of states are joined to one matrix
(gate * hidden, read): at a time, all gates are one product of what is read, the state and the inputs, and nothing is
called in between. Gates are in torch's order: enter, forget, new, leave.

Arrays are contiguous with one axis, float32:

    inputs      (replica, example, time, input)
    weight_ih   (replica, gate * hidden, input)
    weight_hh   (replica, gate * hidden, hidden); hidden is a multiple of `LEAST`
    bias        (replica, gate * hidden)
    hidden      (replica, example, hidden), as is `cell`
    read        (replica, time, example, read): a state, an input and zeros up to a multiple of `LEAST`
    gates       (replica, time, example, gate * hidden), after their functions
    cells       (replica, time, example, hidden), as are their `tanhs`

Sums are in an order that depends on the shapes of one replica alone: packing replicas differently changes no bit.
"""

from typing import Any

import numpy as np

from refute.architectures.layers.kernels import Array, contracted, inlined
from refute.architectures.layers.small_products import EVERYTHING, turn
from refute.architectures.layers.tiled_products import aligned, by_columns, by_rows, in_panels, pack, sum_of_rows

Shape = tuple[int, int, int, int, int, int]
"""Replicas, examples, times, inputs, hidden, read."""

TOGETHER = 64
"""Rows, times and their examples, whose gates' gradients make those of the weights in one product."""

LARGEST = np.float32(8)
"""tanh(8) is 1 - 2e-7."""
ONE, HALF = np.float32(1), np.float32(0.5)
ABOVE = tuple(np.float32(c) for c in (0.9999999936, 0.1344454768, 3.571657048e-3, 2.189563668e-5, 1.523178246e-8))
BELOW = tuple(np.float32(c) for c in (1, 0.4677787503, 2.616466746e-2, 3.411388646e-4, 8.523001770e-7))
"""tanh(x) = x p(x^2) / q(x^2) up to `LARGEST`: weighted least squares, to 7e-9, with rounding 4e-7 of the value."""


@inlined
def tanh(x: Any) -> Any:
    """In float32, and in such a way that a loop of it becomes vector instructions."""
    x = LARGEST if x > LARGEST else x
    x = -LARGEST if x < -LARGEST else x
    s = x * x
    above = ABOVE[0] + s * (ABOVE[1] + s * (ABOVE[2] + s * (ABOVE[3] + s * ABOVE[4])))
    below = BELOW[0] + s * (BELOW[1] + s * (BELOW[2] + s * (BELOW[3] + s * BELOW[4])))
    return x * above / below


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), to 2e-7."""
    return HALF + HALF * tanh(HALF * x)


@contracted
def forward(
    inputs: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array,
    hidden: Array,
    cell: Array,
    shape: Shape,
    keeps: bool,
    read: Array,
    gates: Array,
    cells: Array,
    tanhs: Array,
    outputs: Array,
    last: Array,
) -> None:
    """`outputs` (replica, example, time, hidden) and the `last` cells (replica, example, hidden).

    Unless it `keeps` what the backward pass needs, `read`, `gates`, `cells` and `tanhs` are for one replica and two
    times. What `read` has beyond states and inputs is zero, and stays it.
    """
    replicas, examples, times, reads, width, wide = shape
    all_gates = 4 * width
    joined, panels = np.zeros(all_gates * wide, inputs.dtype), aligned(all_gates * wide, inputs)
    nothing, here = np.empty(0, inputs.dtype), np.zeros(1, np.int64)
    everything, states, slots = inputs.dtype.type(EVERYTHING), examples * width, times if keeps else 2
    for r in range(replicas):
        _join(weight_ih, weight_hh, r, reads, width, wide, joined)
        in_panels(joined, 0, wide, all_gates, panels, 0)
        before = cell[r * states : (r + 1) * states]
        for t in range(times):
            slot = r * slots + t if keeps else t % slots
            given = read[slot * examples * wide : (slot + 1) * examples * wide]
            for n in range(examples):
                state, at = given[n * wide : n * wide + width], ((r * examples + n) * times + t) * width
                earlier = outputs[at - width : at] if t else hidden[(r * examples + n) * width :]
                for j in range(width):
                    state[j] = earlier[j]
                place = ((r * examples + n) * times + t) * reads
                own, given_now = inputs[place : place + reads], given[n * wide + width : n * wide + width + reads]
                for j in range(reads):
                    given_now[j] = own[j]
            gate = gates[slot * examples * all_gates : (slot + 1) * examples * all_gates]
            by_columns(
                given, wide, panels, 0, 0, nothing, bias, r * all_gates, everything, gate, here, examples, all_gates,
                wide,
            )  # fmt: skip
            now, squashed = cells[slot * states : (slot + 1) * states], tanhs[slot * states : (slot + 1) * states]
            for n in range(examples):
                row, at = gate[n * all_gates : (n + 1) * all_gates], ((r * examples + n) * times + t) * width
                enter, forget, new, leave = _gates(row, width)
                both = row[: 2 * width]
                for j in range(2 * width):
                    both[j] = sigmoid(both[j])
                for j in range(width):
                    new[j] = tanh(new[j])
                for j in range(width):
                    leave[j] = sigmoid(leave[j])
                c, kept = now[n * width : (n + 1) * width], before[n * width : (n + 1) * width]
                for j in range(width):
                    c[j] = forget[j] * kept[j] + enter[j] * new[j]
                of_cell = squashed[n * width : (n + 1) * width]
                for j in range(width):
                    of_cell[j] = tanh(c[j])
                out = outputs[at : at + width]
                for j in range(width):
                    out[j] = leave[j] * of_cell[j]
            before = now
        for k in range(states):
            last[r * states + k] = before[k]


@contracted
def backward(
    of_outputs: Array,
    weight_ih: Array,
    weight_hh: Array,
    cell: Array,
    shape: Shape,
    read: Array,
    gates: Array,
    cells: Array,
    tanhs: Array,
    of_weights: Array,
    of_bias: Array,
    of_inputs: Array,
    of_hidden: Array,
    of_cell: Array,
) -> None:
    """Gradients from those of the outputs, and from those of the last states, which are in `of_hidden` and `of_cell`.

    There will be those of the first states. `of_weights` (replica, gate * hidden, read) and `of_bias` are zero before;
    `of_inputs` may be empty if nobody wants them.
    """
    replicas, examples, times, reads, width, wide = shape
    all_gates = 4 * width
    joined, panels = np.zeros(all_gates * wide, read.dtype), aligned(all_gates * wide, read)
    nothing, zeros, here = np.empty(0, read.dtype), np.zeros(wide, read.dtype), np.zeros(1, np.int64)
    one, everything, all_of_it = np.ones(1, read.dtype), read.dtype.type(EVERYTHING), read.dtype.type(1)
    states, together = examples * width, max(1, TOGETHER // max(1, examples))
    d_gates = aligned(together * examples * all_gates, read)
    turned, packed = aligned(len(d_gates), read), aligned(together * examples * wide, read)
    passed_on = aligned(examples * wide, read)
    for r in range(replicas):
        _join(weight_ih, weight_hh, r, reads, width, wide, joined)
        pack(joined, wide, all_gates, panels)
        passed, held = of_hidden[r * states : (r + 1) * states], of_cell[r * states : (r + 1) * states]
        own, own_bias = of_weights[r * all_gates * wide :], of_bias[r * all_gates : (r + 1) * all_gates]
        for high in range(times, 0, -together):
            low = max(0, high - together)
            for t in range(high - 1, low - 1, -1):
                slot, first = r * times + t, (t - low) * examples * all_gates
                of_gates = d_gates[first : first + examples * all_gates]
                before = cells[(slot - 1) * states : slot * states] if t else cell[r * states : (r + 1) * states]
                for n in range(examples):
                    at = slot * examples + n
                    enter, forget, new, leave = _gates(gates[at * all_gates : (at + 1) * all_gates], width)
                    row, squashed = of_gates[n * all_gates : (n + 1) * all_gates], tanhs[at * width : (at + 1) * width]
                    of_enter, of_forget, of_new, of_leave = _gates(row, width)
                    h, c = passed[n * width : (n + 1) * width], held[n * width : (n + 1) * width]
                    kept, output = before[n * width : (n + 1) * width], ((r * examples + n) * times + t) * width
                    of_output = of_outputs[output : output + width]
                    for j in range(width):
                        h[j] += of_output[j]
                    for j in range(width):
                        c[j] += h[j] * leave[j] * (ONE - squashed[j] * squashed[j])
                    for j in range(width):
                        of_leave[j] = h[j] * squashed[j] * leave[j] * (ONE - leave[j])
                    for j in range(width):
                        of_enter[j] = c[j] * new[j] * enter[j] * (ONE - enter[j])
                    for j in range(width):
                        of_forget[j] = c[j] * kept[j] * forget[j] * (ONE - forget[j])
                    for j in range(width):
                        of_new[j] = c[j] * enter[j] * (ONE - new[j] * new[j])
                    for j in range(width):
                        c[j] *= forget[j]
                columns, target = (wide, passed_on) if len(of_inputs) else (width, passed)
                by_columns(
                    of_gates, all_gates, panels, 0, 0, nothing, zeros, 0, everything, target, here, examples, columns,
                    all_gates,
                )  # fmt: skip
                for n in range(examples if len(of_inputs) else 0):
                    h, of_read = passed[n * width : (n + 1) * width], passed_on[n * wide : (n + 1) * wide]
                    for j in range(width):
                        h[j] = of_read[j]
                    place = ((r * examples + n) * times + t) * reads
                    of_input = of_inputs[place : place + reads]
                    for j in range(reads):
                        of_input[j] = of_read[width + j]
            rows, given = (high - low) * examples, read[(r * times + low) * examples * wide :]
            turn(d_gates, 0, all_gates, rows, all_gates, turned, 0, rows)
            pack(given, wide, rows, packed)
            by_rows(
                turned, 0, rows, 1, packed, 0, own, 0, wide, all_of_it, everything, own, 0, here, all_gates, wide, rows
            )
            sum_of_rows(d_gates, one, rows, all_gates, all_of_it, own_bias, 0, own_bias, 0, here)


@inlined
def _gates(row: Array, width: int) -> tuple[Array, Array, Array, Array]:
    return row[:width], row[width : 2 * width], row[2 * width : 3 * width], row[3 * width : 4 * width]


@inlined
def _join(weight_ih: Array, weight_hh: Array, replica: int, reads: int, width: int, wide: int, joined: Array) -> None:
    """A replica's weights (gate * hidden, read)."""
    for g in range(4 * width):
        row = joined[g * wide : (g + 1) * wide]
        of_states = weight_hh[(replica * 4 * width + g) * width : (replica * 4 * width + g + 1) * width]
        of_inputs = weight_ih[(replica * 4 * width + g) * reads : (replica * 4 * width + g + 1) * reads]
        for j in range(width):
            row[j] = of_states[j]
        for j in range(reads):
            row[width + j] = of_inputs[j]
