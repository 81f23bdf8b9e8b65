"""The parts that a module's code runs through, found by following it with torch.fx: modules, and residual connections.

Functions count as the modules that do the same (`torch.relu` as nn.ReLU). Whether what is found is right is not argued
here but tried out by whoever uses it (see `modules`): code that decides by its inputs or its mode is followed once.
"""

import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import fx, nn


@dataclass(frozen=True)
class Branches:
    """Two ways from the same numbers, whose ends are added; an empty one passes them on."""

    body: tuple["Part", ...]
    shortcut: tuple["Part", ...]


@dataclass(frozen=True, eq=False)
class Named:
    """A module and its name in the whole."""

    name: str
    module: nn.Module


Part = Named | Branches


class _NotAChainError(Exception):
    """The code does something else than to run parts one after another, and to add."""


def parts_of(module: nn.Module) -> tuple[Part, ...] | None:
    """What the module runs through, in order; None if that is not such a chain, or cannot be followed.

    >>> [type(part).__name__ for part in parts_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))]
    ['Named', 'Named']
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = fx.symbolic_trace(module).graph
        (first,) = (node for node in graph.nodes if node.op == "placeholder")
        (last,) = (node for node in graph.nodes if node.op == "output")
        return _path(dict(module.named_modules()), _sources(graph), first, _node(last.args[0]))
    except Exception:  # whatever the user's code raises when it gets no real numbers
        return None


def _sources(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """Where the numbers of each node come from; for a sum, where its two ways part."""
    found: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        found[node] = node.args[0]
        if node.target in ADDITIONS and isinstance(node.args[1], fx.Node):
            other = set(_way(found, node.args[1]))
            found[node] = next(each for each in _way(found, node.args[0]) if each in other)
    return found


def _way(sources: Mapping[fx.Node, fx.Node], node: fx.Node) -> list[fx.Node]:
    """From the node back to the inputs."""
    found = [node]
    while found[-1] in sources:
        found.append(sources[found[-1]])
    return found


def _path(
    modules: Mapping[str, nn.Module], sources: Mapping[fx.Node, fx.Node], first: fx.Node, last: fx.Node
) -> tuple[Part, ...]:
    """The parts behind `first` up to `last`."""
    found: list[Part] = []
    node = last
    while node is not first:
        if node.target in ADDITIONS:
            ways = (_path(modules, sources, sources[node], _node(arg)) for arg in node.args[:2])
            shortcut, body = sorted(ways, key=len)
            found.append(Branches(body, shortcut))
        else:
            found += reversed(_parts(modules, node))
        node = sources[node]
    return tuple(reversed(found))


def _parts(modules: Mapping[str, nn.Module], node: fx.Node) -> list[Part]:
    if node.op == "call_module" and not node.kwargs and len(node.args) == 1:
        return [Named(str(node.target), modules[str(node.target)])]
    if node.op == "call_module" or node.target not in FUNCTIONS:
        raise _NotAChainError
    settings = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    found = FUNCTIONS[node.target](*node.args[1:], **settings)
    return [Named("", module) for module in (found if isinstance(found, list) else [found])]


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise _NotAChainError
    return value


def _mean(dim: Any) -> list[nn.Module]:
    if sorted(dim) not in ([2, 3], [-2, -1]):
        raise _NotAChainError
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


def _view(_: Any, rest: Any) -> nn.Module:
    """x.view(len(x), -1); that the first number is such is seen when it is tried."""
    if rest != -1:
        raise _NotAChainError
    return nn.Flatten()


ADDITIONS = {operator.add, operator.iadd, torch.add}
FUNCTIONS: Mapping[Any, Callable[..., nn.Module | list[nn.Module]]] = {
    **dict.fromkeys((torch.relu, functional.relu, "relu"), nn.ReLU),
    **dict.fromkeys((torch.tanh, functional.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((torch.sigmoid, functional.sigmoid, "sigmoid"), nn.Sigmoid),
    functional.gelu: nn.GELU,
    functional.silu: nn.SiLU,
    functional.elu: nn.ELU,
    functional.softplus: nn.Softplus,
    functional.leaky_relu: nn.LeakyReLU,
    functional.max_pool2d: nn.MaxPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys(("view", "reshape"), _view),
}
"""What does the same as a function, given its settings. Another function is one more line."""
