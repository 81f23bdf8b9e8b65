"""The command that gives the same planned trials again, worked out from the trials themselves."""

import shlex
from collections.abc import Mapping

from refute.core import Level, Outcome, Phenomenon, Protocol, expand

Combination = tuple[tuple[str, Level | None], ...]


def reproduce(outcome: Outcome) -> str:
    """`refute run NAME --scale SCALE`, with the restrictions (seeds, first seed, levels) that the plan shows."""
    phenomenon = outcome.phenomenon
    command = ["refute", "run", phenomenon.name, "--scale", outcome.scale]
    if not outcome.trials or outcome.scale not in phenomenon.protocols:
        return shlex.join(command)
    protocol = phenomenon.protocols[outcome.scale]
    blocks: dict[Combination, set[int]] = {}
    for trial in outcome.trials:
        blocks.setdefault(_combination(phenomenon, trial.levels), set()).add(trial.block)
    seeds = _seeds(blocks, _planned(phenomenon, protocol))
    first = min(min(found) for found in blocks.values())
    command += ["--seeds", str(seeds)] if seeds else []
    command += ["--first-seed", str(first)] if first else []
    command += [part for option in _only(phenomenon, protocol, blocks) for part in ("--only", option)]
    return shlex.join(command)


def _combination(phenomenon: Phenomenon, levels: Mapping[str, Level]) -> Combination:
    defaults = phenomenon.defaults()
    return tuple((name, levels.get(name, defaults.get(name))) for name in phenomenon.factors)


def _planned(phenomenon: Phenomenon, protocol: Protocol) -> dict[Combination, int]:
    """Combination of levels -> seeds that the protocol gives it."""
    planned: dict[Combination, int] = {}
    for grid in protocol.grids:
        for levels in expand(grid.levels):
            key = _combination(phenomenon, levels)
            planned[key] = max(planned.get(key, 0), grid.seeds)
    return planned


def _seeds(blocks: Mapping[Combination, set[int]], planned: Mapping[Combination, int]) -> int | None:
    """The number of seeds when it is not the protocol's own."""
    if all(len(found) == planned.get(key) for key, found in blocks.items()):
        return None
    return max(len(found) for found in blocks.values())


def _only(phenomenon: Phenomenon, protocol: Protocol, blocks: Mapping[Combination, set[int]]) -> list[str]:
    """Factors of which levels are missing, with those that are there."""
    options = []
    for place, name in enumerate(phenomenon.factors):
        everything = dict.fromkeys(key[place][1] for key in _planned(phenomenon, protocol))
        present = {key[place][1] for key in blocks}
        if present < set(everything):
            options.append(f"{name}={','.join(str(level) for level in everything if level in present)}")
    return options
