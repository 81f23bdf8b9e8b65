"""Verdict words in the vocabularies of others. Direction and strength of the evidence are kept apart in all of them.

- **FORRT Replication Outcome**, the nanopublication template of the Framework for Open and Reproducible Research
  Training as published by Science Live: `hasValidationStatus` (direction) and `hasConfidenceLevel` (strength) with
  terms of https://w3id.org/sciencelive/o/terms/, as they stood in 2026; the vocabulary carries no version number.
- **CiTO**, the Citation Typing Ontology 2.8.1 (2018-02-16), http://purl.org/spar/cito.
- **schema.org ClaimReview** with a rating from 1 (refuted) to 5 (supported).

The template itself pairs Validated with cito:confirms, PartiallySupported with cito:qualifies, Contradicted with
cito:disputes, and leaves a neutral property to the other two.
"""

from typing import Literal, NamedTuple

from refute.core import Source, Verdict, VerdictWord
from refute.statistics import Region

FORRT_TERMS = "https://w3id.org/sciencelive/o/terms/"
CITO = "http://purl.org/spar/cito/"

ValidationStatus = Literal["Validated", "PartiallySupported", "Contradicted", "Inconclusive", "NotTested"]
ConfidenceLevel = Literal["VeryHighConfidence", "HighConfidence", "Moderate", "LowConfidence", "VeryLowConfidence"]
CitoProperty = Literal["confirms", "qualifies", "disputes", "discusses", "cites"]


class Mapped(NamedTuple):
    """What a verdict word is called elsewhere."""

    validation_status: ValidationStatus
    cito: CitoProperty
    rating: int | None
    """On the scale 1 to 5; None where the evidence has no direction."""


WORDS: dict[VerdictWord, Mapped] = {
    "supported": Mapped("Validated", "confirms", 5),
    "limited": Mapped("PartiallySupported", "qualifies", 3),
    "refuted": Mapped("Contradicted", "disputes", 1),
    "inconclusive": Mapped("Inconclusive", "discusses", None),
    "untested": Mapped("NotTested", "cites", None),
}


def confidence_level(verdict: Verdict) -> ConfidenceLevel:
    """How strong the evidence is, whatever its direction: our rule for FORRT's five words.

    Untested: very low. Inconclusive: low. Limited, or decided on average but not in every tested cell: moderate.
    Decided in every tested cell: high; very high when a new cell is expected to agree too (prediction interval).
    """
    match verdict.verdict:
        case "untested":
            return "VeryLowConfidence"
        case "inconclusive":
            return "LowConfidence"
        case "limited":
            return "Moderate"
    tested = [cell for cell in verdict.cells if cell.verdict != "untested"]
    if any(cell.verdict != verdict.verdict for cell in tested):
        return "Moderate"
    return "VeryHighConfidence" if _expected_in_a_new_cell(verdict) else "HighConfidence"


def _expected_in_a_new_cell(verdict: Verdict) -> bool:
    """Whether the prediction interval lies on the side of the bound that the verdict names."""
    if verdict.pooled is None or verdict.pooled.prediction is None:
        return False
    bound = verdict.claim.holds
    return Region(bound.direction, bound.value).side(*verdict.pooled.prediction) == verdict.verdict


def address(source: Source) -> str | None:
    """Where the source can be read; None when it names no address."""
    if source.arxiv:
        return f"https://arxiv.org/abs/{source.arxiv}"
    return f"https://openreview.net/forum?id={source.openreview}" if source.openreview else None
