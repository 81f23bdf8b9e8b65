"""A claim in a few words becomes the claim that is meant, or a sentence that says what to change."""

import math
import re
from typing import Any

import pytest

from refute.core import Condition, Contrast, RankCorrelation, Share, Slope, Value, difference, log_ratio
from refute.errors import DefinitionError, UsageError
from refute.tables import EFFECTS, make_claim, parse_condition, parse_only
from refute.tables.claims import parse_looks, parse_renames

EVENT = Condition("hit", at_least=1.0, at_most=1.0)


@pytest.mark.parametrize(
    ("options", "effect"),
    [
        ({"of": "y"}, Value("y")),
        ({"of": "y", "across": "arm=a,b"}, difference("y", "arm", "a", "b")),
        ({"of": "y", "across": ("rate", 0.1, 1.0)}, difference("y", "rate", 0.1, 1.0)),
        ({"of": "y", "across": "arm=a,b", "effect": "log-ratio"}, log_ratio("y", "arm", "a", "b")),
        ({"of": "y", "across": 'arm="a,1",b'}, difference("y", "arm", "a,1", "b")),
        ({"of": "y", "along": "rate"}, RankCorrelation("rate", "y", ("rate",))),
        ({"of": "y", "along": "rate,width", "against": "x", "effect": "kendall"},
         RankCorrelation("x", "y", ("rate", "width"), "kendall")),
        ({"of": "y", "along": "rate", "effect": "slope"}, Slope("rate", "y", ("rate",))),
        ({"of": "y", "along": "rate", "effect": "log-slope"}, Slope("rate", "y", ("rate",), log=True)),
        ({"of": "hit", "effect": "share"}, Share(EVENT)),
        ({"of": "y <= 0.2", "effect": "share"}, Share(Condition("y", at_most=0.2))),
    ],
)  # fmt: skip
def test_effects(options: dict[str, Any], effect: object) -> None:
    assert make_claim(**options, at_least=0.5).effect == effect


def test_every_named_effect_can_be_made() -> None:
    for name in EFFECTS:
        parts = {"difference": {"across": "a=0,1"}, "log-ratio": {"across": "a=0,1"}, "value": {}, "share": {}}
        assert make_claim(of="y", effect=name, at_least=0.5, **parts.get(name, {"along": "a"})) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "exactly one bound"),
        ({"at_least": 1.0, "at_most": 2.0}, "at least 1 and at most 2 came"),
        ({"at_least": 1.0, "effect": "differences"}, "did you mean 'difference'"),
        ({"at_least": 1.0, "effect": "difference"}, "--across FACTOR=A,B"),
        ({"at_least": 1.0, "effect": "slope"}, "--along FACTOR"),
        ({"at_least": 1.0, "effect": "value", "across": "a=0,1"}, "no use for --across"),
        ({"at_least": 1.0, "effect": "share", "along": "a"}, "no use for --along"),
        ({"at_least": 1.0, "across": "a=0"}, "two different levels"),
        ({"at_least": 1.0, "across": "a=0,0"}, "two different levels"),
        ({"at_least": 1.0, "along": "a,b"}, "--against COLUMN"),
        ({"at_least": 1.0, "where": "net = mlp"}, "--only net=mlp"),
        ({"at_least": 1.0, "where": "train"}, "expected a condition"),
        ({"at_least": 1.0, "where": "train >= high"}, "expected a number"),
    ],
)
def test_parts_that_do_not_belong_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        make_claim(of="y", **options)


def test_bounds_that_can_not_be() -> None:
    for options in ({"within_bound": -1.0}, {"at_least": math.nan}, {"effect": "share", "at_least": 1.5}):
        with pytest.raises(DefinitionError):
            make_claim(of="y", **options)  # type: ignore[arg-type]


def test_conditions() -> None:
    claim = make_claim(of="y", at_least=0.0, where=["a >= 1 and b < 2", "c <= 3"], keep="d > 4")
    assert claim.where == (
        Condition("a", at_least=1.0),
        Condition("b", at_most=math.nextafter(2.0, -math.inf)),
        Condition("c", at_most=3.0),
    )
    assert not claim.keep[0].holds(4.0)
    assert parse_condition("metrics.train acc>=0.99").quantity == "metrics.train acc"


def test_options_as_text() -> None:
    assert parse_only(["a=1,2", "a=3", 'b="x,y"']) == {"a": ("1", "2", "3"), "b": ("x,y",)}
    assert parse_renames(["a=b", "c.d=e,f=g"]) == {"a": "b", "c.d": "e", "f": "g"}
    assert parse_looks("") == ()
    for wrong, parse in (("a", parse_only), ("a=", parse_only), ("a", parse_renames), ("=b", parse_renames)):
        with pytest.raises(UsageError):
            parse([wrong])  # type: ignore[operator]
    with pytest.raises(UsageError):
        parse_looks("5,ten")


def test_the_claim_says_what_is_meant() -> None:
    assert isinstance(make_claim(of="y", across="arm=a,b", at_most=0.0).effect, Contrast)
    assert make_claim(of="y", across="arm=a,b", at_most=0.0).statement == "y: arm=b minus arm=a, at most 0"
    assert "no reason was given" in make_claim(of="y", at_least=0.0).in_words()
    assert make_claim(of="y", at_least=0.0, reason="noise is 0.1").holds.reason == "noise is 0.1"
