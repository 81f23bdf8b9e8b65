"""Outcome -> document: everything a report says, in reading order."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from refute.core import Level, Outcome, Phenomenon, Provenance, Source, VerdictWord, digest
from refute.report import words
from refute.report.blocks import ClaimSection, Document, Link, SourceBlock, Table, TrialCounts
from refute.report.claims import claim_section
from refute.report.figures import figure_block, renumbered
from refute.report.reproducing import reproduce

FAILURES_NAMED = 5
"""Trials of one error named on the page; more are counted."""
SPOT_CHECK_KEYS = 3
"""Keys of single trials printed beside the key of them all."""


def document(outcome: Outcome) -> Document:
    """The document of a finished run or of a judgement of stored results.

    Args:
        outcome: from `refute.flow.run` or `refute.flow.stored`; one without any result gives a document that says so.

    Returns:
        A value without layout, from which the page, the terminal output and any further renderer print.
    """
    phenomenon = outcome.phenomenon
    claims = tuple(
        claim_section(phenomenon, verdict, outcome.standing.get(verdict.claim.id, "")) for verdict in outcome.verdicts
    )
    protocol = phenomenon.protocols.get(outcome.scale)
    figures = [renumbered(figure_block(outcome, figure), i) for i, figure in enumerate(phenomenon.figures, start=1)]
    return Document(
        title=words.title(phenomenon.name),
        name=phenomenon.name,
        version=phenomenon.version,
        scale=outcome.scale,
        statement=phenomenon.statement,
        source=_source(phenomenon.source),
        summary=_summary(claims),
        course=_course(outcome),
        claims=claims,
        figures=tuple(figures) if outcome.results else (),
        findings=_paragraphs(phenomenon.findings),
        grids=_grids(outcome),
        settings=_settings(protocol.settings if protocol else {}),
        looks=", ".join(map(str, protocol.looks)) if protocol else "",
        protocol_note=protocol.note if protocol else "",
        factors=_factors(phenomenon),
        quantities=_quantities(phenomenon),
        deviations=phenomenon.deviations,
        warnings=outcome.warnings,
        failures=_failures(outcome),
        trials=_trials(outcome),
        provenance=tuple(_provenance(made) for made in outcome.provenance),
        keys=_keys(outcome),
        reproduce=reproduce(outcome),
        legend=Table(
            columns=("verdict", "meaning"),
            rows=tuple((word, words.MEANINGS[word]) for word in words.VERDICTS),
        ),
    )


def count_verdicts(found: Iterable[VerdictWord]) -> str:
    """Verdicts counted in words.

    >>> count_verdicts(["supported", "refuted", "supported"])
    '3 claims: 2 supported and 1 refuted'
    """
    counted = Counter(found)
    total = sum(counted.values())
    parts = [f"{counted[word]} {word}" for word in words.VERDICTS if counted[word]]
    return f"{total} claim{'s' if total != 1 else ''}: {words.listing(parts)}" if total else "no claim was judged"


def _summary(claims: tuple[ClaimSection, ...]) -> str:
    return count_verdicts(claim.verdict for claim in claims)


def _failures(outcome: Outcome) -> tuple[str, ...]:
    by_error: dict[str, list[str]] = {}
    for failure in outcome.failures:
        where = f"{words.levels(failure.trial.levels)}, seed {failure.trial.block}"
        by_error.setdefault(failure.error, []).append(where)
    return tuple(
        f"{len(trials)} trial{'s' if len(trials) > 1 else ''} could not be run ({error}): "
        + "; ".join(trials[:FAILURES_NAMED])
        + (f"; and {len(trials) - FAILURES_NAMED} more" if len(trials) > FAILURES_NAMED else "")
        for error, trials in by_error.items()
    )


def _course(outcome: Outcome) -> str:
    if outcome.looks is None:
        return "The number of seeds was fixed, and judged once."
    text = f"Judged at looks of {words.listing([str(look) for look in outcome.looks])} seeds, where planned"
    open_cells = sum(cell.open for verdict in outcome.verdicts for cell in verdict.cells)
    if open_cells:
        count = f"{open_cells} cell{'s' if open_cells > 1 else ''}"
        return f"{text}; {count} must be trained on: the same command goes on."
    if not outcome.spared:
        return f"{text}; every planned trial was needed."
    share = words.percent(round(outcome.spared / len(outcome.trials), 2))
    return f"{text}: {outcome.spared} of {len(outcome.trials)} planned trials ({share}) were not needed."


def _source(source: Source) -> SourceBlock:
    links = []
    if source.openreview:
        links.append(Link(text="OpenReview", address=f"https://openreview.net/forum?id={source.openreview}"))
    if source.arxiv:
        links.append(Link(text=f"arXiv {source.arxiv}", address=f"https://arxiv.org/abs/{source.arxiv}"))
    if source.code:
        address = source.code if source.code.startswith("https://") else f"https://github.com/{source.code}"
        links.append(Link(text="code", address=address))
    return SourceBlock(
        authors=source.authors, title=source.title, year=source.year, venue=source.venue, links=tuple(links)
    )


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def _grids(outcome: Outcome) -> Table:
    """One row per grid of the protocol; factors at their default are left out."""
    protocol = outcome.phenomenon.protocols.get(outcome.scale)
    rows = []
    for grid in protocol.grids if protocol else ():
        varied = "; ".join(f"{name}: {_levels(levels)}" for name, levels in grid.levels.items())
        settings = "; ".join(f"{name} {words.level(value)}" for name, value in grid.settings.items())
        trials = grid.seeds * math.prod(len(levels) for levels in grid.levels.values())
        rows.append((varied, settings or words.NOTHING, str(grid.seeds), str(trials)))
    return Table(columns=("conditions", "own settings", "seeds", "trials"), rows=tuple(rows))


def _levels(levels: tuple[Level, ...]) -> str:
    return ", ".join(words.level(level) for level in levels)


def _settings(settings: Mapping[str, Level]) -> Table:

    return Table(
        columns=("setting", "value"), rows=tuple((name, words.level(value)) for name, value in settings.items())
    )


def _factors(phenomenon: Phenomenon) -> Table:
    rows = tuple(
        (name, factor.definition, words.NOTHING if factor.default is None else words.level(factor.default))
        for name, factor in phenomenon.factors.items()
    )
    return Table(columns=("factor", "definition", "default"), rows=rows)


def _quantities(phenomenon: Phenomenon) -> Table:
    rows = []
    for name, quantity in phenomenon.quantities.items():
        unbounded = math.isinf(quantity.low) and math.isinf(quantity.high)
        bounds = words.NOTHING if unbounded else f"{words.number(quantity.low)} to {words.number(quantity.high)}"
        along = f" (along {words.listing(list(quantity.axes))})" if quantity.axes else ""
        rows.append((name, quantity.definition + along, quantity.unit or words.NOTHING, bounds))
    return Table(columns=("quantity", "definition", "unit", "range"), rows=tuple(rows))


def _trials(outcome: Outcome) -> TrialCounts:
    return TrialCounts(
        planned=len(outcome.trials),
        stored=len(outcome.results),
        run=outcome.trials_run,
        cached=outcome.trials_cached,
        diverged=outcome.diverged,
        seconds=words.duration(outcome.seconds),
        core_seconds=words.duration(outcome.core_seconds),
    )


def _provenance(made: Provenance) -> Table:
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    rows = (
        ("code", made.code_version),
        ("Python", made.python),
        ("packages", packages or words.NOTHING),
        ("platform", made.platform),
        ("processor", made.processor),
        ("device", made.device),
        ("created", made.created),
        ("environment", made.environment),
    )
    return Table(columns=("what", "value"), rows=rows)


def _keys(outcome: Outcome) -> tuple[str, ...]:
    if not outcome.trials:
        return ()
    single = [trial.key for trial in outcome.trials]
    return (digest(sorted(single)), *single[:SPOT_CHECK_KEYS])
