"""The record of an outcome: its schema, its hash, and what it says in the words of others."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from recorded import SHIFTS, phenomenon, run, with_bound

from refute import catalogue, core, flow
from refute.core import Curve, Grid, Outcome, PooledResult, Protocol, Result
from refute.errors import UsageError
from refute.records.canonical import content_hash
from refute.records.document import SHIPPED, Record, json_schema, schema_text
from refute.records.making import first_trial_time, make_record, trial_times
from refute.records.mappings import WORDS, confidence_level
from refute.records.rows import rows_digest
from refute.records.standing import standing

ROOT = Path(__file__).parents[2]
SCHEMA = jsonschema.Draft202012Validator(json_schema())


def recorded(outcome: Outcome, **options: Any) -> dict[str, Any]:
    stands = standing(outcome.phenomenon, outcome.scale, (), first_trial_time(outcome))
    return make_record(outcome, stands, **options)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def outcome(lab: Path) -> Outcome:
    return run(phenomenon(), lab)


@pytest.fixture(scope="module")
def record(outcome: Outcome) -> dict[str, Any]:
    return recorded(outcome)


def test_the_published_schema_is_the_one_of_the_models() -> None:
    remedy = "run: python -m refute.records.document src/refute/records/record.schema.json docs/record.schema.json"
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), remedy
    assert (ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8") == schema_text(), remedy


def test_the_schema_is_draft_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_record_is_valid_by_schema_and_by_models(record: dict[str, Any]) -> None:
    text = json.dumps(record, allow_nan=False)
    SCHEMA.validate(json.loads(text))
    Record.model_validate_json(text)


def without(part: str) -> Any:
    return lambda record: record.pop(part)


def put(value: Any, *path: str | int) -> Any:
    def change(record: Any) -> None:
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        without("rows"),
        without("definition"),
        put(1, "unknown"),
        put("maybe", "verdicts", 0, "direction"),
        put("0.9", "verdicts", 0, "confidence"),
        put(1.5, "verdicts", 0, "confidence"),
        put(-1, "verdicts", 0, "cells", 0, "n"),
        put("median", "definition", "claims", 0, "effect", "kind"),
        put("sha256:0", "content_hash"),
        put("refute record 2", "format"),
        put(4, "verdicts", 0, "claim_review", "reviewRating", "bestRating"),
    ],
)
def test_schema_and_models_refuse_the_same(record: dict[str, Any], spoil: Any) -> None:
    spoilt = json.loads(json.dumps(record))
    spoil(spoilt)
    with pytest.raises(ValueError, match="validation error"):
        Record.model_validate_json(json.dumps(spoilt))
    assert not SCHEMA.is_valid(spoilt)


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01T00:00:00+00:00", "2026-01-01T00:00:00"])
def test_a_time_is_a_time_with_its_zone(record: dict[str, Any], time: str) -> None:
    spoilt = json.loads(json.dumps(record))
    spoilt["environments"][0]["created"] = time
    with pytest.raises(ValueError, match="created"):
        Record.model_validate_json(json.dumps(spoilt))


def test_the_same_outcome_has_the_same_hash_wherever_its_rows_came_from(outcome: Outcome, lab: Path) -> None:
    again = flow.stored(outcome.phenomenon, scale="smoke", lab=lab)
    assert recorded(again)["content_hash"] == recorded(outcome)["content_hash"]


def test_the_hash_is_that_of_the_canonical_json_of_the_rest(record: dict[str, Any]) -> None:
    rest = {name: part for name, part in record.items() if name != "content_hash"}
    assert record["content_hash"] == content_hash(rest)
    reordered = json.loads(json.dumps(dict(reversed(rest.items())), indent=7))
    assert content_hash(reordered) == record["content_hash"]


def test_a_record_says_what_the_judge_says(outcome: Outcome, record: dict[str, Any]) -> None:
    assert [one["claim"] for one in record["verdicts"]] == [one.claim.id for one in outcome.verdicts]
    for said, verdict in zip(record["verdicts"], outcome.verdicts, strict=True):
        assert said["direction"] == verdict.verdict
        assert said["sentence"] == verdict.sentence
        for cell, judged in zip(said["cells"], verdict.cells, strict=True):
            assert cell["levels"] == judged.levels
            assert cell["n"] == len(judged.effects) - judged.excluded
            assert cell["effect"] == (None if math.isnan(judged.effect) else judged.effect)
            assert cell["interval"]["confidence"] == judged.confidence
            assert cell["looks"] == {"planned": [judged.planned], "taken": [len(judged.blocks)]}
    diverged = [cell for cell in record["verdicts"][0]["cells"] if cell["diverged"]]
    assert [cell["levels"]["shift"] for cell in diverged] == [101.0]
    assert record["rows"]["diverged"] == 3


def test_a_sequential_run_says_its_looks(tmp_path: Path) -> None:
    grid = Grid(levels={"kind": ("plus", "minus"), "shift": SHIFTS}, seeds=6, settings={"steps": 3})
    toy = phenomenon(protocols={"smoke": Protocol(grids=(grid,), settings={"rate": 0.5}, looks=(4, 5), cohort=4)})
    made = recorded(run(toy, tmp_path))
    assert made["rows"]["looks"] == [4, 5]
    looks = [cell["looks"] for verdict in made["verdicts"] for cell in verdict["cells"]]
    assert {tuple(look["planned"]) for look in looks} == {(4, 5, 6)}
    assert {tuple(look["taken"]) for look in looks} <= {(4,), (4, 5), (4, 5, 6)}
    assert made["rows"]["trials"] <= made["rows"]["planned"] == 48


def test_direction_and_confidence_are_apart(record: dict[str, Any]) -> None:
    by_claim = {one["claim"]: one for one in record["verdicts"]}
    assert by_claim["difference"]["direction"] == "limited"
    assert by_claim["difference"]["confidence"] == 0.9
    assert by_claim["difference"]["forrt"]["validation_term"] == "PartiallySupported"
    assert by_claim["difference"]["forrt"]["confidence_term"] == "Moderate"
    assert by_claim["ratio"]["direction"] == "supported"
    assert by_claim["ratio"]["forrt"]["confidence_term"] == "HighConfidence"


def test_every_verdict_word_has_its_words_elsewhere() -> None:
    assert set(WORDS) == set(core.VerdictWord.__args__)  # type: ignore[attr-defined]
    assert {word: mapped.cito for word, mapped in WORDS.items()} == {
        "supported": "confirms",
        "limited": "qualifies",
        "refuted": "disputes",
        "inconclusive": "discusses",
        "untested": "cites",
    }
    assert [WORDS[word].rating for word in ("refuted", "limited", "supported")] == [1, 3, 5]


def test_strength_of_the_evidence(outcome: Outcome) -> None:
    (ratio,) = [one for one in outcome.verdicts if one.claim.id == "ratio"]
    pooled = PooledResult(mean=1.4, low=1.3, high=1.5, tau=0.1, i_squared=0.5)
    assert confidence_level(ratio) == "HighConfidence"
    assert confidence_level(replace(ratio, pooled=replace(pooled, prediction=(1.1, 1.7)))) == "VeryHighConfidence"
    assert confidence_level(replace(ratio, pooled=replace(pooled, prediction=(0.9, 1.7)))) == "HighConfidence"
    undecided = replace(ratio.cells[0], verdict="inconclusive")
    assert confidence_level(replace(ratio, cells=(*ratio.cells, undecided))) == "Moderate"
    assert confidence_level(replace(ratio, verdict="inconclusive")) == "LowConfidence"
    assert confidence_level(replace(ratio, verdict="untested")) == "VeryLowConfidence"


def test_claim_reviews_are_json_ld_without_nulls(record: dict[str, Any]) -> None:
    for verdict in record["verdicts"]:
        review = verdict["claim_review"]
        assert review["@context"] == "https://schema.org"
        assert (review["@type"], review["reviewRating"]["@type"]) == ("ClaimReview", "Rating")
        assert review["itemReviewed"]["appearance"]["datePublished"] == "2019"
        assert review["reviewRating"]["alternateName"] == verdict["direction"]
        assert ("ratingValue" in review["reviewRating"]) == (
            verdict["direction"] in ("supported", "limited", "refuted")
        )
        assert "null" not in json.dumps(review)


def test_a_part_of_the_protocol_has_no_record(tmp_path: Path) -> None:
    part = flow.run(phenomenon(), scale="smoke", seeds=3, lab=tmp_path, workers=0)
    with pytest.raises(UsageError, match="whole protocol"):
        recorded(part)


def test_an_unfinished_run_has_one(outcome: Outcome) -> None:
    kept = dict(list(outcome.results.items())[:10])
    assert recorded(replace(outcome, results=kept))["rows"]["trials"] == 10


def test_times_of_trials(outcome: Outcome, lab: Path) -> None:
    times = trial_times(lab, outcome.trials)
    assert len(times) == len(outcome.trials)
    assert min(times) == first_trial_time(outcome)


# --- the digest of rows -------------------------------------------------------------------------------------------


def digest(results: Mapping[str, Result]) -> str:
    return rows_digest(results, results)


ROWS = {
    "a": Result("a", False, {"x": 1.0, "y": math.nan}, {"c": Curve(((0.0, 1.0),), (2.0, math.inf))}),
    "b": Result("b", True, {}),
}


def sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_the_digest_can_be_made_by_hand() -> None:
    first = (
        '{"curves":{"c":{"coordinates":[[0,1]],"values":[2,"Infinity"]}},"diverged":false,"trial":"a",'
        '"values":{"x":1,"y":"NaN"}}'
    )
    second = '{"curves":{},"diverged":true,"trial":"b","values":{}}'
    assert digest(ROWS) == sha256(f'{{"a":"{sha256(first)}","b":"{sha256(second)}"}}')


def test_the_digest_does_not_depend_on_order_and_depends_on_everything_else() -> None:
    first = ROWS["a"]
    assert digest(dict(reversed(ROWS.items()))) == digest(ROWS)
    assert digest({**ROWS, "a": replace(first, values={"y": math.nan, "x": 1.0})}) == digest(ROWS)
    others = [
        {"a": first},
        {**ROWS, "a": replace(first, values={"x": 1.0 + 2**-52, "y": math.nan})},
        {**ROWS, "a": replace(first, values={"x": 1.0})},
        {**ROWS, "a": replace(first, diverged=True)},
        {**ROWS, "a": replace(first, curves={"c": Curve(((0.0, 1.0),), (2.0, -math.inf))})},
        {**ROWS, "a": replace(first, curves={"c": Curve(((0.0, 1.5),), (2.0, math.inf))})},
        {**ROWS, "a": replace(first, curves={})},
    ]
    assert len({digest(other) for other in (*others, ROWS)}) == len(others) + 1


@pytest.mark.parametrize("name", catalogue.names())
def test_committed_evidence_has_a_valid_record(name: str) -> None:
    text = (ROOT / "evidence" / name / "small" / "record.json").read_text(encoding="utf-8")
    SCHEMA.validate(json.loads(text))
    assert len(text) < 300_000


def test_another_bound_is_another_record(outcome: Outcome) -> None:
    other = with_bound(outcome.phenomenon, "value", 0.3)
    assert recorded(replace(outcome, phenomenon=other))["definition_hash"] != recorded(outcome)["definition_hash"]
