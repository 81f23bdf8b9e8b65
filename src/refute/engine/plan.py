"""Plan: from a phenomenon's protocol to the list of its trials."""

from collections.abc import Mapping, Sequence

from refute.core import Level, Phenomenon, Protocol, Trial, expand, make_trials
from refute.errors import UnknownNameError, UsageError, did_you_mean


def plan(
    phenomenon: Phenomenon,
    scale: str,
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    only: Mapping[str, Sequence[str]] | None = None,
    own_copies: Mapping[str, str] | None = None,
) -> tuple[Trial, ...]:
    """The trials of a protocol, each once, in the order of its grids.

    Args:
        phenomenon: the catalogue entry.
        scale: "smoke", "small" or "full".
        seeds: blocks of every grid; the grids' own numbers by default.
        first_seed: number of the first block; pilot runs use 1000 and up, verdicts 0.
        only: factor -> levels (as text) to keep.
        own_copies: data set -> identity of a user's own, different copy; it enters the keys of that data set's trials.

    Raises:
        UsageError: one seed, or nothing left to run.
        UnknownNameError: `only` names a factor or level that the protocol does not have.
    """
    protocol = phenomenon.protocol(scale)
    if seeds is not None and seeds < 2:
        raise UsageError(
            f"{seeds} seed can't be judged: the spread between seeds is what the interval is made of, "
            "and one number has no spread; ask for at least 3 (5 or more to get verdicts worth having)"
        )
    if first_seed < 0:
        raise UsageError(f"the first seed must be 0 or more, {first_seed} came")
    only = only or {}
    _check_only(phenomenon, protocol, only)
    defaults = phenomenon.defaults()
    trials: dict[str, Trial] = {}
    for grid in protocol.grids:
        settings = {**protocol.settings, **grid.settings}
        for levels in expand(grid.levels):
            full = {**defaults, **levels}
            if any(str(full[name]) not in wanted for name, wanted in only.items()):
                continue
            blocks = range(first_seed, first_seed + (seeds or grid.seeds))
            for trial in make_trials(phenomenon, levels, blocks, {**settings, **_own_copy(full, own_copies or {})}):
                trials.setdefault(trial.key, trial)
    if not trials:
        wanted = ", ".join(f"{name}={'|'.join(levels)}" for name, levels in only.items())
        raise UsageError(f"no trial of {phenomenon.name} at scale {scale} has {wanted} together")
    return tuple(trials.values())


def _own_copy(levels: Mapping[str, Level], own_copies: Mapping[str, str]) -> dict[str, Level]:
    """The setting that keeps results on a user's copy apart from those on the published data."""
    name = str(levels.get("dataset", ""))
    return {"own_copy": own_copies[name]} if name in own_copies else {}


def levels_of(phenomenon: Phenomenon, protocol: Protocol, factor: str) -> tuple[Level, ...]:
    """All levels that a factor takes in a protocol, its default included where a grid does not vary it."""
    default = phenomenon.factors[factor].default
    found = [level for grid in protocol.grids for level in grid.levels.get(factor, (default,)) if level is not None]
    return tuple(dict.fromkeys(found))


def _check_only(phenomenon: Phenomenon, protocol: Protocol, only: Mapping[str, Sequence[str]]) -> None:
    for factor, wanted in only.items():
        if factor not in phenomenon.factors:
            raise UnknownNameError(
                f"{phenomenon.name} has no factor '{factor}'; {did_you_mean(factor, tuple(phenomenon.factors))}"
            )
        known = tuple(str(level) for level in levels_of(phenomenon, protocol, factor))
        for level in wanted:
            if level not in known:
                raise UnknownNameError(
                    f"{phenomenon.name} has no {factor} '{level}' at this scale; {did_you_mean(level, known)}"
                )
