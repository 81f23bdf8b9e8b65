"""From an outcome to its record."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refute import core
from refute.engine import plan
from refute.environment import provenance
from refute.errors import UsageError
from refute.records.canonical import content_hash
from refute.records.changes import Change
from refute.records.definition import define
from refute.records.document import (
    FORMAT,
    Article,
    Cell,
    Citation,
    ClaimRegistration,
    ClaimReview,
    ClaimVerdict,
    Environment,
    Forrt,
    Interval,
    ItemChange,
    Looks,
    Organization,
    Pooled,
    Rating,
    Record,
    Registration,
    ReviewedClaim,
    Rows,
    Source,
)
from refute.records.mappings import CITO, FORRT_TERMS, WORDS, address, confidence_level
from refute.records.rows import rows_digest
from refute.records.standing import ClaimStanding, Standing
from refute.store import Store

UNHASHED = "sha256:" + "0" * 64
POOLED_CONFIDENCE = 0.95
"""docs/statistics.md, section 6."""


def make_record(outcome: core.Outcome, standing: Standing, *, rows_file: str | None = None) -> dict[str, Any]:
    """The record of an outcome, as a JSON value with its content hash.

    Args:
        outcome: of the whole protocol of its scale, judged.
        standing: of its claims (see `refute.records.standing`).
        rows_file: where rows.parquet lies, relative to the folder of the record.

    Raises:
        UsageError: the outcome is only a part of the protocol, or of data that are not the published ones.
    """
    phenomenon, definition = outcome.phenomenon, define(outcome.phenomenon, outcome.scale)
    if {trial.key for trial in outcome.trials} != {trial.key for trial in plan(phenomenon, outcome.scale)}:
        raise UsageError(
            f"a record speaks of the whole protocol of {phenomenon.name} at scale {outcome.scale}, but only a part of "
            "it, or runs on own data, came; leave out --only, --seeds and --data"
        )
    record = Record(
        format=FORMAT,
        content_hash=UNHASHED,
        definition=definition,
        definition_hash=definition.hash,
        source=_source(phenomenon.source),
        judged_by=provenance("cpu").code_version,
        rows=Rows(
            digest=rows_digest((trial.key for trial in outcome.trials), outcome.results),
            planned=len(outcome.trials),
            trials=sum(trial.key in outcome.results for trial in outcome.trials),
            diverged=outcome.diverged,
            looks=outcome.looks,
            file=rows_file,
        ),
        environments=tuple(_environment(made) for made in outcome.provenance),
        core_seconds=round(outcome.core_seconds, 1),
        registration=Registration(
            kind=standing.kind,
            sentence=standing.sentence,
            registered=standing.registered,
            registration_hash=standing.registration_hash,
            first_trial=standing.first_trial,
        ),
        verdicts=verdicts_of(outcome.verdicts, phenomenon.source, standing.of),
    )
    value = {
        **record.model_dump(mode="json"),
        "definition": definition.as_json(),
        "verdicts": as_json(record.verdicts),
    }
    return {**value, "content_hash": hash_of(value)}


def as_json(verdicts: Sequence[ClaimVerdict]) -> list[dict[str, Any]]:
    """Verdicts as JSON values; what JSON-LD does not know is left out of it instead of being null."""
    return [
        {**one.model_dump(mode="json"), "claim_review": one.claim_review.model_dump(mode="json", exclude_none=True)}
        for one in verdicts
    ]


def hash_of(record: dict[str, Any]) -> str:
    """The content hash of a record: over everything but that field itself."""
    return content_hash({name: part for name, part in record.items() if name != "content_hash"})


def first_trial_time(outcome: core.Outcome) -> str | None:
    """When the first of the outcome's trials was stored, as its provenance says."""
    return min((made.created for made in outcome.provenance), default=None)


def trial_times(lab: Path, trials: Sequence[core.Trial]) -> list[str]:
    """When each stored one of some trials was made, as the lab says; raises StoreError when it can't be read."""
    wanted = {trial.key for trial in trials}
    name = trials[0].phenomenon.replace("'", "''")
    query = f"SELECT trial, min(created) AS created FROM trials WHERE phenomenon = '{name}' GROUP BY trial"
    return [row["created"] for row in Store(lab).query(query) if row["trial"] in wanted]


def verdicts_of(
    verdicts: Sequence[core.Verdict], source: core.Source, standing_of: Callable[[str], ClaimStanding]
) -> tuple[ClaimVerdict, ...]:
    """The verdicts as a record holds them; `standing_of` gives the standing of a claim by its identifier."""
    return tuple(_verdict(verdict, source, standing_of(verdict.claim.id)) for verdict in verdicts)


def _verdict(verdict: core.Verdict, source: core.Source, standing: ClaimStanding) -> ClaimVerdict:
    mapped, strength = WORDS[verdict.verdict], confidence_level(verdict)
    return ClaimVerdict(
        claim=verdict.claim.id,
        in_words=verdict.claim.in_words(),
        direction=verdict.verdict,
        confidence=min((cell.confidence for cell in verdict.cells if cell.verdict != "untested"), default=None),
        sentence=verdict.sentence,
        registration=ClaimRegistration(
            kind=standing.kind,
            unchanged=standing.unchanged,
            sentence=standing.sentence,
            changes=tuple(map(_change, standing.changes)),
        ),
        forrt=Forrt(
            validation_status=FORRT_TERMS + mapped.validation_status,
            confidence_level=FORRT_TERMS + strength,
            validation_term=mapped.validation_status,
            confidence_term=strength,
        ),
        cito=Citation(property=CITO + mapped.cito, term=mapped.cito, cited=address(source)),
        claim_review=_claim_review(verdict, source, mapped.rating),
        cells=tuple(map(_cell, verdict.cells)),
        pooled=_pooled(verdict.pooled),
    )


def _change(change: Change) -> ItemChange:
    return ItemChange(item=change.item, field=change.field, before=change.before, after=change.after)


def _claim_review(verdict: core.Verdict, source: core.Source, rating: int | None) -> ClaimReview:
    article = Article(name=source.title, author=source.authors, datePublished=str(source.year), url=address(source))
    return ClaimReview(
        claimReviewed=verdict.claim.statement,
        itemReviewed=ReviewedClaim(text=verdict.claim.statement, appearance=article),
        reviewRating=Rating(ratingValue=rating, alternateName=verdict.verdict, ratingExplanation=verdict.sentence),
        author=Organization(name="refute"),
    )


def _cell(cell: core.CellResult) -> Cell:
    return Cell(
        levels=dict(cell.levels),
        direction=cell.verdict,
        effect=_defined(cell.effect),
        interval=Interval(low=_defined(cell.low), high=_defined(cell.high), confidence=cell.confidence),
        sd=_defined(cell.sd),
        n=len(cell.blocks) - cell.excluded,
        planned=cell.planned,
        excluded=cell.excluded,
        diverged=cell.diverged,
        looks=_looks(cell),
        p_supported=cell.p_supported,
        p_refuted=cell.p_refuted,
        hedges_g=_triple(cell.hedges_g),
        superiority=_triple(cell.superiority),
        seeds_needed=cell.seeds_needed,
        reason=cell.reason,
        notes=cell.notes,
    )


def _looks(cell: core.CellResult) -> Looks:
    """The planned looks, and those that the blocks run so far reach."""
    run = len(cell.blocks)
    once = len(cell.looks) == 1 and run
    return Looks(planned=cell.looks, taken=(run,) if once else tuple(look for look in cell.looks if look <= run))


def _pooled(pooled: core.PooledResult | None) -> Pooled | None:
    if pooled is None:
        return None
    low, high = pooled.prediction or (math.nan, math.nan)
    return Pooled(
        mean=_defined(pooled.mean),
        interval=Interval(low=_defined(pooled.low), high=_defined(pooled.high), confidence=POOLED_CONFIDENCE),
        tau=_defined(pooled.tau),
        i_squared=_defined(pooled.i_squared),
        prediction=None if pooled.prediction is None else (_defined(low), _defined(high)),
        share_beyond=None if pooled.share_beyond is None else _defined(pooled.share_beyond),
    )


def _triple(numbers: tuple[float, float, float] | None) -> tuple[float | None, float | None, float | None] | None:
    if numbers is None:
        return None
    value, low, high = map(_defined, numbers)
    return value, low, high


def _defined(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _source(source: core.Source) -> Source:
    return Source(
        authors=source.authors,
        title=source.title,
        year=source.year,
        venue=source.venue,
        openreview=source.openreview,
        arxiv=source.arxiv,
        code=source.code,
    )


def _environment(made: core.Provenance) -> Environment:
    return Environment(
        code_version=made.code_version,
        python=made.python,
        packages=dict(made.packages),
        platform=made.platform,
        processor=made.processor,
        device=made.device,
        created=made.created,
        hash=made.environment,
    )
