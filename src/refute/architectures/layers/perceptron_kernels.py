"""A perceptron in training, compiled for the processor at hand: dense layers with relus between them.

A replica goes through all layers, and in `descend` through its whole step, before the next one does: its weights and
activations stay in the processor's own cache, and nothing is called between two products. On small batches that is what
such nets wait for (see benchmarks/NOTES.md).

Arrays are contiguous with one axis, float32 or float64. `widths`: numbers that the first layer reads, then those that
each layer writes; all but the last are multiples of `LEAST`. `places` (replica, layer, 2): where a layer's weight
(output, input) and its bias begin among all weights, -1 without a bias; `into_places`: the same of their gradients in
`into`. `hidden`: what all layers but the last put out, (layer, example, feature) of each replica. Sums are in an order
that depends on the shapes of one replica alone: packing replicas differently changes no bit.
"""

import numpy as np

from refute.architectures.layers.axes import Integers
from refute.architectures.layers.kernels import Array, contracted, inlined
from refute.architectures.layers.small_products import LEAST, columns_of, product, rows_alone, turn

AT_A_TIME = 120
"""Examples that go through all layers of an evaluation, so that they stay in cache: ten times the rows of a product."""


@contracted
def forward(
    inputs: Array, weights: Array, places: Integers, widths: Integers, examples: int, hidden: Array, outputs: Array
) -> None:
    """Outputs (replica, example, output)."""
    replicas, behind, put_out = len(places), examples * widths[1:-1].sum(), examples * widths[-1]
    for r in range(replicas):
        read = inputs[r * examples * widths[0] : (r + 1) * examples * widths[0]]
        own, written = hidden[r * behind : (r + 1) * behind], outputs[r * put_out : (r + 1) * put_out]
        _forward(read, weights, places[r], widths, examples, own, written)


@contracted
def evaluate(
    inputs: Array,
    apart: int,
    weights: Array,
    places: Integers,
    widths: Integers,
    examples: int,
    outputs: Array,
) -> None:
    """Outputs (replica, example, output) without keeping anything; `AT_A_TIME` examples go through all layers.

    `apart`: numbers from the inputs of one replica to those of the next, 0 if they share them.
    """
    layers, wide = len(widths) - 1, widths + -widths % LEAST
    panels = np.zeros((widths[:-1] * wide[1:]).sum(), inputs.dtype)  # columns beyond a layer's own stay 0
    biases = np.zeros(wide[1:].sum(), inputs.dtype)
    own, other = np.empty(AT_A_TIME * wide.max(), inputs.dtype), np.empty(AT_A_TIME * wide.max(), inputs.dtype)
    for r in range(len(places)):
        of_weights, of_biases = 0, 0
        for layer in range(layers):
            reads, writes = widths[layer], widths[layer + 1]
            weight, bias = places[r, layer]
            _in_panels(weights, weight, reads, writes, panels, of_weights)
            if bias >= 0:
                biases[of_biases : of_biases + writes] = weights[bias : bias + writes]
            of_weights += reads * wide[layer + 1]
            of_biases += wide[layer + 1]
        for first in range(0, examples, AT_A_TIME):
            count = min(AT_A_TIME, examples - first)
            read = inputs[r * apart + first * widths[0] : r * apart + (first + count) * widths[0]]
            of_weights, of_biases = 0, 0
            for layer in range(layers):
                reads, writes = widths[layer], wide[layer + 1]
                written = own[: count * writes]
                _by_columns(read, reads, panels, of_weights, 0, biases, of_biases, written, count, writes, reads)
                if layer + 1 < layers:
                    _rectify(written)
                of_weights += reads * writes
                of_biases += writes
                read = written
                own, other = other, own
            put_out = widths[-1]
            found = outputs[(r * examples + first) * put_out : (r * examples + first + count) * put_out]
            for n in range(count):
                for o in range(put_out):
                    found[n * put_out + o] = read[n * wide[-1] + o]


@contracted
def backward(
    inputs: Array,
    hidden: Array,
    gradient: Array,
    weights: Array,
    places: Integers,
    into: Array,
    into_places: Integers,
    keep: float,
    widths: Integers,
    examples: int,
    passed: Array,
    rate: Array,
    decay: Array,
) -> None:
    """Gradients g of the weights: what is in their place, h, becomes keep h + g, or g if keep is 0.

    `gradient` (replica, example, output) is that of the outputs, `passed` (replica, example, input) will be that of the
    inputs if it is not empty. If `rate` and `decay` (replica,) are not empty, h is a velocity, and the weights follow:
    h <- keep h + g + decay w, then w <- w - rate h.
    """
    replicas, behind, put_out = len(places), examples * widths[1:-1].sum(), examples * widths[-1]
    moves, zero = len(rate) > 0, inputs.dtype.type(0)
    for r in range(replicas):
        first, last = r * examples * widths[0], (r + 1) * examples * widths[0]
        own, of_outputs = hidden[r * behind : (r + 1) * behind], gradient[r * put_out : (r + 1) * put_out]
        _backward(
            inputs[first:last], own, of_outputs, weights, places[r], into, into_places[r], keep, widths, examples,
            passed[first:last], moves, rate[r] if moves else zero, decay[r] if moves else zero,
        )  # fmt: skip


@contracted
def descend(
    inputs: Array,
    labels: Integers,
    weights: Array,
    places: Integers,
    into: Array,
    into_places: Integers,
    keep: float,
    widths: Integers,
    examples: int,
    rate: Array,
    decay: Array,
    losses: Array,
) -> None:
    """A step of gradient descent on the mean cross-entropy: v <- keep v + g + decay w, then w <- w - rate v.

    `into` holds v. `labels` (replica, example) are below the number of outputs; `rate`, `decay` and, to be written, the
    mean `losses` are (replica,).
    """
    replicas, outputs = len(places), widths[-1]
    hidden = np.empty(examples * widths[1:-1].sum(), inputs.dtype)
    found = np.empty(examples * outputs, inputs.dtype)
    nothing = np.empty(0, inputs.dtype)
    for r in range(replicas):
        read = inputs[r * examples * widths[0] : (r + 1) * examples * widths[0]]
        _forward(read, weights, places[r], widths, examples, hidden, found)
        losses[r] = _cross_entropy(found, labels[r * examples : (r + 1) * examples], outputs)
        _backward(
            read, hidden, found, weights, places[r], into, into_places[r], keep, widths, examples, nothing,
            True, rate[r], decay[r],
        )  # fmt: skip


@inlined
def _cross_entropy(outputs: Array, labels: Integers, classes: int) -> float:
    """The mean loss; its gradient takes the place of the outputs."""
    examples, total = len(labels), 0.0
    for n in range(examples):
        line, label = outputs[n * classes : (n + 1) * classes], labels[n]
        largest = line[0]
        for c in range(classes):
            largest = max(largest, line[c])
        at_label, terms = line[label] - largest, line.dtype.type(0)
        for c in range(classes):
            line[c] = np.exp(line[c] - largest)
            terms += line[c]
        total += np.float64(np.log(terms) - at_label)
        line[label] -= terms
        for c in range(classes):
            line[c] = line[c] / terms / examples
    return total / examples


@inlined
def _forward(
    read: Array, weights: Array, places: Integers, widths: Integers, examples: int, hidden: Array, outputs: Array
) -> None:
    """Of one replica. What is fewer is turned around for a layer: its weights, or what it reads and writes."""
    layers, wide = len(places), examples + -examples % LEAST
    most = 0
    for layer in range(layers):
        reads, writes = widths[layer], widths[layer + 1]
        most = max(most, reads * (writes if _turns_weights(reads, writes, examples) else wide))
    turned, found = np.empty(most, read.dtype), np.empty(widths[1:].max() * wide, read.dtype)
    zero, one = read.dtype.type(0), read.dtype.type(1)
    nothing = np.zeros(widths.max(), read.dtype)
    spot = 0
    for layer in range(layers):
        reads, writes = widths[layer], widths[layer + 1]
        weight, bias = places[layer]
        written = hidden[spot : spot + examples * writes] if layer + 1 < layers else outputs
        spot += examples * writes
        if _turns_weights(reads, writes, examples):
            _in_panels(weights, weight, reads, writes, turned, 0)
            if bias >= 0:
                start, start_at = weights, bias
            else:
                start, start_at = nothing, 0
            _by_columns(read, reads, turned, 0, 0, start, start_at, written, examples, writes, reads)
        else:
            turn(read, 0, reads, examples, reads, turned, 0, wide)
            for o in range(writes):
                found[o * wide : (o + 1) * wide] = weights[bias + o] if bias >= 0 else zero
            _by_rows(weights, weight, reads, 1, turned, wide, found, 0, wide, one, found, 0, writes, wide, reads)
            turn(found, 0, wide, writes, examples, written, 0, writes)
        if layer + 1 < layers:
            _rectify(written)
        read = written


@inlined
def _turns_weights(reads: int, writes: int, examples: int) -> bool:
    return writes % LEAST == 0 and reads * writes <= examples * (reads + writes)


@inlined
def _backward(
    inputs: Array,
    hidden: Array,
    gradient: Array,
    weights: Array,
    places: Integers,
    into: Array,
    into_places: Integers,
    keep: float,
    widths: Integers,
    examples: int,
    passed: Array,
    moves: bool,
    rate: float,
    decay: float,
) -> None:
    """Of one replica. If it `moves`, `into` holds a velocity, and the weights follow it."""
    layers = len(places)
    most = examples * widths[:layers].max()
    own, other = np.empty(most, inputs.dtype), np.empty(most, inputs.dtype)
    nothing = np.zeros(widths.max(), inputs.dtype)
    zero, share, one = inputs.dtype.type(0), inputs.dtype.type(keep), inputs.dtype.type(1)
    spot, d = len(hidden), gradient
    for layer in range(layers - 1, -1, -1):
        reads, writes = widths[layer], widths[layer + 1]
        spot -= examples * reads
        read = hidden[spot : spot + examples * reads] if layer else inputs
        below = own[: examples * reads] if layer else passed
        weight, bias = places[layer]
        of_weight, of_bias = into_places[layer]
        if len(below):
            _by_columns(d, writes, weights, weight, reads, nothing, 0, below, examples, reads, writes)
        o = 0
        while o < writes:
            rows, at = rows_alone(writes - o), of_weight + o * reads
            if keep:
                _by_rows(d, o, 1, writes, read, reads, into, at, reads, share, into, at, rows, reads, examples)
            else:
                _by_rows(d, o, 1, writes, read, reads, nothing, 0, 0, one, into, at, rows, reads, examples)
            if moves:
                _follow(weights, weight + o * reads, into, at, rows * reads, rate, decay)
            o += rows
        if bias >= 0:
            total = into[of_bias : of_bias + writes]
            for o in range(writes):
                total[o] = share * total[o] if keep else zero
            for n in range(examples):
                line = d[n * writes : (n + 1) * writes]
                for o in range(writes):
                    total[o] += line[o]
            if moves:
                _follow(weights, bias, into, of_bias, writes, rate, decay)
        if layer:
            for at in range(len(below)):
                below[at] = zero if read[at] <= zero else below[at]
        d = below
        own, other = other, own


@inlined
def _by_rows(
    a: Array, a_at: int, a_row: int, a_step: int, b: Array, b_row: int, start: Array, start_at: int, start_row: int,
    share: float, c: Array, c_at: int, rows: int, columns: int, steps: int,
) -> None:  # fmt: skip
    """c[m, n] = share start[m, n] + the sum over k of a[m, k] b[k, n]; c has as many columns in memory."""
    here, m = np.zeros(1, np.int64), 0  # where the only tap is
    while m < rows:
        tall, n = rows_alone(rows - m), 0
        while n < columns:
            wide, at = columns_of(columns - n), c_at + m * columns + n
            product(
                a, a_at + m * a_row, b, n, start, start_at + m * start_row + n, c, at, share,
                here, here, 1, steps, tall, wide, a_row, a_step, b_row, start_row, columns,
            )  # fmt: skip
            n += wide
        m += tall


@inlined
def _by_columns(
    a: Array, a_row: int, b: Array, b_at: int, b_row: int, start: Array, start_at: int,
    c: Array, rows: int, columns: int, steps: int,
) -> None:  # fmt: skip
    """c[m, n] = start[n] + the sum over k of a[m, k] b[k, n], in the other order: b is read once, a again and again.

    `b_row`: numbers from one row of b to the next, 0 if `_in_panels` turned it.
    """
    here, n, one = np.zeros(1, np.int64), 0, c.dtype.type(1)
    while n < columns:
        wide, m = columns_of(columns - n), 0
        b_first, b_next = (n, b_row) if b_row else (n * steps, wide)
        while m < rows:
            tall = rows_alone(rows - m)
            product(
                a, m * a_row, b, b_at + b_first, start, start_at + n, c, m * columns + n, one,
                here, here, 1, steps, tall, wide, a_row, 1, b_next, 0, columns,
            )  # fmt: skip
            m += tall
        n += wide


@inlined
def _in_panels(weights: Array, first: int, reads: int, writes: int, panels: Array, panels_at: int) -> None:
    """A layer's weights turned, the columns of each product by themselves: what it reads lies together.

    There are as many columns as the next multiple of `LEAST`; those beyond `writes` are left as they are.
    """
    columns, n = writes + -writes % LEAST, 0
    while n < columns:
        wide = columns_of(columns - n)
        turn(weights, first + n * reads, reads, min(wide, writes - n), reads, panels, panels_at + n * reads, wide)
        n += wide


@inlined
def _rectify(numbers: Array) -> None:
    zero = numbers.dtype.type(0)
    for at in range(len(numbers)):
        numbers[at] = zero if numbers[at] <= zero else numbers[at]


@inlined
def _follow(weights: Array, first: int, into: Array, first_into: int, count: int, rate: float, decay: float) -> None:
    w, v = weights[first : first + count], into[first_into : first_into + count]
    if decay != 0:
        for i in range(count):
            v[i] += decay * w[i]
    for i in range(count):
        w[i] -= rate * v[i]
