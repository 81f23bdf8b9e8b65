"""A claim about a table in a few words -> a `refute.core.Claim`, the value that the catalogue's claims are made of."""

import csv
import math
import re
from collections.abc import Mapping, Sequence

from refute.core import (
    Arm,
    Bound,
    Claim,
    Condition,
    Contrast,
    Direction,
    Effect,
    Level,
    RankCorrelation,
    Share,
    Slope,
    Value,
    difference,
    log_ratio,
)
from refute.errors import UsageError, did_you_mean

EFFECTS: Mapping[str, str] = {
    "value": "the quantity itself: the column already holds one effect per block",
    "difference": "quantity at the second level of --across minus quantity at the first, paired by block",
    "log-ratio": "log of (quantity at the second level of --across / quantity at the first), paired by block",
    "share": "share of blocks with the event: a column of 0 and 1, or a condition such as 'accuracy <= 0.2'",
    "rank-correlation": "Spearman's rho of the quantity with --against (default: the factor) along the factor",
    "kendall": "Kendall's tau-b, likewise",
    "slope": "least-squares slope of the quantity on --against (default: the factor) along the factor",
    "log-slope": "the same of logarithms",
}
ACROSS = ("difference", "log-ratio")
ALONG = ("rank-correlation", "kendall", "slope", "log-slope")
NO_REASON = "no reason was given for this bound"
CONDITION = re.compile(r"\s*(?P<name>.+?)\s*(?P<sign>>=|<=|==|=|>|<)\s*(?P<level>.+?)\s*")


def make_claim(
    *,
    of: str,
    effect: str | None = None,
    across: str | tuple[str, Level, Level] | None = None,
    along: str | Sequence[str] = (),
    against: str | None = None,
    within: str | Sequence[str] = (),
    at_least: float | None = None,
    at_most: float | None = None,
    within_bound: float | None = None,
    reason: str = "",
    where: str | Sequence[str] = (),
    keep: str | Sequence[str] = (),
    only: Mapping[str, Sequence[Level]] | None = None,
    name: str = "claim",
) -> Claim:
    """A claim about the columns of a table.

    Args:
        of: the measured column; for a share also a condition such as "accuracy <= 0.2".
        effect: one of `EFFECTS`; by default what `across` or `along` asks for, else "value".
        across: "factor=a,b", or (factor, a, b): b minus a, paired by block.
        along: the factor, or factors, over whose levels a block's correlation or slope is taken.
        against: the other column of a correlation or slope; by default the factor itself.
        within: the columns whose level combinations are the cells.
        at_least, at_most, within_bound: exactly one bound, in the unit of the effect.
        reason: why just this bound; fixed before the table was seen.
        where: validity filter, conditions such as "train_accuracy >= 0.99"; a block that fails one counts as failed.
        keep: conditions likewise; rows that do not meet one are left out, along a factor these levels of the block.
        only: column -> the levels whose rows enter.
        name: short name of the claim.

    Raises:
        UsageError: parts that do not belong together, with what to change.

    >>> claim = make_claim(of="accuracy", across="optimizer=sgd,adam", within="data,net", at_least=0.01)
    >>> claim.statement
    'accuracy: optimizer=adam minus optimizer=sgd, at least 0.01'
    """
    bound = _bound(at_least, at_most, within_bound, reason)
    factors = parse_names(along)
    kind = _kind(effect, across, factors)
    made = _effect(kind, of, _across(across) if across else None, factors, against)
    return Claim(
        id=name,
        statement=f"{_in_words(made)}, {bound.in_words()}",
        effect=made,
        holds=bound,
        within=parse_names(within),
        among={factor: tuple(levels) for factor, levels in (only or {}).items()},
        where=_conditions(where),
        keep=_conditions(keep),
    )


def parse_condition(text: str) -> Condition:
    """A condition on a number.

    >>> parse_condition("train_accuracy >= 0.99")
    Condition(quantity='train_accuracy', at_least=0.99, at_most=inf)
    """
    match = CONDITION.fullmatch(text)
    if not match:
        raise UsageError(f"expected a condition such as 'train_accuracy >= 0.99', '{text}' came")
    name, sign, level = match["name"], match["sign"], match["level"]
    if sign in ("=", "=="):
        raise UsageError(
            f"'{text}': a condition is >=, <=, > or <; to use the rows of one level say --only {name}={level}"
        )
    try:
        number = float(level)
    except ValueError:
        raise UsageError(f"'{text}': expected a number after {sign}, '{level}' came") from None
    match sign:
        case ">=":
            return Condition(name, at_least=number)
        case ">":
            return Condition(name, at_least=math.nextafter(number, math.inf))
        case "<=":
            return Condition(name, at_most=number)
        case _:
            return Condition(name, at_most=math.nextafter(number, -math.inf))


def parse_only(options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`factor=level[,level]` options as factor -> levels.

    >>> parse_only(["data=mnist,digits", "net=mlp"])
    {'data': ('mnist', 'digits'), 'net': ('mlp',)}
    """
    wanted: dict[str, tuple[str, ...]] = {}
    for option in options:
        factor, equals, levels = option.partition("=")
        if not equals or not factor.strip() or not levels.strip():
            raise UsageError(f"--only takes COLUMN=LEVEL[,LEVEL...], for example data=mnist; '{option}' came")
        wanted[factor.strip()] = (*wanted.get(factor.strip(), ()), *_listed(levels))
    return wanted


def parse_renames(options: Sequence[str]) -> dict[str, str]:
    """`old=new[,old=new]` options as old -> new.

    >>> parse_renames(["params.lr=lr,metrics.acc=accuracy"])
    {'params.lr': 'lr', 'metrics.acc': 'accuracy'}
    """
    renames = {}
    for part in (part for option in options for part in _listed(option)):
        old, equals, new = part.rpartition("=")
        if not equals or not old.strip() or not new.strip():
            raise UsageError(f"--rename takes OLD=NEW, for example params.lr=lr; '{part}' came")
        renames[old.strip()] = new.strip()
    return renames


def parse_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names between commas, or a sequence of them, each once.

    >>> parse_names("data, net")
    ('data', 'net')
    """
    return tuple(dict.fromkeys(_listed(names) if isinstance(names, str) else names))


def parse_looks(text: str) -> tuple[int, ...]:
    """`5,10,20,40` as numbers; that they increase is checked by the statistics.

    >>> parse_looks("5,10,20")
    (5, 10, 20)
    """
    try:
        return tuple(int(part) for part in _listed(text))
    except ValueError:
        raise UsageError(f"--looks takes numbers of blocks such as 5,10,20,40; '{text}' came") from None


def _kind(effect: str | None, across: object, along: Sequence[str]) -> str:
    kind = effect or ("difference" if across else "rank-correlation" if along else "value")
    if kind not in EFFECTS:
        raise UsageError(f"there is no effect '{kind}'; {did_you_mean(kind, tuple(EFFECTS))}")
    if kind in ACROSS and not across:
        raise UsageError(f"the effect {kind} compares two levels: say which, --across FACTOR=A,B (B against A)")
    if kind in ALONG and not along:
        raise UsageError(f"the effect {kind} is taken over the levels of a factor: say which, --along FACTOR")
    if across and kind not in ACROSS:
        raise UsageError(f"the effect {kind} has no use for --across; use {' or '.join(ACROSS)}, or leave it out")
    if along and kind not in ALONG:
        raise UsageError(f"the effect {kind} has no use for --along; use {' or '.join(ALONG)}, or leave it out")
    return kind


def _effect(
    kind: str, of: str, across: tuple[str, Level, Level] | None, along: tuple[str, ...], against: str | None
) -> Effect:
    if across:
        return difference(of, *across) if kind == "difference" else log_ratio(of, *across)
    if along:
        if against is None and len(along) > 1:
            raise UsageError(f"along {' and '.join(along)}: say with what {of} is to rise, --against COLUMN")
        x = against or along[0]
        if kind in ("slope", "log-slope"):
            return Slope(x, of, along, log=kind == "log-slope")
        return RankCorrelation(x, of, along, "kendall" if kind == "kendall" else "spearman")
    if kind == "share":
        return Share(parse_condition(of) if CONDITION.fullmatch(of) else event(of))
    return Value(of)


def event(column: str) -> Condition:
    """The event of a column of 0 and 1."""
    return Condition(column, at_least=1.0, at_most=1.0)


def _bound(at_least: float | None, at_most: float | None, within_bound: float | None, reason: str) -> Bound:
    asked: tuple[tuple[Direction, float | None], ...] = (
        ("at_least", at_least),
        ("at_most", at_most),
        ("within", within_bound),
    )
    given = [Bound(direction, value, reason or NO_REASON) for direction, value in asked if value is not None]
    if len(given) != 1:
        came = " and ".join(bound.in_words() for bound in given) or "none"
        raise UsageError(f"a claim has exactly one bound, --at-least, --at-most or --within-bound X; {came} came")
    return given[0]


def _conditions(texts: str | Sequence[str]) -> tuple[Condition, ...]:
    given = (texts,) if isinstance(texts, str) else texts
    return tuple(parse_condition(part) for text in given for part in text.split(" and "))


def _across(across: str | tuple[str, Level, Level]) -> tuple[str, Level, Level]:
    if not isinstance(across, str):
        return across
    factor, equals, levels = across.partition("=")
    named = _listed(levels)
    if not equals or not factor.strip() or len(named) != 2 or named[0] == named[1]:
        raise UsageError(f"--across takes FACTOR=A,B with two different levels, '{across}' came")
    return factor.strip(), named[0], named[1]


def _listed(text: str) -> list[str]:
    """Parts between commas; quotes keep a comma inside a part."""
    return [part.strip() for row in csv.reader([text], skipinitialspace=True) for part in row if part.strip()]


def _in_words(effect: Effect) -> str:
    match effect:
        case Contrast(quantity, ((_, plus), (_, minus)), log):
            return f"{quantity}: {_arm(plus)} {'over' if log else 'minus'} {_arm(minus)}{' (log ratio)' if log else ''}"
        case Share(condition) if condition == event(condition.quantity):
            return f"share of blocks with {condition.quantity}"
        case _:
            return effect.in_words()


def _arm(arm: Arm) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in arm.levels.items())
