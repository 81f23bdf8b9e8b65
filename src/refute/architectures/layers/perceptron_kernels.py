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
from refute.architectures.layers.small_products import BLOCK, EVERYTHING, LEAST, rows_alone, turn
from refute.architectures.layers.tiled_products import (
    aligned,
    by_columns,
    by_rows,
    in_panels,
    pack,
    rows_near,
    sum_of_rows,
)

AT_A_TIME = 120
"""Examples that go through all layers of an evaluation, so that they stay in cache: ten times the rows of a product."""
PACKED = 2**14
"""Weights of a layer from which on the operands of their gradient are packed."""


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
    nothing = np.empty(0, inputs.dtype)
    zero, everything, here = inputs.dtype.type(0), inputs.dtype.type(EVERYTHING), np.zeros(1, np.int64)
    panels = aligned((widths[:-1] * wide[1:]).sum(), inputs)
    panels[:] = zero  # columns beyond a layer's own stay 0
    biases = np.zeros(wide[1:].sum(), inputs.dtype)
    own, other = aligned(AT_A_TIME * wide.max(), inputs), aligned(AT_A_TIME * wide.max(), inputs)
    for r in range(len(places)):
        of_weights, of_biases = 0, 0
        for layer in range(layers):
            reads, writes = widths[layer], widths[layer + 1]
            weight, bias = places[r, layer]
            in_panels(weights, weight, reads, writes, panels, of_weights)
            if bias >= 0:
                biases[of_biases : of_biases + writes] = weights[bias : bias + writes]
            of_weights += reads * wide[layer + 1]
            of_biases += wide[layer + 1]
        for first in range(0, examples, AT_A_TIME):
            count = min(AT_A_TIME, examples - first)
            read = inputs[r * apart + first * widths[0] : r * apart + (first + count) * widths[0]]
            put_out = widths[-1]
            found = outputs[(r * examples + first) * put_out : (r * examples + first + count) * put_out]
            of_weights, of_biases = 0, 0
            for layer in range(layers):
                reads, writes = widths[layer], wide[layer + 1]
                is_last = layer + 1 == layers
                written = found if is_last and writes == put_out else own[: count * writes]
                least = everything if is_last else zero
                by_columns(
                    read, reads, panels, of_weights, 0, nothing, biases, of_biases, least, written, here, count, writes,
                    reads,
                )  # fmt: skip
                of_weights += reads * writes
                of_biases += writes
                read = written
                own, other = other, own
            for n in range(count if wide[-1] > put_out else 0):
                line, beginning = found[n * put_out : (n + 1) * put_out], read[n * wide[-1] : (n + 1) * wide[-1]]
                for o in range(put_out):
                    line[o] = beginning[o]


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
    values: Array,
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
    """Steps of gradient descent on the mean loss of so many examples each: v <- keep v + g + decay w, w <- w - rate v.

    A replica takes all steps before the next one does, with its weights in cache. `into` holds v. `values` (replica,
    step, example, output) are what the outputs should be, and the loss is the mean squared difference; if there are
    none, it is the cross-entropy, and `labels` (replica, step, example) are below the number of outputs. `rate` and, to
    be written, the mean `losses` are (replica, step), `decay` (replica,).
    """
    replicas, read_at_once, put_out = len(places), examples * widths[0], examples * widths[-1]
    steps = len(rate) // replicas
    hidden = aligned(examples * widths[1:-1].sum(), inputs)
    found = aligned(put_out, inputs)
    squares = aligned(widths[-1], inputs)
    nothing = np.empty(0, inputs.dtype)
    for r in range(replicas):
        for n in range(r * steps, (r + 1) * steps):
            read = inputs[n * read_at_once : (n + 1) * read_at_once]
            _forward(read, weights, places[r], widths, examples, hidden, found)
            if len(values):
                losses[n] = _mean_square(found, values[n * put_out : (n + 1) * put_out], examples, squares)
            else:
                losses[n] = _cross_entropy(found, labels[n * examples : (n + 1) * examples], widths[-1])
            _backward(
                read, hidden, found, weights, places[r], into, into_places[r], keep, widths, examples, nothing,
                True, rate[n], decay[r],
            )  # fmt: skip


@inlined
def _mean_square(outputs: Array, values: Array, examples: int, squares: Array) -> float:
    """The mean squared difference; its gradient takes the place of the outputs. `squares`: room for an example."""
    wide, twice = len(squares), outputs.dtype.type(2) / len(outputs)
    for o in range(wide):
        squares[o] = 0
    for n in range(examples):
        line, wanted = outputs[n * wide : (n + 1) * wide], values[n * wide : (n + 1) * wide]
        for o in range(wide):
            difference = line[o] - wanted[o]
            squares[o] += difference * difference
            line[o] = twice * difference
    total = 0.0
    for o in range(wide):
        total += np.float64(squares[o])
    return total / len(outputs)


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
    turned, found = aligned(most, read), aligned(widths[1:].max() * wide, read)
    zero, one, here = read.dtype.type(0), read.dtype.type(1), np.zeros(1, np.int64)
    nothing = np.zeros(widths.max(), read.dtype)
    spot = 0
    for layer in range(layers):
        reads, writes = widths[layer], widths[layer + 1]
        weight, bias = places[layer]
        written = hidden[spot : spot + examples * writes] if layer + 1 < layers else outputs
        least = zero if layer + 1 < layers else read.dtype.type(EVERYTHING)
        spot += examples * writes
        if _turns_weights(reads, writes, examples):
            in_panels(weights, weight, reads, writes, turned, 0)
            if bias >= 0:
                start, start_at = weights, bias
            else:
                start, start_at = nothing, 0
            by_columns(
                read, reads, turned, 0, 0, turned[:0], start, start_at, least, written, here, examples, writes, reads
            )
        else:
            in_panels(read, 0, reads, examples, turned, 0)
            for o in range(writes):
                found[o * wide : (o + 1) * wide] = weights[bias + o] if bias >= 0 else zero
            by_rows(
                weights, weight, reads, 1, turned, 0, found, 0, wide, one, least, found, 0, here, writes, wide, reads
            )
            turn(found, 0, wide, writes, examples, written, 0, writes)
        read = written


@inlined
def _turns_weights(reads: int, writes: int, examples: int) -> bool:
    """Whether weights are turned, and not the examples: those only if they are fewer, and all stay in cache."""
    few = examples <= rows_near(examples, reads) and reads * writes > examples * (reads + writes)
    return writes % LEAST == 0 and not few


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
    own, unmasked = aligned(most, inputs), aligned(most, inputs)
    panel = aligned(widths[1:].max() * BLOCK, inputs)
    turned, panels = aligned(examples * widths[1:].max(), inputs), aligned(most, inputs)
    nothing, one, here = np.zeros(widths.max(), inputs.dtype), np.ones(1, inputs.dtype), np.zeros(1, np.int64)
    zero, share, everything = inputs.dtype.type(0), inputs.dtype.type(keep), inputs.dtype.type(EVERYTHING)
    spot, d = len(hidden), gradient
    for layer in range(layers - 1, -1, -1):
        reads, writes = widths[layer], widths[layer + 1]
        spot -= examples * reads
        read = hidden[spot : spot + examples * reads] if layer else inputs
        below = unmasked[: examples * reads] if layer else passed
        weight, bias = places[layer]
        of_weight, of_bias = into_places[layer]
        packs = reads * writes >= PACKED
        if len(below):
            copied = panel[: writes * BLOCK if packs else 0]
            by_columns(
                d, writes, weights, weight, reads, copied, nothing, 0, everything, below, here, examples, reads, writes
            )
        part = rows_near(examples, reads)
        for first in range(0, max(1, examples), part):
            count = min(part, examples - first)
            of_part, read_by_part = d[first * writes :], read[first * reads : (first + count) * reads]
            if packs:
                turn(of_part, 0, writes, count, writes, turned, 0, count)
                pack(read_by_part, reads, count, panels)
                a, a_row, a_step, b, b_row = turned, count, 1, panels, 0
            else:
                a, a_row, a_step, b, b_row = of_part, 1, writes, read_by_part, reads
            kept, fresh = one[0] if first else share, keep == 0 and first == 0
            start, start_row = (nothing, 0) if fresh else (into, reads)
            o = 0
            while o < writes:
                rows, at = rows_alone(writes - o), of_weight + o * reads
                by_rows(
                    a, o * a_row, a_row, a_step, b, b_row, start, 0 if fresh else at, start_row, kept, everything,
                    into, at, here, rows, reads, count,
                )  # fmt: skip
                if moves and first + count == examples:
                    _follow(weights, weight + o * reads, into, at, rows * reads, rate, decay)
                o += rows
        if bias >= 0:
            start, start_at = (into, of_bias) if keep else (nothing, 0)
            sum_of_rows(d, one, examples, writes, share, start, start_at, into, of_bias, here)
            if moves:
                _follow(weights, bias, into, of_bias, writes, rate, decay)
        if layer:
            d = own[: examples * reads]
            for at in range(len(below)):
                value = below[at]  # in any case: what may be skipped is a branch
                d[at] = zero if read[at] <= zero else value


@inlined
def _follow(weights: Array, first: int, into: Array, first_into: int, count: int, rate: float, decay: float) -> None:
    w, v = weights[first : first + count], into[first_into : first_into + count]
    if decay != 0:
        for i in range(count):
            v[i] += decay * w[i]
    for i in range(count):
        w[i] -= rate * v[i]
