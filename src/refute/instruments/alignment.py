"""Alignment of hidden units: which permutation of one net's units brings its weights nearest to another's.

Exchanging hidden units leaves the function as it is, so that two nets may be far apart, with a barrier between them,
for no other reason. Weight matching (Ainsworth, Hayase & Srinivasa 2023, arXiv 2209.04836, section 3.2, algorithm 1)
maximizes <theta_A, pi(theta_B)> over permutations pi, one layer after the other by linear assignment, until none moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.architectures.layers import Activation, BatchNorm, Convolution, Dense, Flatten, GlobalAveragePool, MaxPool
from refute.errors import UsageError
from refute.instruments.interface import Flags
from refute.instruments.paths import interpolated
from refute.instruments.probes import check_seeds
from refute.randomness import stream

CHAIN = (Activation, BatchNorm, Convolution, Dense, Flatten, GlobalAveragePool, MaxPool)
"""Layers that leave units apart, so that they can be exchanged."""


PARTS = ("weight", "bias", "gamma", "beta")
"""A layer's trained tensors, those of its normalization included."""


@dataclass(frozen=True)
class Alignment:
    """A net brought near to another one.

    `weights`: the second net's, its hidden units exchanged; `permutations`: layer -> (replica, unit), which of its
    units stands at each place now; `before`, `after` (replica,): distance of the trained tensors to the first net's.
    Flags: "not converged" (some layer still moved in the last round).
    """

    weights: Weights
    permutations: dict[str, Tensor]
    before: Tensor
    after: Tensor
    flags: Flags


def align(
    network: Network, first: Weights, second: Weights, *, seeds: Sequence[int], starts: int = 3, rounds: int = 100
) -> Alignment:
    """The second net with its hidden units in the order in which its weights are nearest to the first net's.

    A local optimum, the best of several: assignments of neighbouring layers depend on each other.

    Args:
        network: a chain of dense layers, convolutions and batch normalization, without residual blocks.
        first, second: weights of as many replicas.
        seeds: one per replica, of which the order of its layers and its random starts come.
        starts: attempts, the first from the order as it is, the others from random ones.
        rounds: passes over all layers at most.

    Raises:
        ShapeError: weights or seeds that do not fit.
        UsageError: a network that is no such chain.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (3,), 2, depth=1, width=4)
    >>> one = net.initialize([0])
    >>> other = one.clone()
    >>> _ = other["dense1.weight"].copy_(one["dense1.weight"].flip(1))
    >>> _ = other["output.weight"].copy_(one["output.weight"].flip(2))
    >>> align(net, one, other, seeds=[0]).after.item()
    0.0
    """
    interpolated(first, second, 0.5)  # refuses weights that do not fit
    check_seeds(seeds, first.replicas)
    strange = [type(layer).__name__ for layer in network.layers if not isinstance(layer, CHAIN)]
    if strange:
        raise UsageError(
            f"align needs a chain of dense layers, convolutions and batch normalization; "
            f"{network.name} has {', '.join(sorted(set(strange)))}"
        )
    layers = [layer.name for layer in network.layers if isinstance(layer, Dense | Convolution)]
    aligned = second.clone()
    orders, moved = [], []
    for replica, seed in enumerate(seeds):
        one, two = ({name: tensor[replica].double().cpu() for name, tensor in own.items()} for own in (first, second))
        found, still = _match(layers, one, two, stream(seed, "alignment"), starts, rounds)
        for name, tensor in _ordered(layers, two, found).items():
            aligned[name][replica].copy_(tensor)
        orders.append(found)
        moved.append(still)
    return Alignment(
        aligned,
        {name: torch.stack([own[n] for own in orders]).to(first.flat.device) for n, name in enumerate(layers[:-1])},
        (first.flat.double() - second.flat).norm(dim=1),
        (first.flat.double() - aligned.flat).norm(dim=1),
        {"not converged": torch.tensor(moved, device=first.flat.device)},
    )


def _ordered(layers: Sequence[str], tensors: Mapping[str, Tensor], orders: Sequence[Tensor]) -> dict[str, Tensor]:
    """One replica's tensors with the units of every layer in the given order, and the inputs of the next one too."""
    moved = {}
    for number, name in enumerate(layers):
        for own in (own for own in tensors if own.rpartition(".")[0] == name):
            moved[own] = tensors[own][orders[number]]
        if number > 0:
            kernel = moved[f"{name}.weight"]
            parts = kernel.reshape(len(kernel), len(orders[number - 1]), -1)
            moved[f"{name}.weight"] = parts[:, orders[number - 1]].reshape(kernel.shape)
    return moved


def _match(
    layers: Sequence[str],
    one: Mapping[str, Tensor],
    two: Mapping[str, Tensor],
    generator: torch.Generator,
    starts: int,
    rounds: int,
) -> tuple[list[Tensor], bool]:
    """Order of the units of every layer, the best of all starts, and whether that one still changed at its end."""
    sizes = [len(one[f"{name}.weight"]) for name in layers]
    trained = [f"{name}.{part}" for name in layers for part in PARTS if f"{name}.{part}" in one]
    found = []
    for start in range(starts):
        orders = [torch.arange(size) for size in sizes]
        if start > 0:
            orders[:-1] = [torch.randperm(size, generator=generator) for size in sizes[:-1]]
        still = _improve(layers, one, two, orders, generator, rounds)
        moved = _ordered(layers, two, orders)
        distance = sum(float((one[name] - moved[name]).square().sum()) for name in trained)
        found.append((distance, start, orders, still))
    _, _, best, still = min(found, key=lambda attempt: attempt[:2])
    return best, still


def _improve(
    layers: Sequence[str],
    one: Mapping[str, Tensor],
    two: Mapping[str, Tensor],
    orders: list[Tensor],
    generator: torch.Generator,
    rounds: int,
) -> bool:
    """Assign layer after layer in random order, in place; whether the last round still changed anything."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - slow to import

    for _ in range(rounds):
        changed = False
        for number in torch.randperm(len(layers) - 1, generator=generator).tolist():
            gain = _gain(layers, one, two, orders, number)
            found = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            places = torch.arange(len(found))
            if gain[places, found].sum() > gain[places, orders[number]].sum() + 1e-12 * gain.abs().sum():
                orders[number], changed = found, True
        if not changed:
            return False
    return len(layers) > 1


def _gain(
    layers: Sequence[str], one: Mapping[str, Tensor], two: Mapping[str, Tensor], orders: Sequence[Tensor], number: int
) -> Tensor:
    """Inner products of what belongs to unit i of the first net and unit j of the second, (i, j), others as ordered."""
    name, following = layers[number], layers[number + 1]
    into_one, into_two = one[f"{name}.weight"], two[f"{name}.weight"]
    if number > 0:
        before = orders[number - 1]
        parts = into_two.reshape(len(into_two), len(before), -1)
        into_two = parts[:, before]
    gain = into_one.flatten(1) @ into_two.flatten(1).T
    for part in PARTS[1:]:
        if f"{name}.{part}" in one:
            gain = gain + one[f"{name}.{part}"].unsqueeze(1) * two[f"{name}.{part}"].unsqueeze(0)
    units = len(into_one)
    out_one, out_two = one[f"{following}.weight"], two[f"{following}.weight"][orders[number + 1]]
    a = out_one.reshape(len(out_one), units, -1).transpose(0, 1).flatten(1)
    b = out_two.reshape(len(out_two), units, -1).transpose(0, 1).flatten(1)
    return gain + a @ b.T
