"""The record: one JSON document with every verdict of a phenomenon at one scale. Its models are its JSON Schema.

The schema (draft 2020-12) is shipped as `record.schema.json` beside this file and published in docs/;
`python -m refute.records.document FILE...` writes it anew.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from refute.core import Level, VerdictWord
from refute.records.definition import Definition, Strict
from refute.records.mappings import CitoProperty, ConfidenceLevel, ValidationStatus
from refute.records.standing import Kind

FORMAT: Final = "refute record 1"
IDENTIFIER = "urn:refute:record:1"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SHIPPED = Path(__file__).with_name("record.schema.json")


def _is_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its zone, for example +00:00")
    return text


Time = Annotated[str, AfterValidator(_is_time), Field(json_schema_extra={"format": "date-time"})]
Hash = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
NullableLevel = Level | None


class Named(Strict):
    """A part of schema.org's JSON-LD, whose names begin with @."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_alias=True, validate_by_name=True)


class Source(Strict):
    """Where the phenomenon was stated."""

    authors: str
    title: str
    year: int
    venue: str = ""
    openreview: str = ""
    arxiv: str = ""
    code: str = ""


# --- one verdict --------------------------------------------------------------------------------------------------


class Interval(Strict):
    """Confidence interval of a mean effect, as computed, not clipped to the effect's range; null: not defined."""

    low: float | None
    high: float | None
    confidence: Probability
    """Two-sided."""


class Looks(Strict):
    """Numbers of seeds at which the cell might have been decided, and those at which it was judged."""

    planned: tuple[Count, ...]
    taken: tuple[Count, ...]


class Cell(Strict):
    """One claim in one cell."""

    levels: dict[str, NullableLevel]
    direction: VerdictWord
    effect: float | None
    """Mean over valid blocks (share of events for a share claim); null: no valid block."""
    interval: Interval
    sd: float | None
    """Standard deviation of the blocks' effects."""
    n: Count
    """Valid blocks."""
    planned: Count
    """Blocks that the protocol plans."""
    excluded: Count
    """Blocks that failed the validity filter or diverged."""
    diverged: Count
    looks: Looks
    p_supported: Probability
    """One-sided, against the bound."""
    p_refuted: Probability
    hedges_g: tuple[float | None, float | None, float | None] | None = None
    """Standardized effect with its 95 % interval."""
    superiority: tuple[float | None, float | None, float | None] | None = None
    """Share of blocks with an effect above 0, with its Wilson interval."""
    seeds_needed: int | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


class Pooled(Strict):
    """Random-effects mean over cells, and what to expect in a new cell."""

    mean: float | None
    interval: Interval
    tau: float | None
    i_squared: float | None
    prediction: tuple[float | None, float | None] | None = None
    share_beyond: float | None = None


class ItemChange(Strict):
    """One difference between the registered and the present definition."""

    item: str
    field: str
    before: Any = None
    after: Any = None


class ClaimRegistration(Strict):
    """Whether the claim was registered before the first trial and is unchanged since."""

    kind: Kind
    unchanged: bool
    sentence: str
    changes: tuple[ItemChange, ...] = ()


class Forrt(Strict):
    """FORRT Replication Outcome: direction and strength of the evidence, as full term addresses."""

    validation_status: Annotated[str, Field(pattern=r"^https://w3id\.org/sciencelive/o/terms/[A-Za-z]+$")]
    confidence_level: Annotated[str, Field(pattern=r"^https://w3id\.org/sciencelive/o/terms/[A-Za-z]+$")]
    validation_term: ValidationStatus
    confidence_term: ConfidenceLevel


class Citation(Strict):
    """How the record cites the phenomenon's source: property of CiTO 2.8.1."""

    property: Annotated[str, Field(pattern=r"^http://purl\.org/spar/cito/[a-zA-Z]+$")]
    term: CitoProperty
    cited: str | None
    """Address of the source; null: it has none."""


class Rating(Named):
    """schema.org Rating; without `ratingValue` where the evidence has no direction."""

    type: Literal["Rating"] = Field(default="Rating", alias="@type")
    ratingValue: int | None = None  # noqa: N815
    bestRating: Literal[5] = 5  # noqa: N815
    worstRating: Literal[1] = 1  # noqa: N815
    alternateName: VerdictWord  # noqa: N815
    ratingExplanation: str  # noqa: N815


class Article(Named):
    """schema.org ScholarlyArticle."""

    type: Literal["ScholarlyArticle"] = Field(default="ScholarlyArticle", alias="@type")
    name: str
    author: str
    datePublished: str  # noqa: N815
    url: str | None = None


class ReviewedClaim(Named):
    """schema.org Claim."""

    type: Literal["Claim"] = Field(default="Claim", alias="@type")
    text: str
    appearance: Article


class Organization(Named):
    """schema.org Organization."""

    type: Literal["Organization"] = Field(default="Organization", alias="@type")
    name: str


class ClaimReview(Named):
    """schema.org ClaimReview, JSON-LD."""

    context: Literal["https://schema.org"] = Field(default="https://schema.org", alias="@context")
    type: Literal["ClaimReview"] = Field(default="ClaimReview", alias="@type")
    claimReviewed: str  # noqa: N815
    itemReviewed: ReviewedClaim  # noqa: N815
    reviewRating: Rating  # noqa: N815
    author: Organization


class ClaimVerdict(Strict):
    """What the rows say about one claim of the definition."""

    claim: str
    """Its identifier."""
    in_words: str
    """The claim as one sentence, from the data that the judge uses."""
    direction: VerdictWord
    """Which way the evidence points."""
    confidence: Probability | None
    """How sure: the lowest two-sided level among the intervals of the tested cells; null: none was tested."""
    sentence: str
    registration: ClaimRegistration
    forrt: Forrt
    cito: Citation
    claim_review: ClaimReview
    cells: tuple[Cell, ...]
    pooled: Pooled | None = None


# --- the document -------------------------------------------------------------------------------------------------


class Rows(Strict):
    """The results that the verdicts were made from."""

    digest: Hash
    """Over all stored trials of the plan, in any order; see docs/record.md."""
    planned: Count
    trials: Count
    """How many of the planned ones are stored."""
    diverged: Count
    looks: tuple[int, ...] | None
    """Planned looks of a sequential run; null when the number of seeds was fixed and judged once."""
    file: str | None = None
    """rows.parquet of the evidence, relative to the folder of the record."""


class Environment(Strict):
    """What made some of the results."""

    code_version: str
    python: str
    packages: dict[str, str]
    platform: str
    processor: str
    device: str
    created: Time
    """UTC time of the first of them, ISO 8601."""
    hash: str
    """Of everything that may move a number: software, processor, device."""


class Registration(Strict):
    """Standing of the claims as a whole: that of the worst."""

    kind: Kind
    sentence: str
    registered: Time | None
    registration_hash: str | None
    """Hash of the registration that was in force when the first trial was stored."""
    first_trial: Time | None


class Record(Strict):
    """Every verdict of a phenomenon at one scale, with what it takes to judge again."""

    model_config = ConfigDict(
        title="Record of verdicts about a phenomenon of deep nets",
        json_schema_extra={"$schema": DRAFT, "$id": IDENTIFIER},
    )

    format: Literal["refute record 1"]
    content_hash: Hash
    """SHA-256 of the canonical JSON (RFC 8785) of all other fields."""
    definition: Definition
    definition_hash: Hash
    """SHA-256 of the canonical JSON of `definition`: what a registration carries too."""
    source: Source
    judged_by: str
    """Code version that judged: version and, from a checkout, the commit."""
    rows: Rows
    environments: tuple[Environment, ...]
    core_seconds: float
    registration: Registration
    verdicts: tuple[ClaimVerdict, ...]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a record, draft 2020-12."""
    return Record.model_json_schema(mode="validation", by_alias=True)


def schema_text() -> str:
    """The schema as it is shipped and published."""
    return json.dumps(json_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(schema_text(), encoding="utf-8")
