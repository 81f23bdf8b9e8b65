"""JAX on the CPU, in the way that is fastest for a net; all ways are tried when the contestant is made ready.

Either the whole training is one compiled program, a scan over the steps, with the replicas through vmap or one after
the other through lax.map. Or single steps are compiled, of all replicas by vmap or of one. Convolutions go in single
steps only: inside of a loop XLA does not use its fast ones (a step of conv-28 took eight times as long). Compilation is
reported apart.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contestants.nets import Net
from contestants.task import (
    EVALUATED,
    LEARNING_RATE,
    MOMENTUM,
    Contestant,
    LeftOutError,
    Outcome,
    Task,
    loaded,
    made,
    order,
    outcome,
)

try:
    import jax
    import jax.numpy as jnp

    from contestants import jax_nets
except ImportError:
    jax = None

LONG_S = 3.0
"""A trial that takes longer is not repeated."""


@dataclass(frozen=True)
class _Program:
    """`train(weights, statistics, orders)` gives both after training, and losses (replica, step); `score(weights)`."""

    train: Callable[..., Any]
    score: Callable[..., Any]


def build(task: Task) -> Contestant:
    if jax is None:
        raise LeftOutError("jax is not installed")
    arrays = tuple(jnp.asarray(tensor.numpy()) for tensor in loaded(task.net))
    ways = [way for way in WAYS if not (task.what.kind == "conv" and way.endswith("scan"))]
    programs: dict[tuple[str, int], _Program] = {}
    best: list[str] = []

    def prepare(steps: int) -> None:
        for way in best or ways:
            programs[way, steps] = WAYS[way](task, steps, arrays)
        if not best:
            best.append(min(ways, key=lambda way: seconds(way, steps)))

    def seconds(way: str, steps: int) -> float:
        taken = _run(task, programs[way, steps], steps).training_s
        return taken if taken > LONG_S else min(taken, _run(task, programs[way, steps], steps).training_s)

    def run(steps: int) -> Outcome:
        return _run(task, programs[best[0], steps], steps)

    return Contestant(run, prepare, lambda: best[0])


def _run(task: Task, program: _Program, steps: int) -> Outcome:
    weights, statistics = _start(task)
    orders = _orders(task, steps)
    started = time.perf_counter()
    weights, statistics, losses = program.train(weights, statistics, orders)
    losses = np.array(losses)
    training_s = time.perf_counter() - started
    score = program.score(jax.tree.map(jnp.asarray, {**weights, **statistics}))
    return outcome(torch.from_numpy(losses), float(score), training_s)


def _start(task: Task) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Initial weights and statistics, each with a leading replica axis."""
    states = [made(task.what, seed).state_dict() for seed in range(task.replicas)]
    drawn = [jax_nets.converted(task.what, {name: t.numpy() for name, t in state.items()}) for state in states]
    stacked = {name: np.stack([each[name] for each in drawn]) for name in drawn[0]}
    statistics = {name: array for name, array in stacked.items() if name.endswith(jax_nets.STATISTICS)}
    return {name: array for name, array in stacked.items() if name not in statistics}, statistics


def _orders(task: Task, steps: int) -> NDArray[np.int32]:
    """Which examples each replica sees in each step, (replica, step, batch)."""
    epochs, used = -(-steps // task.per_epoch), task.per_epoch * task.batch
    rows = [torch.cat([order(seed, epoch)[:used] for epoch in range(epochs)]) for seed in range(task.replicas)]
    found: NDArray[np.int32] = torch.stack(rows).to(torch.int32).numpy()
    return found.reshape(task.replicas, -1, task.batch)[:, :steps]


# What one replica does ------------------------------------------------------------------------------------------------


def _loss(net: Net, outputs: Any, inputs: Any, labels: Any) -> Any:
    if net.reconstructs:
        return ((outputs - inputs) ** 2).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1).mean()


def _step(net: Net) -> Callable[..., Any]:
    """(weights, velocity, statistics), which examples, inputs, labels -> those after a step, and the loss."""
    forward = jax_nets.forward(net)

    def loss(weights: Any, statistics: Any, x: Any, y: Any) -> Any:
        outputs, new = forward({**weights, **statistics}, x, True)
        return _loss(net, outputs, x, y), new

    def step(carry: Any, chosen: Any, inputs: Any, labels: Any) -> Any:
        weights, velocity, statistics = carry
        x, y = inputs[chosen], labels[chosen]
        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(weights, statistics, x, y)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        weights = jax.tree.map(lambda w, v: w - LEARNING_RATE * v, weights, velocity)
        return (weights, velocity, statistics), value

    return step


def _score(net: Net) -> Callable[..., Any]:
    """Accuracy (or loss) on some examples."""
    forward = jax_nets.forward(net)

    def score(weights: Any, x: Any, y: Any) -> Any:
        outputs, _ = forward(weights, x, False)
        return ((outputs - x) ** 2).mean() if net.reconstructs else (outputs.argmax(-1) == y).mean()

    return score


def _at_rest(weights: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, weights)


# One program: a scan --------------------------------------------------------------------------------------------------


def _scanned(over_replicas: Callable[..., Any]) -> Callable[..., _Program]:
    def compiled(task: Task, steps: int, arrays: tuple[Any, ...]) -> _Program:
        net = task.what
        step, score, size = _step(net), _score(net), EVALUATED[net.kind]

        def train(weights: Any, statistics: Any, orders: Any, inputs: Any, labels: Any) -> Any:
            start = (weights, _at_rest(weights), statistics)
            (weights, _, statistics), losses = jax.lax.scan(lambda c, o: step(c, o, inputs, labels), start, orders)
            return weights, statistics, losses

        def evaluate(weights: Any, inputs: Any, labels: Any) -> Any:
            parts = (inputs.reshape(-1, size, *net.shape), labels.reshape(-1, size))
            return jax.lax.map(lambda part: score(weights, *part), parts).mean()

        weights, statistics = _start(task)
        example = (weights, statistics, _orders(task, steps), *arrays[:2])
        training = jax.jit(over_replicas(train, 2)).lower(*example).compile()
        mean = jax.jit(lambda *arguments: over_replicas(evaluate, 2)(*arguments).mean())
        evaluation = mean.lower({**weights, **statistics}, *arrays[2:]).compile()
        return _Program(lambda *own: training(*own, *arrays[:2]), lambda own: evaluation(own, *arrays[2:]))

    return compiled


def _vmap(function: Callable[..., Any], shared: int) -> Callable[..., Any]:
    """A function of one replica's arguments and of `shared` that all have, for all replicas at once."""

    def all_at_once(*arguments: Any) -> Any:
        own = len(arguments) - shared
        return jax.vmap(function, in_axes=(0,) * own + (None,) * shared)(*arguments)

    return all_at_once


def _map(function: Callable[..., Any], shared: int) -> Callable[..., Any]:
    """The same, one replica after the other."""

    def one_by_one(*arguments: Any) -> Any:
        own, common = arguments[: len(arguments) - shared], arguments[len(arguments) - shared :]
        return jax.lax.map(lambda each: function(*each, *common), own)

    return one_by_one


# Single steps ---------------------------------------------------------------------------------------------------------


def _steps_at_once(task: Task, steps: int, arrays: tuple[Any, ...]) -> _Program:
    """Compiled steps of all replicas."""
    step = jax.jit(_vmap(_step(task.what), 2), donate_argnums=0)
    score = jax.jit(_vmap(_score(task.what), 2))

    def train(weights: Any, statistics: Any, orders: Any) -> Any:
        carry, losses = _carry(weights, statistics), []
        for at in range(orders.shape[1]):
            carry, loss = step(carry, orders[:, at], *arrays[:2])
            losses.append(loss)
        return carry[0], carry[2], jnp.stack(losses, axis=1)

    program = _Program(train, lambda weights: _mean(lambda x, y: score(weights, x, y), task, arrays))
    _run(task, program, min(2, steps))  # compiles
    return program


def _steps_one_by_one(task: Task, steps: int, arrays: tuple[Any, ...]) -> _Program:
    """Compiled steps of one replica."""
    step, score = jax.jit(_step(task.what), donate_argnums=0), jax.jit(_score(task.what))

    def train(weights: Any, statistics: Any, orders: Any) -> Any:
        ends, losses = [], []
        for replica in range(len(orders)):
            carry = _carry(*jax.tree.map(lambda array, r=replica: array[r], (weights, statistics)))
            own = []
            for chosen in orders[replica]:
                carry, loss = step(carry, chosen, *arrays[:2])
                own.append(loss)
            ends.append((carry[0], carry[2]))
            losses.append(jnp.stack(own))
        return *jax.tree.map(lambda *each: jnp.stack(each), *ends), jnp.stack(losses)

    def evaluate(weights: Any) -> float:
        replicas = len(next(iter(weights.values())))
        each = [jax.tree.map(lambda array, r=replica: array[r], weights) for replica in range(replicas)]
        scores = [_mean(lambda x, y, own=own: score(own, x, y), task, arrays) for own in each]
        return sum(scores) / len(scores)

    program = _Program(train, evaluate)
    _run(task, program, min(2, steps))  # compiles
    return program


def _carry(weights: Any, statistics: Any) -> Any:
    weights, statistics = jax.tree.map(jnp.asarray, (weights, statistics))
    return weights, _at_rest(weights), statistics


def _mean(score: Callable[[Any, Any], Any], task: Task, arrays: tuple[Any, ...]) -> float:
    """Over the test examples, in parts."""
    size, (inputs, labels) = EVALUATED[task.what.kind], arrays[2:]
    parts = [score(inputs[at : at + size], labels[at : at + size]) for at in range(0, len(labels), size)]
    return float(jnp.stack(parts).mean())


WAYS: dict[str, Callable[[Task, int, tuple[Any, ...]], _Program]] = {
    "vmap, scan": _scanned(_vmap),
    "lax.map, scan": _scanned(_map),
    "vmap, single steps": _steps_at_once,
    "one by one, single steps": _steps_one_by_one,
}
