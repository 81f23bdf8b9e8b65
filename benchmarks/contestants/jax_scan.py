"""JAX on the CPU: the whole training of all replicas is one compiled program, a scan over the steps.

Replicas go through vmap, or one after the other through lax.map where that is found to be faster (convolutions, which
vmap turns into grouped ones). Compilation is reported apart.
"""

import time
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


def build(task: Task) -> Contestant:
    if jax is None:
        raise LeftOutError("jax is not installed")
    arrays = tuple(jnp.asarray(tensor.numpy()) for tensor in loaded(task.net))
    programs: dict[tuple[str, int], Any] = {}
    best: list[str] = []

    def prepare(steps: int) -> None:
        ways = best or list(WAYS)
        for way in ways:
            programs[way, steps] = _compiled(task, way, steps, arrays)
        if not best:
            best.append(min(ways, key=lambda way: seconds(way, steps)))

    def seconds(way: str, steps: int) -> float:
        return min(_run(task, programs[way, steps], steps, arrays).training_s for _ in range(2))

    def run(steps: int) -> Outcome:
        return _run(task, programs[best[0], steps], steps, arrays)

    return Contestant(run, prepare, lambda: best[0])


def _run(task: Task, program: Any, steps: int, arrays: tuple[Any, ...]) -> Outcome:
    weights, statistics = _start(task)
    orders = _orders(task, steps)
    started = time.perf_counter()
    weights, statistics, losses = program[0](weights, statistics, orders, *arrays[:2])
    losses.block_until_ready()
    training_s = time.perf_counter() - started
    score = float(program[1]({**weights, **statistics}, *arrays[2:]))
    return outcome(torch.from_numpy(np.array(losses)), score, training_s)


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


def _vmap(function: Any, shared: int) -> Any:
    """A function of one replica's arguments and of `shared` that all have, for all replicas at once."""

    def all_at_once(*arguments: Any) -> Any:
        own = len(arguments) - shared
        return jax.vmap(function, in_axes=(0,) * own + (None,) * shared)(*arguments)

    return all_at_once


def _map(function: Any, shared: int) -> Any:
    """The same, one replica after the other."""

    def one_by_one(*arguments: Any) -> Any:
        own, common = arguments[: len(arguments) - shared], arguments[len(arguments) - shared :]
        return jax.lax.map(lambda each: function(*each, *common), own)

    return one_by_one


WAYS = {"vmap": _vmap, "lax.map": _map}


def _compiled(task: Task, way: str, steps: int, arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    net = task.what
    forward = jax_nets.forward(net)

    def loss(weights: Any, statistics: Any, x: Any, y: Any) -> Any:
        outputs, new = forward({**weights, **statistics}, x, True)
        return _loss(net, outputs, x, y), new

    def train(weights: Any, statistics: Any, orders: Any, inputs: Any, labels: Any) -> Any:
        def step(carry: Any, chosen: Any) -> Any:
            weights, velocity, statistics = carry
            x, y = inputs[chosen], labels[chosen]
            (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(weights, statistics, x, y)
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
            weights = jax.tree.map(lambda w, v: w - LEARNING_RATE * v, weights, velocity)
            return (weights, velocity, statistics), value

        start = (weights, jax.tree.map(jnp.zeros_like, weights), statistics)
        (weights, _, statistics), losses = jax.lax.scan(step, start, orders)
        return weights, statistics, losses

    def score(weights: Any, test_inputs: Any, test_labels: Any) -> Any:
        def part(examples: Any) -> Any:
            x, y = examples
            outputs, _ = forward(weights, x, False)
            return ((outputs - x) ** 2).mean() if net.reconstructs else (outputs.argmax(-1) == y).mean()

        size = EVALUATED[net.kind]
        parts = (test_inputs.reshape(-1, size, *net.shape), test_labels.reshape(-1, size))
        return jax.lax.map(part, parts).mean()

    weights, statistics = _start(task)
    together = WAYS[way]
    training = jax.jit(together(train, 2)).lower(weights, statistics, _orders(task, steps), *arrays[:2]).compile()
    scores = together(score, 2)
    evaluation = jax.jit(lambda *arguments: scores(*arguments).mean())
    return training, evaluation.lower({**weights, **statistics}, *arrays[2:]).compile()


def _loss(net: Net, outputs: Any, inputs: Any, labels: Any) -> Any:
    if net.reconstructs:
        return ((outputs - inputs) ** 2).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1).mean()
