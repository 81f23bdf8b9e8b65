"""A definition says everything that plan and judge use, and gives it back unchanged."""

import json
from dataclasses import fields, replace

import pytest
from recorded import CLAIMS, phenomenon, with_bound, with_protocol

from refute import catalogue, core
from refute.engine import plan
from refute.judge import judge
from refute.records import definition as models
from refute.records.definition import Definition, define, restore

PAIRS = {
    core.Claim: models.Claim,
    core.Bound: models.Bound,
    core.Condition: models.Condition,
    core.Pick: models.Pick,
    core.Value: models.Value,
    core.Contrast: models.Contrast,
    core.Share: models.Share,
    core.RankCorrelation: models.RankCorrelation,
    core.Slope: models.Slope,
    core.Factor: models.Factor,
    core.Quantity: models.Quantity,
    core.Grid: models.Grid,
    core.Protocol: models.Protocol,
}
CANNOT_MOVE_A_VERDICT = {core.Protocol: {"cohort", "note"}}


@pytest.mark.parametrize("known", PAIRS, ids=lambda known: known.__name__)
def test_no_field_of_the_claim_language_is_forgotten(known: type) -> None:
    ours = set(PAIRS[known].model_fields) - {"kind"} | ({"kind"} if known is core.Factor else set())
    assert {field.name for field in fields(known)} - CANNOT_MOVE_A_VERDICT.get(known, set()) == ours


def read_back(toy: core.Phenomenon, scale: str) -> core.Phenomenon:
    text = json.dumps(define(toy, scale).as_json())
    return restore(Definition.model_validate_json(text), toy.source)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_phenomenon_of_the_catalogue_comes_back(name: str) -> None:
    known = catalogue.get(name)
    for scale in known.protocols:
        again = read_back(known, scale)
        assert again.claims == known.claims
        assert again.quantities == known.quantities
        assert again.factors == known.factors
        assert plan(again, scale) == plan(known, scale)


def test_every_kind_of_effect_comes_back_and_is_judged_alike() -> None:
    toy = phenomenon()
    again = read_back(toy, "smoke")
    assert again.claims == CLAIMS
    trials = plan(toy, "smoke")
    results = {one.key: core.Result(one.key, False, {"height": (hash_like(one) % 97) / 10}) for one in trials}
    assert repr(judge(again, trials, results)) == repr(judge(toy, trials, results))


def hash_like(trial: core.Trial) -> int:
    return int(trial.key[:6], 16)


def test_a_restored_phenomenon_cannot_be_trained() -> None:
    cohort = core.Cohort((), {}, {}, {})
    with pytest.raises(NotImplementedError, match="judged again, not trained"):
        read_back(phenomenon(), "smoke").trial(cohort)


def test_the_hash_follows_what_matters_and_nothing_else() -> None:
    toy = phenomenon()
    known = define(toy, "smoke").hash
    assert define(with_protocol(toy, cohort=7, note="words"), "smoke").hash == known
    assert define(replace(toy, findings="it was so", deviations=("d",)), "smoke").hash == known
    assert define(with_bound(toy, "value", 0.3), "smoke").hash != known
    assert define(with_protocol(toy, looks=(3, 6)), "smoke").hash != known
    assert define(replace(toy, version=2), "smoke").hash != known


def test_a_field_at_its_default_is_left_out() -> None:
    (claim, *_) = define(phenomenon(), "smoke").as_json()["claims"]
    assert set(claim) == {"id", "statement", "effect", "holds", "within", "headline"}
