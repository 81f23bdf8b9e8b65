"""Cohorts that refute trains against plain modules, each trained alone by torch: the same numbers at the end."""

import math
import re
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.algorithms import SGD
from refute.architectures import Network, Weights, noise, products
from refute.architectures.folded import Folded
from refute.architectures.looped import Looped, MakeModule, made, outputs_of
from refute.datasets import Data
from refute.randomness import stream
from refute.training import Run, train

SEEDS = (3, 11, 4)
EXAMPLES, BATCH, STEPS, TESTED = 16, 8, 3, 5
"""The third step begins a second epoch."""
RATES, MOMENTUM, DECAY = (2**-4, 2**-5, 2**-4), 0.9, 2**-7
"""Rates and decay are kept in float32, which has these exactly."""
CLASSES, TOKENS = 3, 7

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}
"""Largest difference, relative to the largest number of a tensor if that is above 1.

In float32, roundings of 1e-7 grow where norms divide by small deviations: at most to 3e-5 in 1,000 architectures.
"""
BEYOND_KINKS = 2e-2
"""The same where roundings put a number on one side of a kink or of a tie here, and on the other there.

That sets one replica apart, in one of 700 random architectures. In float64 it does not happen.
"""
OF_LOSSES = {torch.float64: 2e-7, torch.float32: 2e-4}
"""Losses are kept in float32."""


def drawn_data(input_shape: tuple[int, ...], dtype: torch.dtype, *, tokens: bool) -> Data:
    """Every replica has its own subset of the pool, in its own order, and its own labels."""
    generator, pool = stream(0, "data"), 3 * EXAMPLES
    shape = (pool + TESTED, *input_shape)
    words = torch.randint(0, TOKENS, shape, generator=generator, dtype=torch.int32)
    inputs = words if tokens else torch.randn(shape, generator=generator).to(dtype)
    index = torch.stack([torch.randperm(pool, generator=generator)[:EXAMPLES] for _ in SEEDS])
    labels = torch.randint(0, CLASSES, index.shape, generator=generator)
    of_test = torch.zeros(TESTED, dtype=torch.int64)
    return Data(
        "drawn", inputs[:pool], index, labels, labels, None, None, inputs[pool:], of_test,
        CLASSES, input_shape, "",
    )  # fmt: skip


def in_precision(weights: Weights, dtype: torch.dtype) -> Weights:
    buffers = {name: b.to(dtype) if b.is_floating_point() else b.clone() for name, b in weights.buffers.items()}
    return Weights(weights.slots, weights.flat.to(dtype), buffers)


def trained(network: Network, data: Data, start: Weights, replicas: slice) -> Run:
    return train(
        network, data.take_replicas(replicas), SGD(MOMENTUM), learning_rate=RATES[replicas], seeds=SEEDS[replicas],
        steps=STEPS, batch=BATCH, weight_decay=DECAY, start=start.take(replicas),
    )  # fmt: skip


@dataclass(frozen=True)
class Alone:
    """A plain module after its training: its tensors, the loss of every step, and its outputs in evaluation."""

    tensors: dict[str, Tensor]
    losses: Tensor
    outputs: Tensor


def trained_alone(make: MakeModule, replica: int, data: Data, dtype: torch.dtype) -> Alone:
    """By torch alone: its weights, its order and its noise are named by the replica's seed."""
    seed = SEEDS[replica]
    module = made(make, stream(seed, "initialization").initial_seed()).to(dtype)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATES[replica], momentum=MOMENTUM, weight_decay=DECAY)
    own_noise, losses = int(noise.state(seed)[0]), []
    for step in range(STEPS):
        epoch, position = divmod(step, EXAMPLES // BATCH)
        order = torch.randperm(EXAMPLES, generator=stream(seed, f"order-{epoch}"))
        chosen = order[position * BATCH : (position + 1) * BATCH]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(own_noise, f"pass-{step}").initial_seed())
            outputs = outputs_of(module(data.inputs[data.index[replica][chosen]]))
        loss = functional.cross_entropy(outputs, data.labels[replica][chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    with torch.no_grad():
        outputs = outputs_of(module.eval()(data.test_inputs))
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return Alone({name: tensor.detach() for name, tensor in tensors.items()}, torch.stack(losses), outputs)


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number if that is above 1."""
    if not found.is_floating_point():
        return 0.0 if torch.equal(found, expected) else math.inf
    worst = float((found.double() - expected.double()).abs().max()) / max(1.0, float(expected.abs().max()))
    return math.inf if math.isnan(worst) else worst


def check(make: MakeModule, network: Network, dtype: torch.dtype, *, tokens: bool = False, kinks: bool = False) -> None:
    """Train a cohort with refute, and every replica of it with torch alone: what is left agrees, tensor by tensor.

    `kinks`: one replica may be as far apart as a kink can bring it.
    """
    data = drawn_data(network.input_shape, dtype, tokens=tokens)
    start = in_precision(network.initialize(SEEDS), dtype)
    together = trained(network, data, start, slice(0, len(SEEDS)))
    outputs = network.evaluate(together.end, data.test_inputs)
    assert outputs.dtype == together.end.flat.dtype == dtype
    beyond: dict[int, str] = {}
    for replica in range(len(SEEDS)):
        alone = trained_alone(make, replica, data, dtype)
        left_out = set(alone.tensors) - set(together.end)  # known layers count no batches
        assert all(name.endswith("num_batches_tracked") for name in left_out), left_out
        found = {n: apart(together.end[n][replica], t) for n, t in alone.tensors.items() if n not in left_out}
        found |= {"outputs": apart(outputs[replica], alone.outputs)}
        of_losses = apart(together.losses[replica], alone.losses)
        worst = max(found, key=lambda name: found[name])
        if found[worst] > TOLERANCE[dtype] or of_losses > OF_LOSSES[dtype]:
            beyond[replica] = f"{worst}: {found[worst]:.1e} apart, losses: {of_losses:.1e}"
            assert kinks, beyond
            assert max(found[worst], of_losses) <= BEYOND_KINKS, beyond
    assert len(beyond) <= kinks, beyond
    assert_packing_changes_nothing(network, data, start, together)


SHARP = {"relu", "leaky-relu"}
"""Functions of which torch gives the same bits wherever a number stands in memory."""


def assert_packing_changes_nothing(network: Network, data: Data, start: Weights, together: Run) -> None:
    """The second replica among others and by itself: if replicas are looped, or go in groups, the same bits.

    Not where torch multiplies for a module: MKL's last bit depends on places in memory, but on Intel's processors.
    """
    dtype, second = start.flat.dtype, slice(1, 2)
    one, single = together.take(second), trained(network, data, start, second)
    functions = set(re.findall(r"function='([\w-]+)'", repr(network.layers)))
    by_torch = any(isinstance(layer, Folded | Looped) for layer in network.layers) and not products.mkl_is_at_home()
    bits = network.mode == "looped" and not by_torch and (network.together(BATCH) == 1 or functions <= SHARP)
    for name, tensor in single.end.items():
        assert apart(one.end[name], tensor) <= (0.0 if bits else TOLERANCE[dtype]), name
    assert apart(one.losses, single.losses) <= (0.0 if bits else OF_LOSSES[dtype])
